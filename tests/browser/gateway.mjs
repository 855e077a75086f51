// A gateway for the browser tests: the real binary with the bundled document server, in a folder
// of its own, and a client whose redirect URI really listens.

import { spawn, execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const root = resolve(import.meta.dirname, "../..");
const binaries = process.env.GATEWAY_BINARIES ?? join(root, "target/release");

export const OWNER = { name: "alice", password: "correct horse battery staple" };

/** Start one; `owner: false` leaves the setup code to the test; `url` is a backend of the test's own. */
export async function startGateway({ owner = true, more = "", url } = {}) {
  const folder = mkdtempSync(join(tmpdir(), "gateway-browser-"));
  const [port, admin, backend] = await Promise.all([freePort(), freePort(), freePort()]);
  const origin = `http://localhost:${port}`;
  const command = [join(binaries, "mcp-backend"), "--documents", join(root, "conf/documents"), "--listen", `127.0.0.1:${backend}`, "--until-stdin-closes"];
  let toml = `public_url = "${origin}"\nlisten = ["127.0.0.1:${port}"]\nadmin_listen = "127.0.0.1:${admin}"\nkeys_dir = "${folder}/keys"\n[store]\nurl = "file:${folder}/state"\n`;
  if (owner) {
    const hash = execFileSync(join(binaries, "gateway"), ["users", "hash"], { input: OWNER.password + "\n", encoding: "utf8" });
    writeFileSync(join(folder, "password.hash"), hash.trim());
    toml += `[owner]\nname = "${OWNER.name}"\npassword_hash_file = "${folder}/password.hash"\n`;
  }
  toml += url ? `[[backend]]\nname = "notes"\npath = "/"\nurl = "${url}"\n${more}`
    : `[[backend]]\nname = "documents"\npath = "/"\nurl = "http://127.0.0.1:${backend}"\ncommand = ${JSON.stringify(command)}\n${more}`;
  writeFileSync(join(folder, "gateway.toml"), toml);
  const child = spawn(join(binaries, "gateway"), ["serve", "--config", join(folder, "gateway.toml")], { cwd: folder });
  let printed = "", log = "";
  child.stdout.on("data", (data) => (printed += data));
  child.stderr.on("data", (data) => (log += data));
  const gateway = {
    origin,
    setupUrl: () => until(() => printed.match(/http\S*\/setup\?code=[\w-]+/)?.[0], "a setup URL on standard output"),
    /** A command of the operator's; what it prints. */
    command: (words) => execFileSync(join(binaries, "gateway"), [...words, "--config", join(folder, "gateway.toml")], { cwd: folder, encoding: "utf8" }),
    stop: async () => {
      const gone = new Promise((done) => child.once("exit", done));
      if (child.exitCode === null) child.kill("SIGTERM");
      await Promise.race([gone, new Promise((done) => setTimeout(done, 15_000))]);
      child.kill("SIGKILL");
      rmSync(folder, { recursive: true, force: true });
    },
  };
  await until(async () => {
    if (child.exitCode !== null) throw new Error(`the gateway ended with ${child.exitCode}\n${printed}\n${log}`);
    return (await fetch(`${origin}/healthz`).catch(() => null))?.ok;
  }, () => `the gateway to answer\n${printed}\n${log}`);
  return gateway;
}

/** A client with a page at its redirect URI, which may be elsewhere, of the endpoint at a path. */
export async function startClient(gateway, name, elsewhere, path = "/mcp") {
  const arrivals = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url, "http://127.0.0.1");
    if (url.pathname === "/callback") arrivals.push(url.searchParams);
    response.setHeader("Content-Type", "text/html").end("<!doctype html><title>Back at the app</title><h1>Back at the app</h1>");
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const redirectUri = elsewhere ?? `http://127.0.0.1:${server.address().port}/callback`;
  const registered = await fetch(`${gateway.origin}/register`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ client_name: name, redirect_uris: [redirectUri] }),
  });
  const { client_id } = await registered.json();
  const verifier = randomBytes(32).toString("base64url");
  const url = new URL(`${gateway.origin}/authorize`);
  url.search = new URLSearchParams({
    response_type: "code", client_id, redirect_uri: redirectUri, scope: "mcp", state: "s t/a+te", resource: gateway.origin + path,
    code_challenge: createHash("sha256").update(verifier).digest("base64url"), code_challenge_method: "S256",
  });
  return {
    authorizeUrl: url.href,
    redirectUri,
    arrivals,
    redeem: async (code) => {
      const body = new URLSearchParams({ grant_type: "authorization_code", code, redirect_uri: redirectUri, client_id, code_verifier: verifier });
      return (await fetch(`${gateway.origin}/token`, { method: "POST", body })).json();
    },
    stop: () => new Promise((done) => { server.closeAllConnections(); server.close(done); }),
  };
}

