// A page that is an MCP client, in Chromium: served here from another origin than the gateway's, bundled
// as pages are. Without OWNER_NAME nobody answers the pages of the gateway.
//
//     in_browser.mjs PAGE URL FOLDER
//
// The browser's profile stays in the folder. The last line says what the page saw, and at which address
// its person logged in.

import { build } from "esbuild";
import { chromium } from "playwright-core";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";

const [entry, url, folder] = process.argv.slice(2);
const { OWNER_NAME: name, OWNER_PASSWORD: password, ALLOW_EVERYTHING: everything } = process.env;

const { outputFiles: [script] } = await build({ entryPoints: [entry], bundle: true, format: "esm", platform: "browser", write: false });
const site = createServer((request, response) => {
  const is = (type, body) => response.setHeader("Content-Type", type).end(body);
  const { pathname } = new URL(request.url, "http://localhost");
  if (pathname === "/page.js") is("text/javascript", script.text);
  else is("text/html", '<!doctype html><meta charset="utf-8"><title>A page</title><script type="module" src="/page.js"></script>');
});
// The same origin each time, because that is whose storage it is.
const noted = join(folder, "port");
const port = existsSync(noted) ? Number(readFileSync(noted, "utf8")) : 0;
await new Promise((done, fail) => site.once("error", fail).listen(port, "127.0.0.1", done));
writeFileSync(noted, String(site.address().port));

const browser = await chromium.launchPersistentContext(join(folder, "profile"), {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const page = browser.pages()[0] ?? (await browser.newPage());
page.setDefaultTimeout(60_000);
const said = [];
page.on("console", (message) => said.push(message.text()));

let login;
async function person() {
  await page.waitForURL((at) => at.origin === new URL(url).origin);
  login = page.url();
  if (!name) throw new Error("a login that was not due");
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Log in" }).click();
  const allow = page.getByRole("button", { name: "Allow", exact: true });
  await allow.waitFor();
  if (everything) await page.getByLabel("Everything, also what comes later").check();
  await allow.click();
  return seen();
}
const seen = async () => (await page.waitForFunction(() => window.report)).jsonValue();

try {
  // `localhost` is another host than the gateway's, too.
  await page.goto(`http://localhost:${site.address().port}/?server=${encodeURIComponent(url)}`);
  const report = await Promise.any([person(), seen()]);
  console.log(JSON.stringify({ ...report, login, said }));
} finally {
  await browser.close();
  site.close();
}
process.exit(0);
