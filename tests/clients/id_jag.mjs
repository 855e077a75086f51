// The TypeScript SDK 2.x with its CrossAppAccessProvider: the company's provider gives it an assertion for
// an ID token, and the gateway a token for that. Nobody is asked.
//
//   node id_jag.mjs MCP_URL ISSUER_OF_THE_PROVIDER
//
// AUDIENCE and CLIENT in its environment stand in place of what they should be, SCOPE is what the assertion
// is asked for, TOOL is called instead of `look`. The assertion of the first run is kept in the file KEPT, and
// those that find it there present it again. The last line is JSON: {"tools"} or {"error"}.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { Client, CrossAppAccessProvider, StreamableHTTPClientTransport, discoverAndRequestJwtAuthGrant } from '@modelcontextprotocol/client';

const [url, idp] = process.argv.slice(2);
const body = JSON.stringify({ login: 'bob' });
const { token: idToken } = await (await fetch(`${idp}/test/id_token`, { method: 'POST', body })).json();
const authProvider = new CrossAppAccessProvider({
  assertion: async (context) => {
    const kept = process.env.KEPT;
    if (kept && existsSync(kept)) return readFileSync(kept, 'utf8');
    const answer = await discoverAndRequestJwtAuthGrant({
      idpUrl: idp,
      audience: process.env.AUDIENCE ?? context.authorizationServerUrl,
      resource: context.resourceUrl,
      idToken,
      clientId: 'app',
      clientSecret: 'a secret of the provider & its % client',
      scope: process.env.SCOPE ?? context.scope,
      fetchFn: context.fetchFn,
    });
    if (kept) writeFileSync(kept, answer.jwtAuthGrant);
    return answer.jwtAuthGrant;
  },
  clientId: process.env.CLIENT ?? 'helper',
  clientSecret: 'a secret of the helper, long enough',
  expectedIssuer: new URL(url).origin,
});

try {
  const client = new Client({ name: 'gateway-tests', version: '1' }, { versionNegotiation: { mode: 'auto' } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { authProvider }));
  const { tools } = await client.listTools();
  const { isError, content } = await client.callTool({ name: process.env.TOOL ?? 'look', arguments: { at: 'this' } });
  if (isError) throw new Error(content[0].text);
  await client.close();
  console.log(JSON.stringify({ tools: tools.map((tool) => tool.name).sort() }));
} catch (error) {
  console.log(JSON.stringify({ error: `${error.name}: ${error.message} ${error.cause ?? ''}` }));
}
// A session that is open would keep it here.
process.exit();
