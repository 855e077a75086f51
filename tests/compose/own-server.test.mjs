// `docker compose up` in front of somebody's own server: on the host, in a configuration of their own,
// and on stdin and stdout. Each with a real server and a real client; and what each says when it is
// given something wrong. The images are those that compose.test.mjs built.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { bridgeAddress, caddy, COMPOSE, freePort, IMAGES, root, skip, stack, until } from "./stack.mjs";

const folder = mkdtempSync(join(tmpdir(), "gateway-compose-own-"));
const SDK = { interpreter: join(root, "tests/.work/python-v2/bin/python"), script: "python_v2.py" };
const BAKE = [{ name: "bake", arguments: { loaves: 3 } }];
let bakery, bakeryUrl;

/** A project that is taken down after the test. */
async function started(context, variables, profiles, build = [], files = []) {
  const it = await stack(variables, profiles, files);
  context.after(() => it.down());
  if (build.length) it.build(...build);
  it.up();
  return it;
}

before(async () => {
  if (skip) return;
  const address = bridgeAddress();
  const port = await freePort(address);
  const fastmcp = join(root, "tests/.work/servers-v2/bin/fastmcp");
  bakery = spawn(fastmcp, ["run", join(root, "tests/servers/samples/fastmcp_bakery.py"), "--transport", "http", "--host", address, "--port", String(port), "--no-banner"], { stdio: "ignore" });
  bakeryUrl = `http://host.docker.internal:${port}`;
  await until(async () => (await fetch(`http://${address}:${port}/mcp`).catch(() => null)) !== null, "the bakery to listen");
}, { timeout: 120_000 });

after(() => {
  bakery?.kill();
  rmSync(folder, { recursive: true, force: true });
});

test("BACKEND_URL: a server on the host, and no document server", { skip }, async (context) => {
  const it = await started(context, { BACKEND_URL: bakeryUrl, BACKEND_NAME: "bakery" });
  await it.answers();
  assert.equal(it.container("mcp-backend"), "");
  await it.setUp();
  const report = it.drive({ ...SDK, storage: join(folder, "host.json"), calls: BAKE, tools: ["bake", "recipe"] });
  assert.deepEqual(report.tools, ["bake", "recipe"]);
  assert.match(JSON.stringify(report.called), /3 loaves/);
  await it.says(/bakery at .*2 tools/);
});

test("conf/other-project.yml: a server of another compose project", { skip }, async (context) => {
  const other = join(folder, "other");
  mkdirSync(other);
  const words = ["--documents", "/documents", "--listen", "0.0.0.0:3001", "--allowed-host", "notes"];
  writeFileSync(join(other, "docker-compose.yml"), `services:\n  notes:\n    image: ${IMAGES}-mcp-backend\n    command: ${JSON.stringify(words)}\n`);
  const project = `other-${process.pid}`;
  const compose = (...words) => execFileSync(COMPOSE[0], [...COMPOSE.slice(1), "-p", project, ...words], { cwd: other, stdio: "pipe" });
  context.after(() => compose("down", "--timeout", "5"));
  compose("up", "-d");
  const variables = { BACKEND_URL: "http://notes:3001", BACKEND_NETWORK: `${project}_default` };
  const it = await started(context, variables, [], [], ["conf/other-project.yml"]);
  await it.answers();
  assert.equal(it.container("mcp-backend"), "");
  await it.setUp();
  assert.deepEqual(it.drive({ ...SDK, storage: join(folder, "other.json") }).tools, ["fetch", "search"]);
  // Before the network that it is in.
  it.down();
});

