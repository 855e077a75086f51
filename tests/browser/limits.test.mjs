// Limits of calls in Chromium: what a person used and has left at /account, who used most at /admin.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ask, startBackend, startClient, startGateway } from "./gateway.mjs";
import { arrive, closeBrowser, inspect, logIn, openBrowser, withPage } from "./looks.mjs";

before(openBrowser);
after(closeBrowser);

const NOTES = [{ name: "search", description: "Finds notes by their words.", inputSchema: { type: "object" }, annotations: { readOnlyHint: true } }];
const LIMITS = `[[limit]]
name = "calls"
per = "person"
rate = "60/hour"
burst = 4
calls_per_day = 5000
[[limit]]
name = "bytes"
per = "grant"
bytes_per_day = "50MB"
[[limit]]
name = "deletions"
per = "person"
backend = "notes"
tool = "delete_*"
calls_per_day = 10
[[limit]]
name = "notes"
per = "backend"
rate = "50/second"
`;

test("limits stand where the person and the owner look", async () => {
  const backend = await startBackend(structuredClone(NOTES));
  const gateway = await startGateway({ url: backend.url, more: LIMITS });
  const client = await startClient(gateway, "Notes for Teams");
  try {
    await withPage({}, async (page) => {
      await page.goto(client.authorizeUrl);
      await logIn(page);
      const query = await arrive(page, client, "Allow");
      const token = (await client.redeem(query.get("code"))).access_token;
      for (let call = 0; call < 4; call += 1) {
        const answer = await ask(gateway, token, "tools/call", { name: "search", arguments: {} });
        assert.ok(answer.result, JSON.stringify(answer));
      }
      const refused = await ask(gateway, token, "tools/call", { name: "search", arguments: {} });
      assert.equal(refused.error.data.reason, "limit_reached");
      await page.goto(`${gateway.origin}/account`);
      await inspect(page, "account-limits");
      const card = await page.getByRole("region", { name: "Limits" }).innerText();
      assert.match(card, /60 calls an hour, for you\s+reached 0 left at this moment/i);
      assert.match(card, /5000 calls a day, for you\s+4 used today, 4996 left/);
      assert.match(card, /50 MB a day, for Notes for Teams\s+\d+ bytes used today, 49\.9 MB left/);
      assert.match(card, /10 calls a day of delete_\* at notes, for you\s+0 used today, 10 left/);
      await page.goto(`${gateway.origin}/admin`);
      await inspect(page, "admin-limits");
      const all = await page.getByRole("region", { name: "Limits" }).innerText();
      assert.match(all, /look calls 60 calls an hour for each person; most used: alice 4/i);
    }, [gateway.origin]);
  } finally {
    await client.stop();
    await gateway.stop();
    await backend.stop();
  }
});
