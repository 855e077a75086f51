// The TypeScript SDK 2.x where nobody logs in: with a token in a header, or as a client that gets one for
// itself. One JSON object says how, one on stdout what came of it.

import { Client, ClientCredentialsProvider, PrivateKeyJwtProvider, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const { url, token, client: clientId, secret, key, issuer: expectedIssuer } = JSON.parse(process.argv[2]);

const options = token
  ? { requestInit: { headers: { Authorization: `Bearer ${token}` } } }
  : key
    ? { authProvider: new PrivateKeyJwtProvider({ clientId, privateKey: key, algorithm: "RS256", expectedIssuer }) }
    : { authProvider: new ClientCredentialsProvider({ clientId, clientSecret: secret, expectedIssuer }) };

const client = new Client({ name: "gateway-tests", version: "1" });
await client.connect(new StreamableHTTPClientTransport(new URL(url), options));
const tools = (await client.listTools()).tools.map((tool) => tool.name).sort();
const found = await client.callTool({ name: "search", arguments: { query: "gateway" } });
await client.close();
console.log(JSON.stringify({ tools, found: found.content[0].text }));
