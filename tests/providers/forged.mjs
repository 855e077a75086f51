// An OpenID provider on loopback that gives out bad tokens, `oauth2-mock-server`: nobody is asked, and
// what is wrong with the next ID token is told to it at its second port.
//
//   node forged.mjs PORT CONTROL_PORT [BACKCHANNEL_LOGOUT_URI]
//
// POST http://127.0.0.1:CONTROL_PORT/NAME: from now on tokens are wrong in this way
// POST http://127.0.0.1:CONTROL_PORT/logout/NAME: a logout token that is wrong in this way is sent to the
//   back channel, and answered with the status of its answer
import { createHmac, generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { createServer } from 'node:http';
import { OAuth2Server } from 'oauth2-mock-server';

const [port, control] = process.argv.slice(2).map(Number);
const backchannel = process.argv[4];
const server = new OAuth2Server();
await server.issuer.keys.generate('RS256');
await server.issuer.keys.generate('RS256');
await server.start(port, '127.0.0.1');
server.issuer.url = `http://127.0.0.1:${port}`;

let forgery = 'none at all';
const now = () => Math.floor(Date.now() / 1000);
const claims = {
  'another audience': { aud: 'somebody-else' },
  'several audiences': { aud: ['gateway', 'somebody-else'] },
  'several audiences, for us': { aud: ['gateway', 'somebody-else'], azp: 'gateway' },
  'another authorized party': { azp: 'somebody-else' },
  'another issuer': { iss: 'https://evil.example' },
  'another nonce': { nonce: 'another' },
  'no nonce': { nonce: undefined },
  expired: { exp: now() - 3600, iat: now() - 7200 },
  'of tomorrow': { iat: now() + 86_400, exp: now() + 90_000 },
  'not yet': { nbf: now() + 86_400 },
  'no subject': { sub: undefined },
};

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const rewritten = {
  unsigned: ([, payload]) => `${part({ alg: 'none' })}.${payload}.`,
  'signed with the public key': ([, payload]) => {
    const key = JSON.stringify(server.issuer.keys.toJSON()[0]);
    const signed = `${part({ alg: 'HS256' })}.${payload}`;
    return `${signed}.${createHmac('sha256', key).update(signed).digest('base64url')}`;
  },
  'signed with the secret': ([, payload]) => {
    const signed = `${part({ alg: 'HS256' })}.${payload}`;
    return `${signed}.${createHmac('sha256', 'secret').update(signed).digest('base64url')}`;
  },
  'another key': ([header, payload]) => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    return `${header}.${payload}.${sign('sha256', `${header}.${payload}`, privateKey).toString('base64url')}`;
  },
  'an unknown key': ([, payload, signature]) =>
    `${part({ alg: 'RS256', kid: 'unknown' })}.${payload}.${signature}`,
  'no kid': ([, payload, signature]) => `${part({ alg: 'RS256' })}.${payload}.${signature}`,
  'a critical header': ([, payload, signature]) =>
    `${part({ alg: 'RS256', crit: ['b64'], b64: false })}.${payload}.${signature}`,
  'an access token': ([header, payload, signature]) =>
    `${part({ ...JSON.parse(Buffer.from(header, 'base64url')), typ: 'at+jwt' })}.${payload}.${signature}`,
  'no token': () => 'no token',
};

server.service.on('beforeTokenSigning', (token) => {
  token.payload.email = 'alice@example.com';
  token.payload.email_verified = true;
  Object.assign(token.payload, claims[forgery]);
});
server.service.on('beforeResponse', (response) => {
  const { id_token: token } = response.body;
  if (token && rewritten[forgery]) response.body.id_token = rewritten[forgery](token.split('.'));
  if (forgery === 'nothing') delete response.body.id_token;
});

const logout = {
  'no event': { events: undefined },
  'another event': { events: { 'https://evil.example': {} } },
  'no id': { jti: undefined },
  'a nonce': { nonce: 'one' },
  'a session alone': { sub: undefined, sid: 'one' },
  'an end of yesterday': { iat: now() - 90_000, exp: now() - 86_400 },
};
let sent;
const logoutToken = async (name) => {
  if (name === 'sent again') return sent;
  const event = 'http://schemas.openid.net/event/backchannel-logout';
  const scopesOrTransform = (header, payload) => {
    header.typ = 'logout+jwt';
    const usual = { sub: 'johndoe', aud: 'gateway', jti: randomUUID(), events: { [event]: {} } };
    Object.assign(payload, usual, claims[name], logout[name]);
  };
  const token = await server.issuer.buildToken({ scopesOrTransform, expiresIn: 120 });
  return rewritten[name] ? rewritten[name](token.split('.')) : token;
};

createServer(async (request, response) => {
  const [, name, logoutName] = request.url.split('/').map(decodeURIComponent);
  if (name === 'logout') {
    sent = await logoutToken(logoutName);
    const body = new URLSearchParams({ logout_token: sent });
    const answer = await fetch(backchannel, { method: 'POST', body });
    response.statusCode = answer.status;
  } else {
    forgery = name;
  }
  response.end();
}).listen(control, '127.0.0.1', () => console.log(`listening on ${server.issuer.url}`));