/** An MCP server with these tools, which a test may change; it counts the calls of each, and the
 * event streams that are open. A call of `hold` is never answered. */
export async function startBackend(tools) {
  const backend = { tools, calls: [], streams: 0, held: 0 };
  const server = createServer(async (request, response) => {
    if (request.method === "GET") {
      backend.streams += 1;
      response.on("close", () => (backend.streams -= 1));
      response.writeHead(200, { "Content-Type": "text/event-stream" }).write(": open\n\n");
      return;
    }
    let body = "";
    for await (const chunk of request) body += chunk;
    const message = body ? JSON.parse(body) : {};
    if (message.id === undefined) return void response.writeHead(202).end();
    if (message.params?.name === "hold") {
      backend.held += 1;
      response.on("close", () => (backend.held -= 1));
      return;
    }
    const results = {
      initialize: () => ({ protocolVersion: message.params.protocolVersion, capabilities: { tools: {} }, serverInfo: { name: "scripted", version: "1" } }),
      "tools/list": () => ({ tools: backend.tools }),
      "tools/call": () => (backend.calls.push(message.params.name), { content: [{ type: "text", text: "done" }] }),
    };
    const result = results[message.method]?.();
    const answer = result ? { result } : { error: { code: -32601, message: "no such method" } };
    response.setHeader("Content-Type", "application/json").end(JSON.stringify({ jsonrpc: "2.0", id: message.id, ...answer }));
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  backend.url = `http://127.0.0.1:${server.address().port}`;
  backend.stop = () => new Promise((done) => { server.closeAllConnections(); server.close(done); });
  return backend;
}

function post(gateway, token, message, headers, path = "/mcp") {
  return fetch(gateway.origin + path, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json", Accept: "application/json, text/event-stream", ...headers },
    body: JSON.stringify({ jsonrpc: "2.0", ...message }),
  });
}

/** One JSON-RPC request with a token; its answer. */
export async function ask(gateway, token, method, params = {}, session = {}, path) {
  const answer = await post(gateway, token, { id: 1, method, params }, session, path);
  const text = await answer.text();
  if (!answer.headers.get("content-type")?.startsWith("text/event-stream")) return JSON.parse(text);
  const events = text.split("\n").filter((line) => line.startsWith("data: {")).map((line) => JSON.parse(line.slice(6)));
  return events.find((event) => event.id === 1);
}

/** A session with a backend that wants one: the header that names it. */
export async function openSession(gateway, token, path) {
  const params = { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "test", version: "1" } };
  const opened = await post(gateway, token, { id: 0, method: "initialize", params }, {}, path);
  await opened.text();
  const session = { "Mcp-Session-Id": opened.headers.get("mcp-session-id") };
  await (await post(gateway, token, { method: "notifications/initialized" }, session, path)).text();
  return session;
}

export async function until(look, what, patience = 30_000) {
  const deadline = Date.now() + patience;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`waited in vain for ${typeof what === "function" ? what() : what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

const given = new Set();

/** Below the range of outgoing connections, so that nothing else is handed it meanwhile, and given once. */
export async function freePort() {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    if (given.has(port)) continue;
    given.add(port);
    const taken = await new Promise((done) => {
      const socket = connect(port, "127.0.0.1", () => { socket.destroy(); done(true); });
      socket.once("error", () => done(false));
    });
    if (!taken) return port;
  }
}
