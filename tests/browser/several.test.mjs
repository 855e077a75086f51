// The consent page of several servers at one address, in Chromium: what each offers stands under its name with
// a choice of its own, and one that does not answer is said to be away.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { arrive, closeBrowser, inspect, logIn, openBrowser, withPage } from "./looks.mjs";
import { ask, openSession, startBackend, startClient, startGateway } from "./gateway.mjs";

const tool = (name, title, readOnlyHint) => ({ name, title, description: `${title}.`, inputSchema: { type: "object" }, annotations: { readOnlyHint, destructiveHint: !readOnlyHint } });
const MAIL = [tool("list", "Lists what arrived", true), tool("read", "Reads a letter", true), tool("send", "Sends a letter", false)];
const CALENDAR = [tool("today", "Shows the day", true), tool("invite", "Invites somebody", false)];

let mail, calendar, gateway;
before(async () => {
  await openBrowser();
  mail = await startBackend(MAIL);
  calendar = await startBackend(CALENDAR);
  const backend = (name, url) => `[[backend]]\nname = "${name}"\npath = "/${name}"\nurl = "${url}"\n`;
  // The fourth is a port that nobody listens at.
  const more = `${backend("mail", mail.url)}${backend("calendar", calendar.url)}${backend("wiki", "http://127.0.0.1:9")}
[[backend]]\nname = "all"\npath = "/all"\nmembers = ["documents", "mail", "calendar", "wiki"]\n`;
  gateway = await startGateway({ more });
});
after(async () => {
  await closeBrowser();
  await gateway?.stop();
  await mail?.stop();
  await calendar?.stop();
});

for (const javaScriptEnabled of [true, false]) {
  test(`each server has a choice of its own (script: ${javaScriptEnabled})`, async () => {
    const client = await startClient(gateway, "An app for everything", undefined, "/all/mcp");
    try {
      await withPage({ javaScriptEnabled }, async (page) => {
        await page.goto(client.authorizeUrl);
        await logIn(page);
        await page.getByRole("button", { name: "Allow", exact: true }).waitFor();
        if (javaScriptEnabled) await inspect(page, "several");
        await page.getByText(/The tools of wiki are not among these: it does not answer now/).waitFor();
        // What is chosen for a server counts with "By server" alone, and is offered with it alone.
        const choice = (name) => page.getByLabel(name, { exact: true });
        assert.equal(await choice("mail").isVisible(), false);
        if (javaScriptEnabled) await page.getByText("By server").click();
        else {
          await page.getByLabel("Read only", { exact: true }).focus();
          for (let n = 0; n < 3; n += 1) await page.keyboard.press("ArrowDown");
          assert.equal(await page.getByLabel("By server", { exact: true }).isChecked(), true);
        }
        await choice("documents").selectOption("Nothing");
        await choice("mail").selectOption("All of today (3)");
        assert.equal(await choice("calendar").inputValue().then((value) => value.endsWith("read")), true);
        if (javaScriptEnabled) await inspect(page, "several-by-server");
        await arrive(page, client, "Allow");
        const { access_token: token } = await client.redeem(client.arrivals[0].get("code"));
        const session = await openSession(gateway, token, "/all/mcp");
        const { result } = await ask(gateway, token, "tools/list", {}, session, "/all/mcp");
        assert.deepEqual(result.tools.map((tool) => tool.name).sort(), ["calendar_today", "mail_list", "mail_read", "mail_send"]);
        const refused = await ask(gateway, token, "tools/call", { name: "calendar_invite", arguments: {} }, session, "/all/mcp");
        assert.ok(refused.error ?? refused.result.isError, JSON.stringify(refused));
        assert.deepEqual(calendar.calls, []);
      }, [gateway.origin]);
    } finally {
      await client.stop();
    }
  });
}
