// An OpenID provider on loopback that is no program of Node's: Debian's `glewlwyd`, with its database in
// the working folder. Its own login page wants scripts; the one here, in front of it, is a plain form that
// says the same to it.
//
//   node glewlwyd.mjs PORT REDIRECT_URI
//
// It knows bob, whose password is SECRET below, as are those of everybody and everything.
import { spawn } from 'node:child_process';
import { createServer, request as forward } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

const [port, redirect] = process.argv.slice(2);
const root = process.env.GLEWLWYD;
const base = `http://127.0.0.1:${port}`;
const issuer = `${base}/api/oidc`;
const COOKIE = 'GLEWLWYD2_SESSION_ID';
const SECRET = 'a secret of the provider & its % client';

// Its program and its modules, where `tests/run` has put them.
const database = new DatabaseSync('glewlwyd.db');
database.exec(readFileSync(`${root}/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3`, 'utf8'));
database.close();

const front = createServer();
await new Promise((resolve) => front.listen(port, '127.0.0.1', resolve));
const free = createServer();
await new Promise((resolve) => free.listen(0, '127.0.0.1', resolve));
const behind = free.address().port;
await new Promise((resolve) => free.close(resolve));
writeFileSync('glewlwyd.conf', `
port=${behind}
bind_address="127.0.0.1"
external_url="${base}"
login_url="login"
api_prefix="api"
cookie_secure=0
session_key="${COOKIE}"
log_mode="console"
log_level="WARNING"
admin_session_authentication="cookie"
profile_session_authentication="cookie"
login_api_enabled=true
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="${root}/usr/lib/glewlwyd/user"
client_module_path="${root}/usr/lib/glewlwyd/client"
user_auth_scheme_module_path="${root}/usr/lib/glewlwyd/scheme"
plugin_module_path="${root}/usr/lib/glewlwyd/plugin"
hash_algorithm="SHA512"
database = { type = "sqlite3", path = "glewlwyd.db" };
`);
const program = spawn(`${root}/usr/bin/glewlwyd`, ['--config-file=glewlwyd.conf'], {
  stdio: 'inherit',
  env: { ...process.env, LD_LIBRARY_PATH: globSync(`${root}/usr/lib/*-linux-gnu`).join(':') },
});
program.on('exit', (code) => process.exit(code ?? 1));
process.on('exit', () => program.kill());
process.on('SIGTERM', () => process.exit(0));

const ask = async (method, path, body, cookie) => {
  const headers = { 'content-type': 'application/json', cookie: cookie ?? '' };
  const answer = await fetch(`http://127.0.0.1:${behind}/api/${path}`, { method, headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer;
};
const logIn = async (username, password) => {
  const answer = await ask('POST', 'auth/', { username, password });
  return answer.headers.getSetCookie().map((line) => line.split(';')[0]).find((it) => it.startsWith(COOKIE));
};

for (let left = 200; ; left -= 1) {
  try {
    await fetch(`http://127.0.0.1:${behind}/api/`);
    break;
  } catch (error) {
    if (left === 0) throw error;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
const admin = await logIn('admin', 'password');
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = { ...privateKey.export({ format: 'jwk' }), alg: 'RS256', kid: 'one' };
await ask('POST', 'mod/plugin/', {
  module: 'oidc',
  name: 'oidc',
  display_name: 'OpenID Connect',
  order_rank: 0,
  readonly: false,
  parameters: {
    iss: issuer,
    'jwks-private': JSON.stringify({ keys: [key] }),
    'jwt-type': 'rsa',
    'jwt-key-size': '256',
    'jwks-show': true,
    'access-token-duration': 3600,
    'refresh-token-duration': 86400,
    'code-duration': 600,
    'refresh-token-rolling': true,
    'auth-type-code-enabled': true,
    'auth-type-refresh-enabled': true,
    'allow-non-oidc': false,
    'subject-type': 'public',
    'pkce-allowed': true,
    'pkce-required': true,
    'name-claim': 'mandatory',
    'email-claim': 'mandatory',
    claims: [{ name: 'preferred_username', 'user-property': 'username', type: 'string', mandatory: true }],
  },
}, admin);
for (const name of ['profile', 'email']) {
  await ask('POST', 'scope/', {
    name, display_name: name, description: name, password_required: true, password_max_age: 0, scheme: {}, scheme_required: {},
  }, admin);
}
await ask('POST', 'client/', {
  client_id: 'gateway', name: 'The gateway', enabled: true, confidential: true, password: SECRET,
  redirect_uri: [redirect], authorization_type: ['code', 'refresh_token'], token_endpoint_auth_method: ['client_secret_basic', 'client_secret_post'], scope: [],
}, admin);
await ask('POST', 'user/', {
  username: 'bob', name: 'Bob Ross', email: 'bob@example.com', password: SECRET, enabled: true,
  scope: ['g_profile', 'openid', 'profile', 'email'],
}, admin);

front.on('request', async (request, response) => {
  const url = new URL(request.url, base);
  if (url.pathname !== '/login') {
    const { method, headers } = request;
    const there = forward({ port: behind, host: '127.0.0.1', path: request.url, method, headers });
    there.on('response', (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    there.on('error', () => response.destroy());
    request.pipe(there);
  } else if (request.method === 'GET') {
    response.setHeader('content-type', 'text/html');
    response.end('<form method="post"><input name="login"><button>Log in</button></form>');
  } else {
    let body = '';
    for await (const chunk of request) body += chunk;
    const cookie = await logIn(new URLSearchParams(body).get('login'), SECRET);
    await ask('PUT', 'auth/grant/gateway', { scope: 'openid profile email' }, cookie);
    const location = `${url.searchParams.get('callback_url')}&g_continue`;
    response.writeHead(303, { location, 'set-cookie': `${cookie}; Path=/` });
    response.end();
  }
});
console.log(`listening on ${issuer}`);
