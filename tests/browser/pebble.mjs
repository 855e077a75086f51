// An ACME server of the test's own: Debian's `pebble` with its DNS server, for which every name is this
// machine; and what is needed to reach a gateway by a name and a certificate that nobody else knows.

import { execFileSync, spawn } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request as httpsRequest } from "node:https";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { freePort, until } from "./gateway.mjs";

/** One that looks for challenges at this port. */
export async function startPebble(challenges) {
  const folder = mkdtempSync(join(tmpdir(), "gateway-pebble-"));
  const at = (name) => join(folder, name);
  certify(at);
  const [port, management, dns, dnsManagement, tls] = await Promise.all([1, 2, 3, 4, 5].map(freePort));
  const config = {
    listenAddress: `127.0.0.1:${port}`, managementListenAddress: `127.0.0.1:${management}`, certificate: at("cert.pem"), privateKey: at("key.pem"),
    httpPort: challenges, tlsPort: tls, ocspResponderURL: "", externalAccountBindingRequired: false,
  };
  writeFileSync(at("pebble.json"), JSON.stringify({ pebble: config }));
  const quiet = { cwd: folder, stdio: "ignore" };
  const names = spawn("pebble-challtestsrv", [`-dns01=127.0.0.1:${dns}`, `-management=127.0.0.1:${dnsManagement}`, "-defaultIPv4=127.0.0.1", "-defaultIPv6=", "-http01=", "-https01=", "-tlsalpn01="], quiet);
  const environment = { ...process.env, PEBBLE_VA_NOSLEEP: "1", PEBBLE_WFE_NONCEREJECT: "0" };
  const server = spawn("pebble", ["-config", "pebble.json", "-dnsserver", `127.0.0.1:${dns}`], { ...quiet, env: environment });
  await until(async () => (await listens(port)) && (await listens(management)), "pebble to listen");
  const authority = readFileSync(at("ca.pem"));
  const kept = async (path) => (await send({ port: management, ca: authority, servername: "localhost", path }, undefined)).text();
  return {
    directory: `https://localhost:${port}/dir`,
    /** The authority of the server itself. */
    authority: at("ca.pem"),
    /** That of what it certifies. */
    root: await kept("/roots/0"),
    intermediate: await kept("/intermediates/0"),
    stop: () => {
      for (const child of [server, names]) child.kill("SIGKILL");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** An authority, and a certificate by it for `localhost`. */
function certify(at) {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  writeFileSync(at("names"), "subjectAltName=DNS:localhost");
  const openssl = (...words) => execFileSync("openssl", words, { stdio: "pipe" });
  openssl("req", "-x509", ...key, "-keyout", at("ca.key"), "-out", at("ca.pem"), "-days", "400", "-subj", "/CN=authority");
  openssl("req", ...key, "-keyout", at("key.pem"), "-out", at("request.pem"), "-subj", "/CN=server");
  openssl("x509", "-req", "-in", at("request.pem"), "-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-CAcreateserial", "-days", "30", "-extfile", at("names"), "-out", at("cert.pem"));
}

const listens = (port) => new Promise((done) => {
  const socket = connect(port, "127.0.0.1", () => { socket.destroy(); done(true); });
  socket.once("error", () => done(false));
});

/** What names this certificate to Chromium, which is told to believe it. */
export function fingerprint(pem) {
  const key = new X509Certificate(pem).publicKey.export({ type: "spki", format: "der" });
  return createHash("sha256").update(key).digest("base64");
}

/** A `fetch` for which every name leads to this port, and certificates are by this authority. */
export function fetchThrough(port, ca) {
  return async (input, init) => {
    const asked = new Request(input, init);
    const url = new URL(asked.url);
    const headers = { ...Object.fromEntries(asked.headers), host: url.host };
    const options = { port, ca, servername: url.hostname, path: url.pathname + url.search, method: asked.method, headers, signal: asked.signal };
    return send(options, asked.body ? Buffer.from(await asked.arrayBuffer()) : undefined);
  };
}

function send(options, body) {
  return new Promise((done, failed) => {
    const sent = httpsRequest({ host: "127.0.0.1", agent: false, ...options }, (answer) => {
      const headers = Object.entries(answer.headersDistinct).flatMap(([name, values]) => values.map((value) => [name, value]));
      const isBodiless = [204, 205, 304].includes(answer.statusCode);
      if (isBodiless) answer.resume();
      done(new Response(isBodiless ? null : Readable.toWeb(answer), { status: answer.statusCode, headers }));
    });
    sent.once("error", failed);
    sent.end(body);
  });
}
