// An OpenID provider on loopback, the certified `oidc-provider`, for tests: who its people are is
// told to it, and it makes new keys at each start.
//
//   node oidc.mjs PORT REDIRECT_URI BACKCHANNEL_LOGOUT_URI
//
// POST /test/person  {"login", "email", "email_verified", "groups"}: from now on that is so
// POST /test/logout  {"login"}: a logout token for that person is sent to the back channel
// POST /test/id_jag  {"claims", "header", "key", "forgery"}: an assertion for an app with these claims, signed
//   by one of the provider's keys (RS256, ES256, EdDSA) or wrong in this way; `age` and `life` of the claims
//   are seconds; what is null is left out
// POST /test/id_token  {"login"}: an ID token for the client `app`, which exchanges it for assertions
// POST /test/userinfo  {"status"}: from now on the user info answers with this status, unless it is 200
import { createHmac, createPrivateKey, generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import Provider from 'oidc-provider';

const [port, redirect, backchannel] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;
const people = new Map();
let userInfo = 200;

const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';

const key = (alg, type, options) => {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: randomUUID() };
};

const keys = [
  key('RS256', 'rsa', { modulusLength: 2048 }),
  key('ES256', 'ec', { namedCurve: 'P-256' }),
  key('EdDSA', 'ed25519', {}),
];

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const signed = (header, claims, jwk) => {
  const text = `${part({ alg: jwk.alg, kid: jwk.kid, ...header })}.${part(claims)}`;
  const hash = jwk.alg === 'EdDSA' ? null : 'sha256';
  const signer = { key: createPrivateKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' };
  return `${text}.${sign(hash, Buffer.from(text), signer).toString('base64url')}`;
};

// An assertion by which an app is connected without asking the person (ID-JAG).
const idJag = ({ claims: { age = 0, life = 300, ...claims }, header, key: alg = 'RS256', forgery }) => {
  const iat = Math.floor(Date.now() / 1000) - age;
  const all = { iss: issuer, jti: randomUUID(), iat, exp: iat + life, ...claims };
  for (const [name, value] of Object.entries(all)) if (value === null) delete all[name];
  const head = { typ: 'oauth-id-jag+jwt', ...header };
  const jwk = keys.find((it) => it.alg === alg);
  const text = `${part({ ...head, alg: 'HS256' })}.${part(all)}`;
  switch (forgery) {
    case 'another key':
      return signed(head, all, { ...key('RS256', 'rsa', { modulusLength: 2048 }), kid: jwk.kid });
    case 'unsigned':
      return `${part({ ...head, alg: 'none' })}.${part(all)}.`;
    case 'HMAC':
      return `${text}.${createHmac('sha256', jwk.n).update(text).digest('base64url')}`;
    default:
      return signed(head, all, jwk);
  }
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
    client('app', {
      grant_types: [TOKEN_EXCHANGE],
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: 'client_secret_post',
    }),
  ],
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
  jwks: {
    keys,
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

// RFC 8693: an ID token of the app's person becomes an assertion for a server elsewhere.
const exchanged = ['audience', 'resource', 'scope', 'requested_token_type', 'subject_token', 'subject_token_type'];
provider.registerGrantType(TOKEN_EXCHANGE, async (context) => {
  const { audience: aud, resource, scope, subject_token: token } = context.oidc.params;
  const { sub } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
  const { email, email_verified } = people.get(sub) ?? {};
  const claims = { sub, aud, resource, scope, client_id: 'helper', email, email_verified };
  context.body = {
    issued_token_type: 'urn:ietf:params:oauth:token-type:id-jag',
    token_type: 'N_A',
    access_token: idJag({ claims }),
    expires_in: 300,
  };
}, exchanged);

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
  } else if (context.path === '/test/id_jag') {
    context.body = { assertion: idJag(await body(context.req)) };
  } else if (context.path === '/test/id_token') {
    const { login } = await body(context.req);
    const now = Math.floor(Date.now() / 1000);
    context.body = { token: signed({}, { iss: issuer, sub: login, aud: 'app', iat: now, exp: now + 300 }, keys[0]) };
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
