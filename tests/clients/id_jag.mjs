// The TypeScript SDK 2.x with its CrossAppAccessProvider: the company's provider gives it an assertion for
// an ID token, and the gateway a token for that. Nobody is asked.
//
//   node id_jag.mjs MCP_URL ISSUER_OF_THE_PROVIDER
//
// AUDIENCE and CLIENT in its environment stand in place of what they should be. The last line is JSON:
// {"tools"} or {"error"}.
import { Client, CrossAppAccessProvider, StreamableHTTPClientTransport, discoverAndRequestJwtAuthGrant } from '@modelcontextprotocol/client';

const [url, idp] = process.argv.slice(2);
const body = JSON.stringify({ login: 'bob' });
const { token: idToken } = await (await fetch(`${idp}/test/id_token`, { method: 'POST', body })).json();
const authProvider = new CrossAppAccessProvider({
  assertion: async (context) => {
    const answer = await discoverAndRequestJwtAuthGrant({
      idpUrl: idp,
      audience: process.env.AUDIENCE ?? context.authorizationServerUrl,
      resource: context.resourceUrl,
      idToken,
      clientId: 'app',
      clientSecret: 'a secret of the provider & its % client',
      scope: context.scope,
      fetchFn: context.fetchFn,
    });
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
  await client.callTool({ name: 'look', arguments: { at: 'this' } });
  await client.close();
  console.log(JSON.stringify({ tools: tools.map((tool) => tool.name).sort() }));
} catch (error) {
  console.log(JSON.stringify({ error: `${error.name}: ${error.message} ${error.cause ?? ''}` }));
}
