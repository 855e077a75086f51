// /admin in Chromium, and a cited document that opens in the browser of who may read it: with script
// and without, in every look, held to what every page must be.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { ask, openSession, startClient, startGateway } from "./gateway.mjs";
import { arrive, closeBrowser, inspect, logIn, openBrowser, withPage } from "./looks.mjs";

before(openBrowser);
after(closeBrowser);

const PAGES = 'pages = "/documents/"\n';
const HEADINGS = ["People", "Apps", "Streams", "Backends", "Audit log", "Policy"];

/** An app that the owner lets use everything, and its token. */
async function connected(gateway, page, name) {
  const client = await startClient(gateway, name);
  await page.goto(client.authorizeUrl);
  if (await page.getByLabel("Password").isVisible()) await logIn(page);
  await page.getByLabel("Everything").check();
  const callback = await arrive(page, client, "Allow");
  const { access_token } = await client.redeem(callback.get("code"));
  return { client, token: access_token };
}

test("a cited document opens in the same browser, and after the login in another", async () => {
  const gateway = await startGateway({ more: PAGES });
  try {
    let cited;
    await withPage({}, async (page) => {
      const { client, token } = await connected(gateway, page, "Reader");
      const session = await openSession(gateway, token);
      const found = await ask(gateway, token, "tools/call", { name: "search", arguments: { query: "revoke a token" } }, session);
      const [first] = found.result?.structuredContent?.results ?? [];
      assert.ok(first, JSON.stringify(found));
      cited = first.url;
      assert.ok(cited.startsWith(`${gateway.origin}/pages/`), cited);
      await page.goto(cited);
      await page.getByRole("heading", { level: 1 }).waitFor();
      // What looks for faults needs promises, which don't come true in a sandbox without script.
      await page.route(cited, async (route) => {
        const response = await route.fetch();
        const policy = response.headers()["content-security-policy"].replace(/; *sandbox.*/, "");
        await route.fulfill({ response, headers: { ...response.headers(), "content-security-policy": policy } });
      });
      await page.reload();
      await inspect(page, "cited-document");
      await client.stop();
    }, [gateway.origin]);
    await withPage({ javaScriptEnabled: false }, async (page) => {
      await page.goto(cited);
      await page.getByText("Log in to open this page").waitFor();
      await logIn(page);
      assert.equal(page.url(), cited);
      await page.locator("pre").waitFor();
    }, [gateway.origin]);
  } finally {
    await gateway.stop();
  }
});

test("a document of somebody else's leads nowhere by itself, and its links lead on a press", async () => {
  const visits = [];
  const other = createServer((request, response) => {
    response.setHeader("Content-Type", "text/html");
    if (request.url.startsWith("/elsewhere")) {
      visits.push(request.url);
      response.end("<!doctype html><title>Elsewhere</title>");
      return;
    }
    const away = `http://127.0.0.1:${other.address().port}/elsewhere`;
    response.end(`<!doctype html><title>Notes</title><meta http-equiv="refresh" content="0; url=${away}?refresh"><h1>Notes</h1><a href="${away}?pressed">more</a>`);
  });
  await new Promise((done) => other.listen(0, "127.0.0.1", done));
  other.unref();
  const gateway = await startGateway({ more: `[[backend]]\nname = "other"\npath = "/other"\npages = "/documents/"\nurl = "http://127.0.0.1:${other.address().port}"\n` });
  try {
    await withPage({}, async (page) => {
      await page.goto(`${gateway.origin}/other/pages/notes`);
      await logIn(page);
      await page.getByRole("heading", { name: "Notes" }).waitFor();
      await page.waitForTimeout(1_500);
      assert.equal(page.url(), `${gateway.origin}/other/pages/notes`);
      assert.deepEqual(visits, []);
      await page.getByRole("link", { name: "more" }).click();
      await page.waitForURL(/pressed/);
    }, [gateway.origin], /Refused to execute the redirect/);
  } finally {
    await gateway.stop();
    other.close();
  }
});

for (const javaScriptEnabled of [true, false]) {
  test(`the owner looks at everything and takes something back (script: ${javaScriptEnabled})`, async () => {
    const gateway = await startGateway({ more: PAGES });
    try {
      await withPage({ javaScriptEnabled }, async (page) => {
        const shot = async (name) => javaScriptEnabled && inspect(page, name);
        const { client, token } = await connected(gateway, page, "A test app");
        const session = await openSession(gateway, token);
        for (let n = 0; n < 5; n += 1) await ask(gateway, token, "tools/call", { name: "search", arguments: { query: "cake" } }, session);
        await ask(gateway, token, "tools/call", { name: "no_such_tool", arguments: {} }, session);
        const stream = await fetch(`${gateway.origin}/sse`, { headers: { Authorization: `Bearer ${token}` } });
        // Read to its end: what nobody reads is closed by the runtime.
        const ended = stream.text().catch(() => "");
        await page.goto(`${gateway.origin}/admin`);
        await page.getByRole("heading", { level: 1, name: "Overview" }).waitFor();
        await shot("admin");
        for (const heading of HEADINGS) {
          await page.getByRole("link", { name: heading, exact: true }).first().click();
          await page.getByRole("heading", { level: 1, name: heading }).waitFor();
          await shot(`admin-${heading.toLowerCase().replace(" ", "-")}`);
        }
        await page.getByLabel("Person").fill("alice");
        await page.getByLabel("Tool").fill("search");
        await page.getByRole("button", { name: "Explain" }).click();
        await page.getByRole("heading", { name: "allowed search by alice" }).waitFor();
        await shot("admin-policy-explained");
        await page.goto(`${gateway.origin}/admin/streams`);
        await page.getByRole("button", { name: "Close" }).first().click();
        await page.getByText("is being closed").waitFor();
        await ended;
        await page.goto(`${gateway.origin}/admin/apps`);
        // By keyboard alone.
        await page.getByRole("button", { name: "Revoke: A test app" }).focus();
        await page.keyboard.press("Enter");
        await page.getByText("Revoked 1 grant").waitFor();
        await shot("admin-apps-revoked");
        const refused = await fetch(`${gateway.origin}/mcp`, { method: "POST", headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" }, body: "{}" });
        assert.equal(refused.status, 401);
        await client.stop();
      }, [gateway.origin]);
    } finally {
      await gateway.stop();
    }
  });
}
