// An OpenID provider on loopback, the certified `oidc-provider`, for tests: who its people are is
// told to it, and it makes new keys at each start.
//
//   node oidc.mjs PORT REDIRECT_URI BACKCHANNEL_LOGOUT_URI
//
// POST /test/person  {"login", "email", "email_verified", "groups"}: from now on that is so
// POST /test/logout  {"login"}: a logout token for that person is sent to the back channel
// POST /test/userinfo  {"status"}: from now on the user info answers with this status, unless it is 200
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import Provider from 'oidc-provider';

const [port, redirect, backchannel] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const people = new Map();
let userInfo = 200;

const key = (alg, type, options) => {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: randomUUID() };
};

const client = (client_id, more) => ({
  client_id,
  client_secret: 'a secret of the provider & its % client',
  redirect_uris: [redirect],
  backchannel_logout_uri: backchannel,
  ...more,
});

const provider = new Provider(issuer, {
  clients: [
    client('rs256', { id_token_signed_response_alg: 'RS256' }),
    client('offline', { grant_types: ['authorization_code', 'refresh_token'] }),
    client('es256', {
      id_token_signed_response_alg: 'ES256',
      token_endpoint_auth_method: 'client_secret_post',
    }),
    client('signed', {
      client_secret: undefined,
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
      jwks_uri: redirect.replace('/callback', '/keys'),
    }),
    client('eddsa', { id_token_signed_response_alg: 'EdDSA' }),
  ],
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
  jwks: {
    keys: [
      key('RS256', 'rsa', { modulusLength: 2048 }),
      key('ES256', 'ec', { namedCurve: 'P-256' }),
      key('EdDSA', 'ed25519', {}),
    ],
  },
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'ES256', 'EdDSA'] },
  cookies: { keys: [randomUUID()] },
  features: { backchannelLogout: { enabled: true }, devInteractions: { enabled: true } },
  pkce: { required: () => true },
  scopes: ['openid', 'profile', 'email', 'groups', 'offline_access'],
  claims: {
    openid: ['sub'],
    email: ['email', 'email_verified'],
    profile: ['name', 'preferred_username'],
    groups: ['groups'],
  },
  // What it fetches, keys and back channels, is on loopback here.
  fetch: (url, { dispatcher, ...options }) => fetch(url, options),
  // The default: what scopes ask for stands in the user info.
  conformIdTokenClaims: process.env.CLAIMS_IN_ID_TOKEN !== 'yes',
  findAccount: (_, login) => ({
    accountId: login,
    claims: () => ({ sub: login, preferred_username: login, ...people.get(login) }),
  }),
});

const body = async (request) => {
  let text = '';
  for await (const chunk of request) text += chunk;
  return JSON.parse(text);
};

provider.use(async (context, next) => {
  if (context.path === '/test/person') {
    const { login, ...claims } = await body(context.req);
    people.set(login, claims);
    context.body = {};
  } else if (context.path === '/test/userinfo') {
    userInfo = (await body(context.req)).status;
    context.body = {};
  } else if (context.path === '/me' && userInfo !== 200) {
    context.status = userInfo;
    context.body = {};
  } else if (context.path === '/test/logout') {
    const { login, client: id } = await body(context.req);
    const found = await provider.Client.find(id);
    try {
      await found.backchannelLogout(login, randomUUID());
      context.body = { taken: true };
    } catch (error) {
      context.body = { taken: false, error: String(error) };
    }
  } else {
    await next();
  }
});

provider.on('server_error', (_, error) => console.error(error));
provider.listen(Number(port), '127.0.0.1', () => console.log(`listening on ${issuer}`));
