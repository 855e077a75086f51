// /account/tokens and /device in Chromium: made, seen once, used, revoked, with script and without.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startGateway } from "./gateway.mjs";
import { closeBrowser, inspect, logIn, openBrowser, withPage } from "./looks.mjs";

before(openBrowser);
after(closeBrowser);

const CLIENT = '[[client]]\nid = "headless"\nname = "Headless"\nredirect_uris = ["http://127.0.0.1/cb"]\ngrants = ["authorization_code", "device_code"]\n';

const initialize = (origin, token) =>
  fetch(`${origin}/mcp`, {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json", Accept: "application/json, text/event-stream" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "initialize", params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "t", version: "1" } } }),
  });

for (const javaScriptEnabled of [true, false]) {
  test(`a person makes a token, sees it once and revokes it (script: ${javaScriptEnabled})`, async () => {
    const gateway = await startGateway();
    try {
      await withPage({ javaScriptEnabled }, async (page) => {
        const shot = async (name) => javaScriptEnabled && inspect(page, name);
        await page.goto(`${gateway.origin}/account/tokens`);
        await logIn(page);
        await page.getByRole("heading", { name: "My tokens" }).waitFor();
        await shot("tokens-empty");
        await page.getByRole("link", { name: "Make a token" }).click();
        await page.getByLabel("What is it for?").fill("Nightly report");
        await shot("token-new");
        await page.getByLabel("90 days").check();
        await page.getByRole("button", { name: "Make the token" }).click();
        const token = await page.locator(".url code").first().textContent();
        assert.match(token, /^cupgw_[0-9A-Za-z]{56}$/);
        await shot("token-made");
        assert.equal((await initialize(gateway.origin, token)).status, 200);
        await page.waitForTimeout(3500);
        await page.reload();
        await page.getByText("It can’t be shown again").waitFor();
        assert.equal((await page.content()).includes("cupgw_"), false, "a reload shows it");
        await shot("token-shown");
        await page.getByRole("link", { name: "My tokens" }).click();
        await page.getByRole("heading", { name: "“Nightly report”" }).waitFor();
        await shot("tokens");
        await page.getByRole("button", { name: "Revoke" }).click();
        await page.getByText("counts no more").waitFor();
        assert.equal((await initialize(gateway.origin, token)).status, 401);
      }, [gateway.origin]);
    } finally {
      await gateway.stop();
    }
  });
}

test("a person lets an app on another machine in", async () => {
  const gateway = await startGateway({ more: CLIENT });
  try {
    const asked = await fetch(`${gateway.origin}/device_authorization`, { method: "POST", body: new URLSearchParams({ client_id: "headless" }) });
    const { user_code, verification_uri, device_code } = await asked.json();
    await withPage({}, async (page) => {
      await page.goto(verification_uri);
      await inspect(page, "device");
      await page.getByLabel("Code").fill("bcdf ghjk");
      await page.getByRole("button", { name: "Go on" }).click();
      await page.getByText("No app waits with this code").waitFor();
      await inspect(page, "device-unknown");
      await page.getByLabel("Code").fill(user_code.toLowerCase());
      await page.getByRole("button", { name: "Go on" }).click();
      await logIn(page);
      await page.getByText("An app on another machine asks").waitFor();
      await inspect(page, "consent-device");
      await page.getByRole("button", { name: "Allow" }).click();
      await page.getByText("Go back to the other machine").waitFor();
      await inspect(page, "device-allowed");
    }, [gateway.origin]);
    const body = new URLSearchParams({ grant_type: "urn:ietf:params:oauth:grant-type:device_code", client_id: "headless", device_code });
    const { access_token } = await (await fetch(`${gateway.origin}/token`, { method: "POST", body })).json();
    assert.equal((await initialize(gateway.origin, access_token)).status, 200);
  } finally {
    await gateway.stop();
  }
});
