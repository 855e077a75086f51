// docker-compose.yml as a user runs it: one project with the variables of one command line.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createServer } from "node:net";
import { join, resolve } from "node:path";

export const root = resolve(import.meta.dirname, "../..");
/** Not those that a person builds: the tests' are compiled sooner and run slower. */
const IMAGES = "cupcake-gateway-test";
export const OWNER = { name: "alice", password: "correct horse battery staple" };
/** The address that `host.docker.internal` stands for: of this machine, on Docker's own network alone. */
export const bridgeAddress = () =>
  execFileSync("docker", ["run", "--rm", "--add-host", "here:host-gateway", "--entrypoint", "getent", IMAGES, "ahostsv4", "here"], { encoding: "utf8" }).split(" ")[0];

/** Why nothing can run here; never in CI, where an engine has to be. */
export const skip = process.env.CI || spawnSync("docker", ["info"], { stdio: "ignore" }).status === 0 ? false : "no Docker engine answers";

const plugin = spawnSync("docker", ["compose", "version"], { stdio: "ignore" }).status === 0;
let count = 0;

/** A project: `variables` as in front of the command, `profiles` as `--profile`. */
export async function stack(variables = {}, profiles = []) {
  const port = await freePort();
  const origin = `http://localhost:${port}`;
  const project = `gateway-test-${process.pid}-${count++}`;
  const environment = { ...process.env, GATEWAY_IMAGES: IMAGES, GATEWAY_LISTEN: `127.0.0.1:${port}`, GATEWAY_PUBLIC_URL: origin, DOCKER_BUILDKIT: "0", COMPOSE_DOCKER_CLI_BUILD: "0", ...variables };

  /** A compose command; its output. */
  function compose(...words) {
    const [program, ...start] = plugin ? ["docker", "compose"] : ["docker-compose"];
    const chosen = profiles.flatMap((profile) => ["--profile", profile]);
    const done = spawnSync(program, [...start, "-p", project, ...chosen, ...words], { cwd: root, env: environment, encoding: "utf8", maxBuffer: 1 << 26 });
    assert.equal(done.status, 0, `${words.join(" ")}: ${done.stdout.slice(-2000)}${done.stderr.slice(-4000)}`);
    return done.stdout + done.stderr;
  }

  const logs = (service = "gateway") => compose("logs", "--no-color", service);
  const container = (service) => compose("ps", "-q", service).trim();

  return {
    origin,
    compose,
    logs,
    container,
    up: () => compose("up", "-d"),
    down: () => compose("down", "--volumes", "--timeout", "20"),
    answers: () => until(async () => (await fetch(`${origin}/healthz`).catch(() => null))?.ok, () => `the gateway to answer\n${logs().slice(-4000)}`),
    isHealthy: (service) => until(() => execFileSync("docker", ["inspect", "-f", "{{.State.Health.Status}}", container(service)], { encoding: "utf8" }).trim() === "healthy", () => `${service} to be healthy`),
    says: (sentence, service = "gateway", patience) => until(() => logs(service).match(sentence), () => `${sentence} in the log of ${service}\n${logs(service).slice(-4000)}`, patience),
    /** The code in the log makes the owner. */
    async setUp() {
      const code = await until(() => logs().match(/\/setup\?code=([\w-]+)/)?.[1], () => `a setup code in the log\n${logs().slice(-4000)}`);
      const body = new URLSearchParams({ code, name: OWNER.name, password: OWNER.password, again: OWNER.password });
      const answer = await fetch(`${origin}/setup`, { method: "POST", body, headers: { Origin: origin }, redirect: "manual" });
      assert.ok(answer.status < 400, `${answer.status} ${await answer.text()}`);
    },
    /** One SDK driver; its report. `again` is given no password. `tools`: chosen on the consent page. */
    drive({ interpreter, script, path = "/mcp", phase = "first", storage, calls, tools }) {
      const env = { PATH: process.env.PATH, PYTHONDONTWRITEBYTECODE: "1", ...(phase === "first" && { OWNER_NAME: OWNER.name, OWNER_PASSWORD: OWNER.password }), ...(tools && { CHOSEN: tools.join(",") }) };
      const transport = path.endsWith("/sse") ? "sse" : "http";
      const words = [join(root, "tests/clients", script), "--url", origin + path, "--transport", transport, "--storage", storage, "--phase", phase];
      if (calls) words.push("--calls", JSON.stringify(calls));
      const report = JSON.parse(execFileSync(interpreter, words, { env, encoding: "utf8", timeout: 150_000 }).trim().split("\n").pop());
      assert.equal(report.ok, true, JSON.stringify(report));
      return report;
    },
  };
}

export async function until(look, what, patience = 90_000) {
  const deadline = Date.now() + patience;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`waited in vain for ${typeof what === "function" ? what() : what}`);
    await new Promise((done) => setTimeout(done, 250));
  }
}

export function freePort(address = "127.0.0.1") {
  return new Promise((done) => {
    const server = createServer().listen(0, address, () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}
