// The newcomer's path on a machine with a name, from nothing: a certificate, a passkey, an app, and what
// its answer cites opens in the same browser. How long each step took is said; nobody is to be timed by it,
// since other tests run beside this one.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";
import { freePort, until } from "./gateway.mjs";
import { closeBrowser, openBrowserWith, withPage } from "./looks.mjs";
import { fetchThrough, fingerprint, startPebble } from "./pebble.mjs";

const root = resolve(import.meta.dirname, "../..");
const binaries = process.env.GATEWAY_BINARIES ?? join(root, "target/release");
const NAME = "mcp.example.com";
const ORIGIN = `https://${NAME}`;

// All of it, on a machine that does other things; a person takes longer to read the pages.
const MOST = 120_000;

/** `gateway serve --domain` with the bundled document server, in an empty folder. */
async function serve(folder, ports, pebble) {
  const command = [join(binaries, "mcp-backend"), "--documents", join(root, "conf/documents"), "--listen", `127.0.0.1:${ports.backend}`, "--until-stdin-closes"];
  writeFileSync(join(folder, "gateway.toml"),
    `[[backend]]\nname = "documents"\npath = "/"\nurl = "http://127.0.0.1:${ports.backend}"\ncommand = ${JSON.stringify(command)}\npages = "/documents/"\n`
    // Let's Encrypt and the ports below 1024 are what a test can't have.
    + `[tls]\ndirectory = "${pebble.directory}"\ndirectory_ca_file = "${pebble.authority}"\nplain_listen = ["127.0.0.1:${ports.plain}"]\n`);
  const words = ["serve", "--domain", NAME, "--config", "gateway.toml", "--listen", `127.0.0.1:${ports.https}`, "--admin-listen", `127.0.0.1:${ports.admin}`];
  const child = spawn(join(binaries, "gateway"), words, { cwd: folder });
  const gateway = { printed: "", log: "" };
  child.stdout.on("data", (data) => (gateway.printed += data));
  child.stderr.on("data", (data) => (gateway.log += data));
  gateway.stop = async () => {
    const gone = new Promise((done) => child.once("exit", done));
    if (child.exitCode === null) child.kill("SIGTERM");
    await Promise.race([gone, new Promise((done) => setTimeout(done, 15_000))]);
    child.kill("SIGKILL");
  };
  return gateway;
}

/** An app by the TypeScript SDK, whose person's browser is `page`. */
async function connectApp(page, fetch) {
  let arrived;
  const answer = new Promise((done) => (arrived = done));
  const server = createServer((request, response) => {
    const url = new URL(request.url, "http://127.0.0.1");
    if (url.pathname === "/callback") arrived(url.searchParams);
    response.setHeader("Content-Type", "text/html").end("<!doctype html><title>Back at the app</title><h1>Back at the app</h1>");
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const redirectUrl = `http://127.0.0.1:${server.address().port}/callback`;
  const kept = {};
  const authProvider = {
    redirectUrl,
    clientMetadata: { client_name: "Newcomer", redirect_uris: [redirectUrl], grant_types: ["authorization_code", "refresh_token"], response_types: ["code"], token_endpoint_auth_method: "none" },
    clientInformation: () => kept.client,
    saveClientInformation: (client) => { kept.client = client; },
    tokens: () => kept.tokens,
    saveTokens: (tokens) => { kept.tokens = tokens; },
    saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
    codeVerifier: () => kept.verifier,
    redirectToAuthorization: async (url) => { await page.goto(url.href); },
  };
  const open = async () => {
    const client = new Client({ name: "newcomer", version: "1" }, { versionNegotiation: { mode: "auto" } });
    const transport = new StreamableHTTPClientTransport(new URL(`${ORIGIN}/mcp`), { authProvider, fetch });
    await client.connect(transport).catch((error) => { throw Object.assign(error, { transport }); });
    return client;
  };
  try {
    const refused = await open().then(() => null, (error) => error);
    if (!(refused instanceof UnauthorizedError)) throw refused ?? new Error("it got in without a login");
    // The browser is still that of the set-up: nobody logs in again.
    await page.getByRole("button", { name: "Allow", exact: true }).click();
    await page.getByRole("heading", { name: "Back at the app" }).waitFor();
    await refused.transport.finishAuth(await answer);
    return await open();
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test("a newcomer with a name gets from nothing to a cited page", { timeout: MOST + 60_000 }, async (context) => {
  const folder = mkdtempSync(join(tmpdir(), "gateway-newcomer-"));
  const ports = {};
  for (const name of ["https", "plain", "admin", "backend"]) ports[name] = await freePort();
  const pebble = await startPebble(ports.plain);
  const begun = performance.now();
  let last = begun;
  const step = (what) => {
    const now = performance.now();
    context.diagnostic(`step: ${((now - last) / 1000).toFixed(1)} s ${what}`);
    last = now;
  };
  const gateway = await serve(folder, ports, pebble);
  try {
    const setup = await until(() => gateway.printed.match(/https\S*\/setup\?code=[\w-]+/)?.[0], () => `a set-up URL\n${gateway.printed}\n${gateway.log}`);
    assert.ok(setup.startsWith(`${ORIGIN}/setup`), setup);
    step("until the set-up URL was printed");

    const fetch = fetchThrough(ports.https, pebble.root);
    await until(() => fetch(`${ORIGIN}/healthz`).then((answer) => answer.ok, () => false), () => `a certificate\n${gateway.log}`);
    step("until https was served with a new certificate");

    const trusted = [pebble.root, pebble.intermediate].map(fingerprint).join(",");
    await openBrowserWith([`--host-resolver-rules=MAP ${NAME}:443 127.0.0.1:${ports.https}`, `--ignore-certificate-errors-spki-list=${trusted}`]);
    await withPage({}, async (page) => {
      const session = await page.context().newCDPSession(page);
      await session.send("WebAuthn.enable");
      await session.send("WebAuthn.addVirtualAuthenticator", {
        options: { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
      });
      step("for the browser to start");

      await page.goto(setup);
      await page.getByLabel("Name").fill("erin");
      await page.getByRole("button", { name: "Use a passkey instead" }).click();
      await page.waitForURL(`${ORIGIN}/`);
      step("to set the owner up with a passkey");

      const app = await connectApp(page, fetch);
      step("for an app to log in, by the official SDK");

      const { content: [{ text }] } = await app.callTool({ name: "search", arguments: { query: "revoke a token" } });
      const [first] = JSON.parse(text).results;
      assert.ok(first.url.startsWith(`${ORIGIN}/pages/`), JSON.stringify(first));
      step("for an answer with a citation");

      await page.goto(first.url);
      await page.getByRole("heading", { level: 1 }).waitFor();
      assert.equal(page.url(), first.url, "nobody had to log in again");
      step("to open what it cites");
      await app.close();
    }, [ORIGIN]);
    const all = performance.now() - begun;
    context.diagnostic(`step: ${(all / 1000).toFixed(1)} s all together`);
    assert.ok(all < MOST, `${all} ms`);
  } finally {
    await closeBrowser();
    await gateway.stop();
    pebble.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});
