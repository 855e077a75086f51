// What the two TypeScript clients of the cells share: `CLIENT.mjs http|sse URL`, the access token in
// TOKEN. One JSON object on stdout ends the run.

const text = (result) => result.content[0].text;

/** Drive a connected client; `changed` resolves when the tools are said to have changed. */
export async function use(client, call, heard) {
  const progress = [];
  const tools = (await client.listTools()).tools.map((tool) => tool.name).sort();
  const added = text(await call("add", { a: 2, b: 3 }));
  const count = text(await call("count", { to: 3 }, (done) => progress.push(done.progress)));
  const failed = (await call("fail", {})).isError === true;
  const greeted = text(await call("greet", {}));
  for (let tries = 0; tries < 20 && !heard.changed; tries += 1) {
    await call("grow", {});
    await new Promise((done) => setTimeout(done, 250));
  }
  return { tools, added, count, progress, failed, greeted, changed: heard.changed };
}

export async function run(drive) {
  const [kind, url] = process.argv.slice(2);
  const headers = { Authorization: `Bearer ${process.env.TOKEN}` };
  const late = setTimeout(() => report({ ok: false, error: "not done after a minute" }), 60_000);
  try {
    report({ ok: true, ...(await drive(kind, new URL(url), headers)) });
  } catch (error) {
    console.error(error);
    report({ ok: false, error: `${error.code ?? ""} ${error.stack ?? error}` });
  }
  function report(outcome) {
    clearTimeout(late);
    console.log(JSON.stringify(outcome));
    process.exit(outcome.ok ? 0 : 1);
  }
}