test("the profile tls: https in front, and the addresses that Caddy names", { skip }, async (context) => {
  caddy();
  const variables = { GATEWAY_PUBLIC_URL: "https://localhost", CADDY_LISTEN: "127.0.0.1", COMPOSE_PROFILES: "default,tls" };
  const it = await started(context, variables);
  await it.answers();
  await it.setUp();
  const authority = join(folder, "authority.pem");
  const inside = "/data/caddy/pki/authorities/local/root.crt";
  await until(() => { try { return writeFileSync(authority, it.compose("exec", "-T", "caddy", "cat", inside)) ?? true; } catch { return false; } }, "Caddy's authority");
  const trusting = { NODE_EXTRA_CA_CERTS: authority, SSL_CERT_FILE: authority };
  const client = { interpreter: process.execPath, storage: join(folder, "caddy.json"), environment: trusting };
  assert.deepEqual(it.drive({ ...client, script: "ts_v1.mjs" }).tools, ["fetch", "search"]);
  assert.deepEqual(it.drive({ ...client, script: "ts_v1.mjs", path: "/sse", phase: "again" }).tools, ["fetch", "search"]);
  it.down();
  // Switched on by a flag the gateway would not know of it, and take Caddy for everybody.
  const flagged = await started(context, { ...variables, COMPOSE_PROFILES: "" }, ["tls"]);
  await flagged.says(/COMPOSE_PROFILES=default,tls, not by --profile/, "caddy");
});

test("the profile observability: Prometheus and Grafana, and an admin listener for them", { skip }, async (context) => {
  const it = await stack({ COMPOSE_PROFILES: "default,observability" });
  context.after(() => it.down());
  // What it stands for; the images of the two are too large to be fetched for a test.
  const services = it.compose("config", "--services").split("\n");
  for (const service of ["prometheus", "grafana"]) assert.ok(services.includes(service), service);
  it.compose("up", "-d", "gateway");
  await it.answers();
  await it.isHealthy("gateway");
  const [{ NetworkSettings }] = JSON.parse(execFileSync("docker", ["inspect", it.container("gateway")], { encoding: "utf8" }));
  const network = Object.keys(NetworkSettings.Networks).find((name) => name.endsWith("_watching"));
  const ask = 'exec 3<>/dev/tcp/gateway/9090 && printf "GET /metrics HTTP/1.1\\r\\nHost: gateway\\r\\nConnection: close\\r\\n\\r\\n" >&3 && cat <&3';
  const scraped = execFileSync("docker", ["run", "--rm", "--network", network, "debian:bookworm-slim", "bash", "-c", ask], { encoding: "utf8" });
  assert.match(scraped, /^gateway_build_info/m);
  // No port of it is published.
  assert.deepEqual(Object.entries(NetworkSettings.Ports).filter(([, at]) => at).map(([port]) => port), ["8080/tcp"]);
});

test("GATEWAY_CONFIG_FILE: several backends and a policy beside it, reloaded without a rebuild", { skip }, async (context) => {
  const own = join(folder, "own");
  mkdirSync(own);
  copyFileSync(join(root, "conf/compose.toml"), join(own, "mine.toml"));
  const more = `path = "/documents"\n[[backend]]\nname = "bakery"\npath = "/bakery"\nurl = "${bakeryUrl}"\n[policy]\nfile = "rules.biscuit"\n`;
  const text = readFileSync(join(own, "mine.toml"), "utf8").replace(/path = "\/"\n/, "").replace(/url = "http:\/\/backend:9000".*\n/, 'url = "http://mcp-backend:9000"\n');
  writeFileSync(join(own, "mine.toml"), text + more);
  writeFileSync(join(own, "rules.biscuit"), "allow if true;\n");
  const it = await started(context, { GATEWAY_CONFIG_FILE: join(own, "mine.toml") }, ["documents"]);
  await it.answers();
  await it.setUp();
  const baker = { ...SDK, path: "/bakery/mcp", storage: join(folder, "own.json"), calls: BAKE, tools: ["bake", "recipe"] };
  assert.match(JSON.stringify(it.drive(baker).called), /loaves/);
  const reader = { ...SDK, path: "/documents/mcp", storage: join(folder, "own-documents.json") };
  assert.deepEqual(it.drive(reader).tools, ["fetch", "search"]);
  // As an editor saves: another file under the same name.
  writeFileSync(join(own, "rules.new"), 'deny if tool("bake");\nallow if true;\n');
  renameSync(join(own, "rules.new"), join(own, "rules.biscuit"));
  it.compose("kill", "-s", "HUP", "gateway");
  await until(() => !it.drive({ ...baker, phase: "again", calls: [] }).tools.includes("bake"), "the new policy to hide a tool");
});

