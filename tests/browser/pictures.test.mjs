// README's pictures of the consent and the account page. Each picture carries a digest of the page
// that it shows: markup, words and style. When the page is another one, this test takes the picture
// anew; in CI, where nothing is written, it fails. Pixels are not compared: fonts differ from machine to machine.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { crc32 } from "node:zlib";
import { startBackend, startClient, startGateway } from "./gateway.mjs";
import { closeBrowser, logIn, openBrowser, withPage } from "./looks.mjs";

before(openBrowser);
after(closeBrowser);

const FOLDER = resolve(import.meta.dirname, "../../.github/pictures");
const KEYWORD = "Page";
const APPS = { "Writing desk": "https://desk.example.com/callback", "Notes for Teams": "https://notes.example.com/oauth/callback" };
const NOTES = [
  { name: "search", description: "Finds notes by their words.", inputSchema: { type: "object" }, annotations: { readOnlyHint: true } },
  { name: "fetch", title: "Read a note", description: "Returns one note in full.", inputSchema: { type: "object" }, annotations: { readOnlyHint: true } },
  { name: "create_note", description: "Writes a new note.", inputSchema: { type: "object" }, annotations: { readOnlyHint: false, destructiveHint: false } },
  { name: "delete_note", description: "Deletes a note for good.", inputSchema: { type: "object" }, annotations: { readOnlyHint: false, destructiveHint: true } },
];

test("the README's pictures show the pages as they are", async () => {
  const backend = await startBackend(structuredClone(NOTES));
  const gateway = await startGateway({ url: backend.url });
  const clients = [];
  try {
    const origins = [gateway.origin, ...Object.values(APPS).map((uri) => new URL(uri).origin)];
    await withPage({ deviceScaleFactor: 1 }, async (page, context) => {
      await context.route("https://*.example.com/**", (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html><title>App</title><h1>Back at the app</h1>" }));
      for (const [name, redirectUri] of Object.entries(APPS)) {
        const client = await startClient(gateway, name, redirectUri);
        clients.push(client);
        await page.goto(client.authorizeUrl);
        if (await page.getByLabel("Password").count()) await logIn(page);
        await page.getByRole("button", { name: "Allow", exact: true }).waitFor();
        if (name === "Notes for Teams") await picture(page, gateway, "consent");
        await page.getByRole("button", { name: "Allow", exact: true }).click();
        await page.getByRole("heading", { name: "Back at the app" }).waitFor();
        await client.redeem(new URL(page.url()).searchParams.get("code"));
      }
      await page.goto(`${gateway.origin}/account`);
      await picture(page, gateway, "account");
    }, origins);
  } finally {
    for (const client of clients) await client.stop();
    await gateway.stop();
    await backend.stop();
  }
});

/** Compare the pictures of this page with what it is now, and take them anew where they may be. */
async function picture(page, gateway, name) {
  const digest = await digestOf(page, gateway);
  for (const colorScheme of ["light", "dark"]) {
    const file = join(FOLDER, `${name}-${colorScheme}.png`);
    const shown = existsSync(file) ? noteIn(readFileSync(file)) : undefined;
    if (shown === digest) continue;
    assert.ok(!process.env.CI, `${file} shows ${name} as it was (${shown}), not as it is (${digest}): run tests/run --only browser without CI set, and commit it`);
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width: 760, height: 900 });
    mkdirSync(FOLDER, { recursive: true });
    writeFileSync(file, withNote(await page.screenshot({ fullPage: true, animations: "disabled" }), digest));
    console.log(`${file} was taken anew`);
  }
}

/** What a page is, without what differs from run to run: ports, times, and the secrets of its forms. */
async function digestOf(page, gateway) {
  const sheets = await page.evaluate(() => [...document.querySelectorAll("link[rel=stylesheet]")].map((sheet) => sheet.href));
  const styles = (await Promise.all(sheets.map(async (sheet) => (await fetch(sheet)).text()))).join("\n");
  const markup = (await page.content())
    .replaceAll(gateway.origin, "ORIGIN")
    .replace(/Request <code>[0-9a-f]+/, "Request <code>")
    .replace(/(value|href|action|datetime|id|for|aria-labelledby|aria-describedby|nonce|title)="[^"]*"/g, "$1")
    .replace(/>([^<]*\d[^<]*)</g, (_, words) => `>${words.replace(/\d+/g, "N").replace(/\b(January|February|March|April|May|June|July|August|September|October|November|December|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b/g, "MONTH")}<`)
    .replace(/N (second|minute|hour)s?|less than a minute|a minute/g, "A WHILE");
  return createHash("sha256").update(markup).update(styles).digest("hex").slice(0, 32);
}

/** A PNG with a text beside its picture (tEXt, after the header). */
function withNote(png, text) {
  const data = Buffer.concat([Buffer.from(`tEXt${KEYWORD}\0`, "latin1"), Buffer.from(text, "latin1")]);
  const length = Buffer.alloc(4), check = Buffer.alloc(4);
  length.writeUInt32BE(data.length - 4);
  check.writeUInt32BE(crc32(data));
  const head = 8 + 12 + png.readUInt32BE(8);
  return Buffer.concat([png.subarray(0, head), length, data, check, png.subarray(head)]);
}

/** That text of a PNG. */
function noteIn(png) {
  for (let at = 8; at + 12 <= png.length;) {
    const length = png.readUInt32BE(at);
    const data = png.toString("latin1", at + 4, at + 8 + length);
    if (data.startsWith(`tEXt${KEYWORD}\0`)) return data.slice(5 + KEYWORD.length);
    at += 12 + length;
  }
  return undefined;
}
