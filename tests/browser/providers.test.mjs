// Logging in with an identity provider in Chromium, `oidc-provider` on loopback.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, test } from "node:test";
import { resolve } from "node:path";
import { freePort, startClient, startGateway, until } from "./gateway.mjs";
import { arrive, closeBrowser, inspect, logIn, openBrowser, withPage as withAnyPage } from "./looks.mjs";

// What the provider's own pages ask for.
const FOREIGN = "https://fonts.googleapis.com";

let gateway, provider;
before(async () => {
  await openBrowser();
  const port = await freePort();
  const common = 'client_id = "x"\nclient_secret = "x"\n';
  gateway = await startGateway({
    more: `[[login]]\nname = "corp"\nwords = "Example Inc."\nissuer = "http://127.0.0.1:${port}"\nclient_id = "rs256"\n`
      + 'client_secret = "a secret of the provider & its % client"\nallow = ["*@example.com"]\n'
      + `[[login]]\nname = "google"\npreset = "google"\n${common}[[login]]\nname = "github"\npreset = "github"\n${common}`,
  });
  const script = resolve(import.meta.dirname, "../providers/oidc.mjs");
  const at = (path) => `${gateway.origin}/login/corp/${path}`;
  provider = spawn(process.execPath, [script, port, at("callback"), at("backchannel")]);
  let printed = "";
  provider.stdout.on("data", (data) => (printed += data));
  provider.stderr.on("data", (data) => (printed += data));
  await until(() => printed.includes("listening"), () => `the provider to listen\n${printed}`);
  for (const [login, email] of [["bob", "bob@example.com"], ["dan", "dan@other.org"]]) {
    const body = JSON.stringify({ login, email, email_verified: true });
    await fetch(`http://127.0.0.1:${port}/test/person`, { method: "POST", body });
  }
});
after(async () => {
  await closeBrowser();
  provider?.kill();
  await gateway?.stop();
});

const withPage = (options, use) => withAnyPage(options, use, [gateway.origin, FOREIGN]);

async function logInThere(page, login) {
  await page.getByRole("button", { name: "Log in with Example Inc." }).click();
  await page.getByPlaceholder("Enter any login").fill(login);
  await page.getByPlaceholder("and password").fill("any");
  await page.getByRole("button", { name: "Sign-in" }).click();
  await page.getByRole("button", { name: "Continue" }).click();
}

test("a person comes in by the button, with scripts and without", async () => {
  for (const javaScriptEnabled of [true, false]) {
    const client = await startClient(gateway, "Notes for Teams");
    await withPage({ javaScriptEnabled }, async (page) => {
      await page.goto(client.authorizeUrl);
      if (javaScriptEnabled) await inspect(page, "login-providers");
      await logInThere(page, "bob");
      const query = await arrive(page, client, "Allow");
      assert.ok(query.get("code"));
      await page.goto(`${gateway.origin}/account`);
      assert.match(await page.locator("body").innerText(), /Signed in with Example Inc\. as bob@example\.com/);
      if (javaScriptEnabled) await inspect(page, "account-provider");
    });
    await client.stop();
  }
});

test("whom no rule lets in is told so", async () => {
  await withPage({}, async (page) => {
    await page.goto(`${gateway.origin}/account`);
    await logInThere(page, "dan");
    await page.getByRole("alert").waitFor();
    assert.match(await page.locator("body").innerText(), /Example Inc\. recognised: dan, dan@other\.org/);
    await inspect(page, "not-allowed");
  });
});

test("a person with a password adds an account at their own page", async () => {
  await withPage({}, async (page) => {
    await page.goto(`${gateway.origin}/account`);
    await logIn(page);
    await page.getByRole("heading", { name: "My apps" }).waitFor();
    await inspect(page, "account-link");
    const button = page.getByRole("button", { name: "Log in with Example Inc. from now on" });
    await button.click();
    await page.getByPlaceholder("Enter any login").fill("dan");
    await page.getByPlaceholder("and password").fill("any");
    await page.getByRole("button", { name: "Sign-in" }).click();
    await page.getByRole("button", { name: "Continue" }).click();
    // The rules hold for accounts that are added, too.
    await page.getByRole("alert").waitFor();
    assert.match(await page.locator("body").innerText(), /person_not_allowed/);
  });
});
