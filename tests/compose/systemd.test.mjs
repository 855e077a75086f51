// The service of conf/systemd under a real systemd, in a container with the programs of the images that
// compose.test.mjs built: it starts by its socket, is reloaded while it is asked, and is stopped. What a
// container can't give, user namespaces within it, is left out.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { IMAGES, root, skip, until } from "./stack.mjs";

const IMAGE = `${IMAGES}-systemd`;
const FILE = `FROM debian:bookworm-slim
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends systemd systemd-sysv dbus curl && rm -rf /var/lib/apt/lists/*
STOPSIGNAL SIGRTMIN+3
CMD ["/lib/systemd/systemd"]
`;
const OPTIONS = ["--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined", "--cgroupns", "host", "--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--tmpfs", "/run", "--tmpfs", "/run/lock", "--tmpfs", "/tmp"];
/** Asks until it is told to stop, and counts what is no 200. */
const LOAD = `asked=0 failed=0
while [ ! -e /tmp/stop ]; do
  asked=$((asked + 1))
  [ "$(curl -s -o /dev/null -m 10 -w '%{http_code}' http://127.0.0.1:8080/.well-known/oauth-authorization-server)" = 200 ] || failed=$((failed + 1))
done
echo "$asked $failed" >/tmp/asked`;

const docker = (...words) => execFileSync("docker", words, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim();

/** Systemd as the first process of a container, with the gateway installed as its package does it. */
async function machine(context) {
  execFileSync("docker", ["build", "--quiet", "--tag", IMAGE, "-"], { input: FILE, env: { ...process.env, DOCKER_BUILDKIT: "0" }, stdio: ["pipe", "ignore", "inherit"] });
  const container = docker("run", "--detach", ...OPTIONS, IMAGE);
  context.after(() => docker("rm", "--force", "--volumes", container));
  /** A command in it; its code and what it printed. */
  const run = (...words) => {
    const done = spawnSync("docker", ["exec", container, ...words], { encoding: "utf8" });
    return { code: done.status, said: done.stdout + done.stderr };
  };
  const isUp = await until(() => run("systemctl", "is-system-running").said.match(/running|degraded/), "systemd", 30_000).catch(() => null);
  if (!isUp) return null;
  const folder = mkdtempSync(join(tmpdir(), "gateway-systemd-"));
  try {
    for (const [image, program] of [[IMAGES, "gateway"], [`${IMAGES}-mcp-backend`, "mcp-backend"]]) {
      const source = docker("create", image);
      docker("cp", `${source}:/usr/local/bin/${program}`, join(folder, program));
      docker("rm", source);
      docker("cp", join(folder, program), `${container}:/usr/bin/${program}`);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  run("mkdir", "-p", "/etc/cupcake-gateway", "/usr/share/cupcake-gateway", "/etc/systemd/system/cupcake-gateway.service.d");
  const conf = join(root, "conf");
  docker("cp", join(conf, "documents"), `${container}:/usr/share/cupcake-gateway/documents`);
  docker("cp", join(conf, "systemd/gateway.toml"), `${container}:/etc/cupcake-gateway/gateway.toml`);
  for (const unit of ["cupcake-gateway.service", "cupcake-gateway.socket"]) docker("cp", join(conf, "systemd", unit), `${container}:/usr/lib/systemd/system/${unit}`);
  docker("cp", join(conf, "systemd/sysusers.conf"), `${container}:/usr/lib/sysusers.d/cupcake-gateway.conf`);
  const prepared = run("sh", "-ec", "chmod -R a+rX /etc/cupcake-gateway /usr/share/cupcake-gateway; printf '[Service]\\nPrivateUsers=no\\n' >/etc/systemd/system/cupcake-gateway.service.d/container.conf; systemd-sysusers; systemctl daemon-reload");
  assert.equal(prepared.code, 0, prepared.said);
  return run;
}

test("systemd starts the service by its socket, reloads it under requests and stops it", { skip, timeout: 300_000 }, async (context) => {
  const run = await machine(context);
  if (!run) return context.skip("this engine runs no systemd in a container");
  const log = () => run("journalctl", "--no-pager", "-u", "cupcake-gateway").said.slice(-4000);
  const process = () => run("systemctl", "show", "-p", "MainPID", "--value", "cupcake-gateway").said.trim();
  const state = () => run("systemctl", "is-active", "cupcake-gateway").said.trim();

  assert.equal(run("systemctl", "start", "cupcake-gateway.socket").code, 0);
  assert.equal(state(), "inactive");
  // The first connection starts it, and waits for it.
  assert.equal(run("curl", "-s", "-m", "60", "http://127.0.0.1:8080/healthz").code, 0, log());
  assert.equal(state(), "active", log());

  const asking = run("sh", "-c", `nohup sh -c '${LOAD.replaceAll("'", "'\\''")}' >/dev/null 2>&1 &`);
  assert.equal(asking.code, 0, asking.said);
  const processes = new Set([process()]);
  for (let n = 0; n < 5; n += 1) {
    const reloaded = run("systemctl", "reload", "cupcake-gateway");
    assert.equal(reloaded.code, 0, reloaded.said + log());
    assert.equal(state(), "active");
    processes.add(process());
  }
  assert.equal(processes.size, 6, "each reload has a process of its own");

  // What is wrong leaves the one that serves.
  run("sh", "-c", "cp /etc/cupcake-gateway/gateway.toml /tmp/good; sed -i '1i nonsense = 1' /etc/cupcake-gateway/gateway.toml");
  const before = process();
  assert.notEqual(run("systemctl", "reload", "cupcake-gateway").code, 0);
  assert.deepEqual([state(), process()], ["active", before]);
  assert.match(log(), /unknown key `nonsense`/);
  run("sh", "-c", "cat /tmp/good >/etc/cupcake-gateway/gateway.toml");
  assert.equal(run("systemctl", "reload", "cupcake-gateway").code, 0, log());

  run("touch", "/tmp/stop");
  const asked = await until(() => run("cat", "/tmp/asked").said.match(/^(\d+) (\d+)$/m), "the requests to end", 20_000);
  assert.ok(Number(asked[1]) > 20, asked[0]);
  assert.equal(Number(asked[2]), 0, `requests failed\n${log()}`);
  assert.equal(run("systemctl", "stop", "cupcake-gateway.socket", "cupcake-gateway.service").code, 0);
  assert.equal(state(), "inactive");
  assert.doesNotMatch(log(), /State .* timed out|Killing process/);
});
