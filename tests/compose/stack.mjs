// docker-compose.yml as a user runs it: one project with the variables of one command line.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";

export const root = resolve(import.meta.dirname, "../..");
/** Not those that a person builds: the tests' are compiled sooner and run slower. */
export const IMAGES = "cupcake-gateway-test";
/** What their programs are compiled as. */
export const PROFILE = "release";
const BUILDER = `${IMAGES}-builder`;
export const OWNER = { name: "alice", password: "correct horse battery staple" };
/** The address that `host.docker.internal` stands for: of this machine, on Docker's own network alone. */
export const bridgeAddress = () =>
  execFileSync("docker", ["run", "--rm", "--add-host", "here:host-gateway", "--entrypoint", "getent", IMAGES, "ahostsv4", "here"], { encoding: "utf8" }).split(" ")[0];

/** Why nothing can run here; never in CI, where an engine has to be. */
export const skip = process.env.CI || spawnSync("docker", ["info"], { stdio: "ignore" }).status === 0 ? false : "no Docker engine answers";

/** The command that compose is, as it is installed here. */
export const COMPOSE = spawnSync("docker", ["compose", "version"], { stdio: "ignore" }).status === 0 ? ["docker", "compose"] : ["docker-compose"];
let count = 0;

/** A project: `variables` as in front of the command, `profiles` as `--profile`, `files` as more `-f`. */
export async function stack(variables = {}, profiles = [], files = []) {
  const port = await freePort();
  const published = `http://localhost:${port}`;
  const origin = variables.GATEWAY_PUBLIC_URL ?? published;
  const project = `gateway-test-${process.pid}-${count++}`;
  const environment = { ...process.env, GATEWAY_IMAGES: IMAGES, GATEWAY_LISTEN: `127.0.0.1:${port}`, GATEWAY_PUBLIC_URL: origin, DOCKER_BUILDKIT: "0", COMPOSE_DOCKER_CLI_BUILD: "0", ...variables };

  /** A compose command; its output. */
  function compose(...words) {
    const [program, ...start] = COMPOSE;
    const chosen = profiles.flatMap((profile) => ["--profile", profile]);
    const named = files.length ? ["docker-compose.yml", ...files].flatMap((file) => ["-f", file]) : [];
    const done = spawnSync(program, [...start, "-p", project, ...named, ...chosen, ...words], { cwd: root, env: environment, encoding: "utf8", maxBuffer: 1 << 26 });
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
    /** The images, of these services or all. */
    build: (...services) => compose("build", "--build-arg", `PROFILE=${PROFILE}`, "--build-arg", `RUST_IMAGE=${builder()}`, ...services),
    up: () => compose("up", "-d"),
    down: () => compose("down", "--volumes", "--timeout", "20"),
    answers: () => until(async () => (await fetch(`${published}/healthz`).catch(() => null))?.ok, () => `the gateway to answer\n${logs().slice(-4000)}`),
    isHealthy: (service) => until(() => execFileSync("docker", ["inspect", "-f", "{{.State.Health.Status}}", container(service)], { encoding: "utf8" }).trim() === "healthy", () => `${service} to be healthy`),
    says: (sentence, service = "gateway", patience) => until(() => logs(service).match(sentence), () => `${sentence} in the log of ${service}\n${logs(service).slice(-4000)}`, patience),
    /** The code in the log makes the owner. */
    async setUp() {
      const code = await until(() => logs().match(/\/setup\?code=([\w-]+)/)?.[1], () => `a setup code in the log\n${logs().slice(-4000)}`);
      const body = new URLSearchParams({ code, name: OWNER.name, password: OWNER.password, again: OWNER.password });
      const answer = await fetch(`${published}/setup`, { method: "POST", body, headers: { Origin: origin }, redirect: "manual" });
      assert.ok(answer.status < 400, `${answer.status} ${await answer.text()}`);
    },
    /** One SDK driver, with more of an environment; its report. `again` is given no password. `tools`: chosen on the consent page. */
    drive({ interpreter, script, path = "/mcp", phase = "first", storage, calls, tools, environment = {} }) {
      const env = { ...environment, PATH: process.env.PATH, PYTHONDONTWRITEBYTECODE: "1", ...(phase === "first" && { OWNER_NAME: OWNER.name, OWNER_PASSWORD: OWNER.password }), ...(tools && { CHOSEN: tools.join(",") }) };
      const transport = path.endsWith("/sse") ? "sse" : "http";
      const words = [join(root, "tests/clients", script), "--url", origin + path, "--transport", transport, "--storage", storage, "--phase", phase];
      if (calls) words.push("--calls", JSON.stringify(calls));
      const report = JSON.parse(execFileSync(interpreter, words, { env, encoding: "utf8", timeout: 150_000 }).trim().split("\n").pop());
      assert.equal(report.ok, true, JSON.stringify(report));
      return report;
    },
  };
}

/** The public image, or where no registry answers, Debian's Caddy under its name. */
export function caddy() {
  const have = (...words) => spawnSync("docker", words, { stdio: "ignore", timeout: 60_000 }).status === 0;
  if (have("image", "inspect", "caddy:2") || have("pull", "caddy:2")) return;
  const file = "FROM debian:bookworm-slim\nRUN apt-get update -qq && apt-get install -y -qq --no-install-recommends caddy && rm -rf /var/lib/apt/lists/*\nENV XDG_DATA_HOME=/data\n";
  execFileSync("docker", ["build", "--quiet", "--tag", "caddy:2", "-"], { input: file, env: { ...process.env, DOCKER_BUILDKIT: "0" }, stdio: ["pipe", "ignore", "inherit"] });
}

let made;

/**
 * An image to compile in, with the libraries that this run has compiled: the same compiler takes them
 * as they are, and another one compiles its own. What is ours is compiled in the image in any case.
 */
function builder() {
  if (made) return made;
  const compiled = process.env.GATEWAY_BINARIES ?? join(root, "target/release");
  const { packages } = JSON.parse(execFileSync("cargo", ["metadata", "--no-deps", "--offline", "--format-version", "1"], { cwd: root, encoding: "utf8", maxBuffer: 1 << 26 }));
  const ours = packages.flatMap(({ name, targets }) => [name, ...targets.map((target) => target.name)]).filter((name) => !name.startsWith("libz"));
  const isOurs = (file) => ours.some((name) => [name, name.replaceAll("-", "_")].some((word) => new RegExp(`^(lib)?${word}-[0-9a-f]{16}`).test(file)));
  const context = mkdtempSync(join(dirname(compiled), "builder-"));
  try {
    for (const folder of ["deps", "build", ".fingerprint"]) {
      const files = readdirSync(join(compiled, folder)).filter((file) => !isOurs(file));
      mkdirSync(join(context, folder));
      // Links: the files are large, and only read.
      execFileSync("xargs", ["-0", "cp", "-al", "-t", join(context, folder)], { cwd: join(compiled, folder), input: files.join("\0") });
    }
    // Cargo knows a library by where its source is, too.
    const home = process.env.CARGO_HOME ?? join(homedir(), ".cargo");
    writeFileSync(join(context, "Dockerfile"), `FROM rust:1-bookworm\nENV CARGO_HOME=${home}\nCOPY . /build/target/release\n`);
    execFileSync("docker", ["build", "--quiet", "--tag", BUILDER, context], { env: { ...process.env, DOCKER_BUILDKIT: "0" }, stdio: ["ignore", "ignore", "inherit"] });
  } finally {
    rmSync(context, { recursive: true, force: true });
  }
  return (made = BUILDER);
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
