// docker-compose.yml as a user runs it: build, up, set-up by the code in the log, the whole client
// flow over both transports, every container restarted, the same token again, down with its
// volumes. Skipped, and counted so, where no Docker engine answers.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";

const root = resolve(import.meta.dirname, "../..");
const engine = spawnSync("docker", ["info"], { stdio: "ignore" }).status === 0;
const plugin = spawnSync("docker", ["compose", "version"], { stdio: "ignore" }).status === 0;
const skip = engine ? false : "no Docker engine answers";
const OWNER = { name: "alice", password: "correct horse battery staple" };
const project = `gateway-test-${process.pid}`;
const folder = mkdtempSync(join(tmpdir(), "gateway-compose-"));

let environment, origin;

/** A compose command; its output. */
function compose(...words) {
  const [program, ...start] = plugin ? ["docker", "compose"] : ["docker-compose"];
  const done = spawnSync(program, [...start, "-p", project, ...words], { cwd: root, env: environment, encoding: "utf8", maxBuffer: 1 << 26 });
  assert.equal(done.status, 0, `${words.join(" ")}: ${done.stdout.slice(-2000)}${done.stderr.slice(-4000)}`);
  return done.stdout + done.stderr;
}

async function until(look, what, patience = 90_000) {
  const deadline = Date.now() + patience;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`waited in vain for ${what}\n${compose("logs", "--no-color").slice(-4000)}`);
    await new Promise((done) => setTimeout(done, 250));
  }
}

const answers = () => until(async () => (await fetch(`${origin}/healthz`).catch(() => null))?.ok, "the gateway to answer");

/** One SDK driver; `again` is given no password. */
function drive(interpreter, script, transport, phase) {
  const env = { PATH: process.env.PATH, PYTHONDONTWRITEBYTECODE: "1", ...(phase === "first" && { OWNER_NAME: OWNER.name, OWNER_PASSWORD: OWNER.password }) };
  const url = `${origin}/${transport === "sse" ? "sse" : "mcp"}`;
  const words = [join(root, "tests/clients", script), "--url", url, "--transport", transport, "--storage", join(folder, `${script}.json`), "--phase", phase];
  const report = JSON.parse(execFileSync(interpreter, words, { env, encoding: "utf8", timeout: 150_000 }).trim().split("\n").pop());
  assert.equal(report.ok, true, JSON.stringify(report));
  assert.deepEqual(report.tools, ["fetch", "search"]);
}

const CLIENTS = [
  [join(root, "tests/.work/python-v2/bin/python"), "python_v2.py", "http"],
  [process.execPath, "ts_v1.mjs", "sse"],
];

before(async () => {
  if (!engine) return;
  const port = await new Promise((done) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
  origin = `http://localhost:${port}`;
  environment = { ...process.env, GATEWAY_LISTEN: `127.0.0.1:${port}`, GATEWAY_PUBLIC_URL: origin, DOCKER_BUILDKIT: "0", COMPOSE_DOCKER_CLI_BUILD: "0" };
  compose("build");
  compose("up", "-d");
  await answers();
}, { timeout: 1_500_000 });

after(() => {
  if (engine && environment) compose("down", "--volumes", "--timeout", "20");
  rmSync(folder, { recursive: true, force: true });
});

test("only the gateway is published, and every container runs unprivileged on a read-only root", { skip }, () => {
  for (const service of ["gateway", "mcp-backend", "redis"]) {
    const id = compose("ps", "-q", service).trim();
    const [{ Config, HostConfig, NetworkSettings }] = JSON.parse(execFileSync("docker", ["inspect", id], { encoding: "utf8" }));
    assert.notEqual(Config.User, "", service);
    assert.notEqual(Config.User, "root", service);
    assert.equal(HostConfig.ReadonlyRootfs, true, service);
    const published = Object.values(NetworkSettings.Ports ?? {}).filter(Boolean).flat();
    assert.equal(published.length > 0, service === "gateway", `${service}: ${JSON.stringify(published)}`);
  }
});

test("the code in the log makes the owner", { skip }, async () => {
  const code = await until(() => compose("logs", "--no-color", "gateway").match(/\/setup\?code=([\w-]+)/)?.[1], "a setup code in the log");
  const body = new URLSearchParams({ code, name: OWNER.name, password: OWNER.password, again: OWNER.password });
  const answer = await fetch(`${origin}/setup`, { method: "POST", body, headers: { Origin: origin }, redirect: "manual" });
  assert.ok(answer.status < 400, `${answer.status} ${await answer.text()}`);
});

test("real clients go from discovery to a fetched document", { skip }, () => {
  for (const [interpreter, script, transport] of CLIENTS) drive(interpreter, script, transport, "first");
});

test("after every container restarted the same tokens work", { skip }, async () => {
  compose("restart", "--timeout", "20");
  await answers();
  for (const [interpreter, script, transport] of CLIENTS) {
    // The document server may still be reading its folder.
    await until(() => { try { drive(interpreter, script, transport, "again"); return true; } catch (error) { if (/new login/.test(String(error.stdout))) throw error; return false; } }, `${script} after the restart`, 60_000);
  }
});

test("every container is healthy by its own check", { skip }, async () => {
  for (const service of ["gateway", "mcp-backend", "redis"]) {
    const id = compose("ps", "-q", service).trim();
    await until(() => execFileSync("docker", ["inspect", "-f", "{{.State.Health.Status}}", id], { encoding: "utf8" }).trim() === "healthy", `${service} to be healthy`);
  }
});
