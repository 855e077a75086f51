// What is asked of the gateway's image wherever it runs: that it is small, and needs no user, right or
// place of its own. The images are those that compose.test.mjs built.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

import { IMAGES, PROFILE, skip, until } from "./stack.mjs";

/** Above Debian's, which other images share: of what is shipped, and of what compiles sooner and is larger. */
const MOST = { dist: 45e6, release: 56e6 }[PROFILE];

const docker = (...words) => execFileSync("docker", words, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim();
const size = (image) => Number(docker("image", "inspect", "-f", "{{.Size}}", image));

/** A container with these options that is taken away after the test, with its volume. */
function started(context, ...options) {
  const container = docker("run", "--detach", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges:true", "--env", "GATEWAY__STORE__URL=file:/var/lib/gateway/state", ...options, IMAGES);
  context.after(() => docker("rm", "--force", "--volumes", container));
  const logs = () => execFileSync("sh", ["-c", `docker logs ${container} 2>&1`], { encoding: "utf8" });
  const isHealthy = () => until(() => docker("inspect", "-f", "{{.State.Health.Status}}", container) === "healthy", () => `the container to be healthy\n${logs().slice(-4000)}`);
  return { container, logs, isHealthy };
}

test(`the image of the profile ${PROFILE} is at most ${MOST / 1e6} MB above its base`, { skip }, () => {
  const above = size(IMAGES) - size("debian:bookworm-slim");
  console.log(`${(above / 1e6).toFixed(1)} MB above debian:bookworm-slim`);
  assert.ok(above <= MOST, `${above}`);
});

test("it names a user by number, so that Kubernetes knows it is not root", { skip }, () => {
  assert.match(docker("image", "inspect", "-f", "{{.Config.User}}", IMAGES), /^[1-9]\d*$/);
});

for (const [who, options] of [["its own user", []], ["any other user", ["--user", "54321:0"]]]) {
  test(`it runs as ${who}, read-only and without capabilities, and finds its keys again`, { skip }, async (context) => {
    const { container, logs, isHealthy } = started(context, ...options);
    await isHealthy();
    assert.match(logs(), /keys .*made now/);
    docker("restart", "--time", "20", container);
    await isHealthy();
    assert.match(logs(), /keys .*\(kept\)/);
    assert.doesNotMatch(logs(), /unsafe|state_folder_open/);
  });
}