test("the profile stdio: npx and uvx in a container of their own", { skip }, async (context) => {
  const everything = JSON.parse(readFileSync(join(root, "tests/servers/package.json"), "utf8")).dependencies["@modelcontextprotocol/server-everything"];
  const npx = { STDIO_COMMAND: `npx -y @modelcontextprotocol/server-everything@${everything}` };
  const it = await started(context, npx, ["stdio"], ["stdio"]);
  await it.answers();
  assert.equal(it.container("mcp-backend"), "");
  await it.isHealthy("stdio");
  await it.setUp();
  const calls = [{ name: "echo", arguments: { message: "over three processes" } }];
  const echo = { ...SDK, storage: join(folder, "npx.json"), calls, tools: ["echo"] };
  assert.match(JSON.stringify(await eventually(() => it.drive(echo))), /over three processes/);
  it.down();

  const uvx = await started(context, { STDIO_COMMAND: `uvx mcp-server-time@2026.10.19 --local-timezone 'Europe/Vienna'` }, ["stdio"]);
  await uvx.answers();
  await uvx.setUp();
  const time = { ...SDK, storage: join(folder, "uvx.json"), calls: [{ name: "get_current_time", arguments: { timezone: "Europe/Vienna" } }], tools: ["get_current_time"] };
  assert.match(JSON.stringify(await eventually(() => uvx.drive(time))), /Europe\/Vienna/);
});

test("what is wrong is said in the first lines of the gateway's log", { skip }, async (context) => {
  const open = join(folder, "open");
  mkdirSync(open);
  const mistyped = join(open, "mistyped.toml");
  writeFileSync(mistyped, 'title = "x"\nlisten_on = "0.0.0.0:8080"\n');
  writeFileSync(join(folder, "closed.toml"), "");
  const cases = [
    [{ BACKEND_URL: "http://localhost:3001" }, /names this container itself.*host\.docker\.internal/],
    [{ COMPOSE_PROFILES: "default,tls" }, /The profile `tls` is for an https URL/],
    [{ BACKEND_URL: "not a url" }, /environment GATEWAY__BACKEND__0__URL: /],
    [{ BACKEND_URL: bakeryUrl, STDIO_COMMAND: "true" }, /both set/],
    [{ GATEWAY_CONFIG_FILE: join(open, "nothing-here.toml") }, /there is no such file on the host/],
    [{ GATEWAY_CONFIG_FILE: join(folder, "closed.toml") }, /closed to others/],
    [{ GATEWAY_CONFIG_FILE: mistyped }, /gateway\.toml:2: /],
    [{ GATEWAY_CONFIG_FILE: mistyped, BACKEND_URL: bakeryUrl }, /GATEWAY_CONFIG_FILE replaces that/],
  ];
  for (const [variables, sentence] of cases) {
    const it = await stack(variables);
    context.after(() => it.down());
    it.compose("up", "-d", "redis");
    it.compose("up", "-d", "--no-deps", "gateway");
    await it.says(sentence);
    it.down();
  }
});

test("a server that can't be reached, and one that ends at once, are named with what to do", { skip }, async (context) => {
  const port = await freePort(bridgeAddress());
  const away = await started(context, { BACKEND_URL: `http://host.docker.internal:${port}` });
  await away.answers();
  await away.says(/backend.*(refused|unreachable|reach)/i);
  away.down();
  const broken = await started(context, { STDIO_COMMAND: "node -e 'process.exit(3)'" }, ["stdio"]);
  await broken.says(/exit(ed)?\b.*3|code 3|status: 3/, "stdio");
});

/** A driver may meet a server that is still installing itself. */
function eventually(drive) {
  return until(() => { try { return drive(); } catch { return null; } }, () => drive(), 180_000);
}
