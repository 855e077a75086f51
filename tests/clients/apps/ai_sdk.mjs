// Vercel's AI SDK as a client: it logs in where it has to, lists the tools, and calls `get-sum` twice
// with a pause for what the server asks in between.
//
//     ai_sdk.mjs URL FILE

import { auth, createMCPClient, UnauthorizedError } from "@ai-sdk/mcp";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { randomUUID } from "node:crypto";
import { setTimeout as rest } from "node:timers/promises";

const [url, file] = process.argv.slice(2);
const held = () => (existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {});
const keep = (part) => writeFileSync(file, JSON.stringify({ ...held(), ...part }));

const { promise: landed, resolve: land } = Promise.withResolvers();
const listener = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url, "http://127.0.0.1");
  response.end("Done");
  if (pathname === "/callback") land(searchParams);
});
await new Promise((done) => listener.listen(0, "127.0.0.1", done));
const redirectUrl = `http://127.0.0.1:${listener.address().port}/callback`;

let verifier, state;
const authProvider = {
  redirectUrl,
  clientMetadata: {
    client_name: "AI SDK", redirect_uris: [redirectUrl], token_endpoint_auth_method: "none",
    grant_types: ["authorization_code", "refresh_token"], response_types: ["code"],
  },
  state: () => (state = randomUUID()),
  saveState: (given) => { state = given; },
  storedState: () => state,
  clientInformation: () => held().client,
  saveClientInformation: (client) => keep({ client }),
  authorizationServerInformation: () => held().server,
  saveAuthorizationServerInformation: (server) => keep({ server }),
  tokens: () => held().tokens,
  saveTokens: (tokens) => keep({ tokens }),
  codeVerifier: () => verifier,
  saveCodeVerifier: (given) => { verifier = given; },
  redirectToAuthorization: (address) => { execFileSync(process.env.BROWSER, [address.href]); },
};

const connect = () => createMCPClient({ transport: { type: "http", url, authProvider }, capabilities: { elicitation: {} } });
const client = await connect().catch(async (error) => {
  if (!(error instanceof UnauthorizedError)) throw error;
  const query = await landed;
  await auth(authProvider, {
    serverUrl: url, authorizationCode: query.get("code"), callbackState: query.get("state"), callbackIssuer: query.get("iss"),
  });
  return connect();
});
const tools = await client.tools();
const call = async () => JSON.stringify(await tools["get-sum"].execute({ a: 2, b: 40 }, { messages: [], toolCallId: "1" }));
const found = [await call()];
await rest(1500);
found.push(await call());
await client.close();
console.log(JSON.stringify({ tools: Object.keys(tools), found }));
process.exit(0);
