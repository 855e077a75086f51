// A backend with 500 tools, in Chromium: the page on a phone, with the keyboard, without script, and
// what comes of it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { OWNER, ask, startBackend, startClient, startGateway } from "./gateway.mjs";
import { SHOTS, closeBrowser, inspect, logIn, openBrowser, withPage } from "./looks.mjs";

const tool = (n) => ({
  name: `department_${String(n).padStart(3, "0")}_report`,
  title: `Report of department ${n}`,
  description: `Reads what department ${n} has written down, in full and with its sources.`,
  inputSchema: { type: "object" },
  annotations: { readOnlyHint: n % 3 !== 0 },
});

let backend, gateway;
before(async () => {
  await openBrowser();
  backend = await startBackend(Array.from({ length: 500 }, (_, n) => tool(n)));
  gateway = await startGateway({ url: backend.url });
});
after(async () => {
  await closeBrowser();
  await gateway?.stop();
  await backend?.stop();
});

async function withClient(options, use) {
  const client = await startClient(gateway, "An app for many tools");
  try {
    await withPage(options, (page) => use(client, page), [gateway.origin]);
  } finally {
    await client.stop();
  }
}

/** What the token of this arrival can list, and that it can call the first of it. */
async function listed(client) {
  const { access_token: token } = await client.redeem(client.arrivals[0].get("code"));
  assert.ok(token.length < 1024, `${token.length} bytes`);
  const { result } = await ask(gateway, token, "tools/list");
  const names = result.tools.map((tool) => tool.name);
  const called = await ask(gateway, token, "tools/call", { name: names[0], arguments: {} });
  assert.equal(called.result.isError, undefined, JSON.stringify(called));
  return names;
}

test("500 tools: the preset is allowed with one press on a phone", async () => {
  await withClient({ viewport: { width: 360, height: 740 } }, async (client, page) => {
    await page.goto(client.authorizeUrl);
    await logIn(page);
    const allow = page.getByRole("button", { name: "Allow", exact: true });
    await allow.waitFor();
    // The page is no scroll of five hundred names, and its buttons are in reach from the choices on.
    const height = await page.evaluate(() => document.documentElement.scrollHeight);
    assert.ok(height < 5000, `${height} px high`);
    await page.getByLabel("Choose", { exact: true }).scrollIntoViewIfNeeded();
    await page.screenshot({ path: `${SHOTS}/many-phone-view.png` });
    await inspect(page, "many");
    await page.setViewportSize({ width: 360, height: 740 });
    await allow.click();
    await page.getByRole("heading", { name: "Back at the app" }).waitFor();
    assert.equal((await listed(client)).length, 333);
  });
});

test("500 tools: found, ticked and allowed with the keyboard alone, without script", async () => {
  await withClient({ javaScriptEnabled: false, viewport: { width: 360, height: 740 } }, async (client, page) => {
    await page.goto(client.authorizeUrl);
    await logIn(page);
    await page.getByLabel("Find a tool").waitFor();
    await page.getByLabel("Read only").focus();
    // From the preset to "Choose", and on to the search.
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Tab");
    await page.keyboard.type("REPORT department_41");
    await page.keyboard.press("Enter");
    await page.getByText("10 tools are found, of 500").waitFor();
    await page.screenshot({ path: `${SHOTS}/many-found-phone-view.png` });
    // The field has the focus again: Find, Tick, Untick come next.
    await page.getByRole("button", { name: "Untick all 10" }).focus();
    await page.keyboard.press("Enter");
    await page.getByLabel("Find a tool").fill("department_4");
    await page.keyboard.press("Enter");
    await page.getByText("tools are found, of 500").waitFor();
    await page.getByRole("button", { name: /^Untick all/ }).focus();
    await page.keyboard.press("Enter");
    const box = page.getByLabel(/department_402_report/);
    await box.focus();
    await page.keyboard.press("Space");
    await page.getByRole("button", { name: "Allow", exact: true }).focus();
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Back at the app" }).waitFor();
    const names = await listed(client);
    // The preset's ticks, less all of department_4…, and the one that was ticked.
    assert.ok(names.includes("department_402_report"));
    assert.ok(!names.some((name) => /^department_4(?!02)/.test(name)), names.join(" "));
    assert.ok(names.length > 200);
  });
});

test("500 tools: the card of the app folds them away", async () => {
  await withClient({ viewport: { width: 360, height: 740 } }, async (_, page) => {
    await page.goto(`${gateway.origin}/account`);
    await logIn(page);
    await page.getByRole("heading", { name: "My apps" }).waitFor();
    assert.match(await page.locator("body").innerText(), /These 333, as they were/);
    await inspect(page, "many-account");
  });
  assert.ok(OWNER.name);
});
