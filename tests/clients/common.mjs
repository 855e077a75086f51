// What the two TypeScript-SDK drivers share; the same contract as common.py:
//   driver --url URL --transport http|sse --storage FILE --phase first|again [--calls JSON]
// `again` knows no password: a gateway that forgot the registration or the
// token fails it. One JSON object on stdout ends every run.

import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { randomUUID } from "node:crypto";

const REDIRECT_URI = "http://127.0.0.1:53683/callback";

/** An OAuthClientProvider whose memory is one JSON file and whose browser is person.py. */
export class Provider {
  constructor(file, phase, clientName) {
    Object.assign(this, { file, phase, clientName, logins: 0, landed: undefined, saved: [] });
  }
  get redirectUrl() { return REDIRECT_URI; }
  get clientMetadata() {
    return {
      client_name: this.clientName,
      redirect_uris: [REDIRECT_URI],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
    };
  }
  state() { return (this.sent = randomUUID()); }
  clientInformation() { return this.#held().client; }
  saveClientInformation(client) { this.#keep({ client }); }
  tokens() { return this.#held().tokens; }
  saveTokens(tokens) { this.saved.push(tokens); this.#keep({ tokens }); }
  saveCodeVerifier(verifier) { this.verifier = verifier; }
  codeVerifier() { return this.verifier; }
  redirectToAuthorization(url) {
    if (this.phase !== "first") throw new Error("a new login was asked for although a token is stored");
    this.logins += 1;
    const person = new URL("person.py", import.meta.url).pathname;
    const landed = execFileSync(process.env.PYTHON ?? "python3", [person, url.href], { encoding: "utf8" }).trim();
    if (!landed.startsWith(REDIRECT_URI + "?")) throw new Error(`sent to ${landed.split("?")[0]}, not to the redirect URI`);
    this.landed = new URL(landed).searchParams;
    if (this.landed.has("error")) throw new Error(`authorization refused: ${this.landed.get("error")}`);
    if (this.landed.get("state") !== this.sent) throw new Error("state did not come back as sent");
  }
  #held() { return existsSync(this.file) ? JSON.parse(readFileSync(this.file, "utf8")) : {}; }
  #keep(part) { writeFileSync(this.file, JSON.stringify({ ...this.#held(), ...part })); }
}

const json = (result) => {
  if (result.content.length !== 1) throw new Error(`${result.content.length} content items, expected one`);
  return JSON.parse(result.content[0].text);
};

/** List, and call each of `calls` ([{name, arguments}]) in turn; with progress, where it is told. */
async function callTools(client, calls, callTool) {
  const tools = (await client.listTools()).tools.map((tool) => tool.name).sort();
  const called = [];
  for (const call of calls) {
    const began = Date.now();
    const progress = [];
    const onprogress = ({ progress: done }) => progress.push({ done, after_ms: Date.now() - began });
    const result = await callTool(client, call, { onprogress });
    called.push({ ...result, progress });
  }
  return { tools, called };
}

/** List, search, fetch the first hit; returns what the report shows. */
async function useTools(client, again) {
  const tools = (await client.listTools()).tools.map((tool) => tool.name).sort();
  if (process.env.STEP_UP) {
    // The SDK asks for more by itself, and loses nothing by it.
    const texts = [];
    for (const name of [process.env.CALLED, process.env.STEP_UP, process.env.CALLED]) {
      const call = () => client.callTool({ name, arguments: { a: 1 } });
      texts.push((await call().catch(again(call))).content[0].text);
    }
    return { tools, texts };
  }
  if (process.env.FORBIDDEN) {
    // The session must survive the refusal.
    const refused = await client.callTool({ name: process.env.FORBIDDEN, arguments: {} });
    const allowed = await client.callTool({ name: process.env.CHOSEN.split(",")[0], arguments: { a: 1 } });
    return { tools, refused: refused.isError ? refused.content[0].text : null, allowed: !allowed.isError };
  }
  const { results } = json(await client.callTool({ name: "search", arguments: { query: "gateway" } }));
  const page = json(await client.callTool({ name: "fetch", arguments: { id: results[0].id } }));
  if (page.id !== results[0].id || !page.text || !page.url.includes("://")) throw new Error(`fetch gave ${JSON.stringify(page)}`);
  return { tools, results: results.length, fetched: page.id };
}

/** Rest until the access token has ended, then make four calls at once; how they were refreshed. */
async function refreshInParallel(client, provider, seconds) {
  await new Promise((done) => setTimeout(done, seconds * 1000));
  const before = provider.saved.length;
  const calls = [1, 2, 3, 4].map(() => client.callTool({ name: "search", arguments: { query: "gateway" } }));
  for (const result of await Promise.all(calls)) {
    if (!json(result).results.length) throw new Error(`search gave ${JSON.stringify(result)}`);
  }
  const saved = provider.saved.slice(before);
  return { refreshes: saved.length, successors: new Set(saved.map((tokens) => tokens.refresh_token)).size };
}

/**
 * Drive one SDK: `makeClient()` gives a fresh client, `makeTransport(kind, url, provider)` a fresh
 * transport, `finish(transport, query)` hands it the authorization response, `callTool(client, call,
 * options)` calls a tool, `agreed(client, transport)` names the protocol revision.
 */
export async function run({ name, Unauthorized, makeClient, makeTransport, finish, callTool, agreed }) {
  const { values } = parseArgs({
    options: { url: { type: "string" }, transport: { type: "string" }, storage: { type: "string" }, phase: { type: "string" }, calls: { type: "string" }, linger: { type: "string", default: "0" } },
  });
  const seconds = Number(values.linger);
  const deadline = setTimeout(() => report({ ok: false, error: "not done in time" }), 120_000 + seconds * 1000);
  const provider = new Provider(values.storage, values.phase, name);
  const connect = async () => {
    const client = makeClient();
    const transport = makeTransport(values.transport, new URL(values.url), provider);
    await client.connect(transport).catch((error) => { throw Object.assign(error, { transport }); });
    return { client, transport };
  };
  try {
    let session;
    try {
      session = await connect();
    } catch (error) {
      if (!(error instanceof Unauthorized) || !provider.landed) throw error;
      await finish(error.transport, provider.landed);
      session = await connect();
    }
    // After its redirect the SDK leaves it to the app to hand in the answer and to call again.
    const again = (call) => async (error) => {
      if (!(error instanceof Unauthorized)) throw error;
      await finish(session.transport, provider.landed);
      return call();
    };
    const used = await (values.calls ? callTools(session.client, JSON.parse(values.calls), callTool) : useTools(session.client, again));
    const refreshed = seconds > 0 ? await refreshInParallel(session.client, provider, seconds) : {};
    const protocol = agreed(session.client, session.transport);
    await session.client.close();
    const expected = values.phase === "first" ? Number(process.env.LOGINS ?? 1) : 0;
    if (provider.logins !== expected) throw new Error(`${provider.logins} logins, expected ${expected}`);
    report({ ok: true, ...used, ...refreshed, protocol });
  } catch (error) {
    console.error(error);
    report({ ok: false, error: String(error.message ?? error) });
  }
  function report(outcome) {
    clearTimeout(deadline);
    console.log(JSON.stringify(outcome));
    process.exit(outcome.ok ? 0 : 1);
  }
}
