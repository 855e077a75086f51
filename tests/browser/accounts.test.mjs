// A person's own account at a backend, connected in Chromium.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { startClient, startGateway } from "./gateway.mjs";
import { arrive, closeBrowser, inspect, logIn, openBrowser, withPage } from "./looks.mjs";

before(openBrowser);
after(closeBrowser);

const TOOLS = [{ name: "my_tickets", description: "Lists your tickets.", inputSchema: { type: "object" }, annotations: { readOnlyHint: true } }];

/** An MCP server that answers whoever shows a key. */
async function startKeyed() {
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (data) => (body += data));
    request.on("end", () => {
      if (request.headers["x-api-key"] !== "the-right-key") return response.writeHead(401).end();
      const message = JSON.parse(body || "{}");
      if (!("id" in message)) return response.writeHead(202).end();
      const result = {
        initialize: { protocolVersion: "2025-11-25", capabilities: { tools: {} }, serverInfo: { name: "tickets", version: "1" } },
        "tools/list": { tools: TOOLS },
      }[message.method];
      const answer = result ? { result } : { error: { code: -32601, message: "no such method" } };
      response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify({ jsonrpc: "2.0", id: message.id, ...answer }));
    });
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  return { url: `http://127.0.0.1:${server.address().port}`, stop: () => server.close() };
}

test("a key is pasted between login and consent, which then has the person's tools", async () => {
  const backend = await startKeyed();
  const more = '[backend.account]\nkind = "key"\nheader = "X-Api-Key: {}"\nhint = "In Tickets: Settings, then API keys."\n';
  const gateway = await startGateway({ url: backend.url, more });
  const client = await startClient(gateway, "Notes for Teams");
  try {
    await withPage({}, async (page) => {
      await page.goto(client.authorizeUrl);
      await logIn(page);
      await page.getByRole("heading", { name: "Connect your account" }).waitFor();
      await inspect(page, "connect-key");
      await page.getByLabel("Your key for").fill("a-wrong-key");
      await page.getByRole("button", { name: "Connect" }).click();
      await page.getByRole("alert").waitFor();
      await inspect(page, "connect-key-refused");
      await page.getByLabel("Your key for").fill("the-right-key");
      await page.getByRole("button", { name: "Connect" }).click();
      await page.getByText("my_tickets").first().waitFor({ state: "attached" });
      await arrive(page, client, "Allow");
      await page.goto(`${gateway.origin}/account`);
      await inspect(page, "account-elsewhere");
      await page.getByRole("button", { name: "Remove" }).click();
      await page.getByText("is removed here").waitFor();
      await inspect(page, "account-elsewhere-removed");
    }, [gateway.origin]);
  } finally {
    await client.stop();
    await gateway.stop();
    backend.stop();
  }
});

test("a way to the backend's own login is said before it is gone", async () => {
  const gateway = await startGateway({ more: '[backend.account]\nkind = "oauth"\n' });
  try {
    await withPage({}, async (page) => {
      await page.goto(`${gateway.origin}/connect/documents`);
      await logIn(page);
      await inspect(page, "connect");
      // The bundled server takes no OAuth: the page says so, and what can be said instead.
      await page.getByRole("button", { name: "Go there" }).click();
      await page.getByRole("alert").waitFor();
      assert.match(await page.locator("main").innerText(), /backend\.account/);
      await inspect(page, "connect-not-found");
    }, [gateway.origin]);
  } finally {
    await gateway.stop();
  }
});
