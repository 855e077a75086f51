// Passkeys in Chromium with a virtual authenticator: set up, log in without a name, a second one, remove,
// a copy, nobody verified, another site, no script.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { startGateway, startClient } from "./gateway.mjs";
import { arrive, closeBrowser, inspect, logIn, openBrowser, withPage } from "./looks.mjs";

before(openBrowser);
after(closeBrowser);

/** A device of its own for a page. */
async function device(page, options = {}) {
  const session = await page.context().newCDPSession(page);
  await session.send("WebAuthn.enable");
  const { authenticatorId } = await session.send("WebAuthn.addVirtualAuthenticator", {
    options: { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true, ...options },
  });
  const send = (method, parameters = {}) => session.send(`WebAuthn.${method}`, { authenticatorId, ...parameters });
  return {
    send,
    credentials: async () => (await send("getCredentials")).credentials,
    remove: () => send("removeVirtualAuthenticator"),
  };
}

const usePasskey = (page) => page.getByRole("button", { name: "Use a passkey", exact: true });
const logOut = (page) => page.getByRole("button", { name: "Log out", exact: true }).click();

async function addPasskey(page, name) {
  await page.getByLabel("What do you call it?").fill(name);
  await page.getByRole("button", { name: "Add a passkey" }).click();
  await page.getByText(`“${name}” logs you in`).waitFor();
}

test("the owner sets up with a passkey, lets an app in with it, and logs in again after a restart of the browser", async () => {
  const gateway = await startGateway({ owner: false });
  const client = await startClient(gateway, "Passkey app");
  try {
    await withPage({}, async (page, context) => {
      const phone = await device(page);
      const setup = await gateway.setupUrl();
      // Without the code nothing is made that nobody would know of here.
      await page.goto(`${gateway.origin}/setup`);
      await page.getByLabel("Name").fill("erin");
      await page.getByRole("button", { name: "Use a passkey instead" }).click();
      assert.equal((await phone.credentials()).length, 0);
      await page.goto(setup);
      await inspect(page, "setup-passkey");
      // The name is asked for first.
      await page.getByRole("button", { name: "Use a passkey instead" }).click();
      assert.equal((await phone.credentials()).length, 0);
      await page.getByLabel("Name").fill("erin");
      await page.getByRole("button", { name: "Use a passkey instead" }).click();
      await page.waitForURL(`${gateway.origin}/`);
      const [made] = await phone.credentials();
      assert.equal(made.isResidentCredential, true);
      assert.equal(made.rpId, "localhost");
      assert.equal(made.userName, "erin");
      await context.clearCookies();
      await page.goto(client.authorizeUrl);
      await inspect(page, "login-passkey");
      await usePasskey(page).click();
      const arrived = await arrive(page, client, "Allow");
      assert.ok((await client.redeem(arrived.get("code"))).access_token);
    }, [gateway.origin, new URL(client.redirectUri).origin]);
  } finally {
    await client.stop();
    await gateway.stop();
  }
});

test("passkeys are added, used and removed; a copy and a device that asks nobody are refused", async () => {
  const gateway = await startGateway();
  try {
    await withPage({}, async (page) => {
      const phone = await device(page);
      await page.goto(`${gateway.origin}/account/passkeys`);
      await logIn(page);
      await page.getByRole("heading", { name: "My passkeys" }).waitFor();
      await inspect(page, "passkeys-empty");
      await addPasskey(page, "Phone");
      // The same device makes no second one.
      await page.getByRole("button", { name: "Add a passkey" }).click();
      await page.getByText("This device has a passkey of yours already").waitFor();
      await inspect(page, "passkeys-problem");
      await logOut(page);

      await page.goto(`${gateway.origin}/account/passkeys`);
      await usePasskey(page).click();
      await page.getByText("You came with it").waitFor();
      await inspect(page, "passkeys");
      const [kept] = await phone.credentials();
      assert.ok(kept.signCount > 0, "it counts");

      // A second device.
      await phone.remove();
      const laptop = await device(page);
      await addPasskey(page, "Laptop");
      await inspect(page, "passkeys-two");
      await logOut(page);

      // A copy of the phone that has signed less than the phone.
      await laptop.remove();
      const copy = await device(page);
      await copy.send("addCredential", { credential: { ...kept, signCount: 0 } });
      await page.goto(`${gateway.origin}/account/passkeys`);
      await usePasskey(page).click();
      await page.getByText("there may be a copy of it").waitFor();
      await inspect(page, "login-copy");
      await copy.send("clearCredentials");
      await copy.send("addCredential", { credential: { ...kept, signCount: kept.signCount + 5 } });

      // Nobody verified: the browser itself says no.
      await copy.send("setUserVerified", { isUserVerified: false });
      await page.goto(`${gateway.origin}/account/passkeys`);
      await usePasskey(page).click();
      await page.getByText("could not check who you are").waitFor();
      await inspect(page, "login-unverified");
      await copy.send("setUserVerified", { isUserVerified: true });
      await usePasskey(page).click();
      await page.getByText("You came with it").waitFor();

      // Removed, with the login that came with it.
      await page.getByRole("button", { name: "Remove “Phone”" }).click();
      await page.getByRole("heading", { name: "Log in" }).waitFor();
      await usePasskey(page).click();
      await page.getByText("Nobody here has this passkey").waitFor();
      await logIn(page);
      await page.getByRole("heading", { name: "“Laptop”" }).waitFor();
      assert.equal(await page.getByRole("heading", { name: "“Phone”" }).count(), 0);
    }, [gateway.origin]);
  } finally {
    await gateway.stop();
  }
});

test("an answer that another site got from the device logs nobody in", async () => {
  const gateway = await startGateway();
  const server = createServer((_, response) => response.setHeader("Content-Type", "text/html").end("<!doctype html><title>Free sweets</title><p>Touch your key"));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const site = `http://localhost:${server.address().port}`;
  try {
    await withPage({}, async (page, context) => {
      const phone = await device(page);
      await page.goto(`${gateway.origin}/account/passkeys`);
      await logIn(page);
      await addPasskey(page, "Phone");
      const [kept] = await phone.credentials();
      await logOut(page);
      await page.goto(`${gateway.origin}/account/passkeys`);
      const asked = await usePasskey(page).getAttribute("data-options");

      // The site of the same name on another port has the gateway's challenge, and its visitor's device.
      const other = await context.newPage();
      const stolen = await device(other);
      await stolen.send("addCredential", { credential: { ...kept, signCount: kept.signCount + 1 } });
      await other.goto(site);
      const answer = await other.evaluate(async (asked) => {
        const decode = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
        const encode = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
        const options = JSON.parse(asked);
        const made = await navigator.credentials.get({ publicKey: { ...options, challenge: decode(options.challenge), allowCredentials: [] } });
        const { authenticatorData, clientDataJSON, signature, userHandle } = made.response;
        return JSON.stringify({ id: made.id, rawId: encode(made.rawId), type: made.type, response: { authenticatorData: encode(authenticatorData), clientDataJSON: encode(clientDataJSON), signature: encode(signature), userHandle: encode(userHandle) } });
      }, asked);
      await page.evaluate((answer) => {
        const form = document.querySelector("form[data-passkey-block]");
        form.elements.credential.value = answer;
        form.submit();
      }, answer);
      await page.getByText("made for another site").waitFor();
      assert.equal(await page.getByText("Logged in as").count(), 0);
    }, [gateway.origin, site]);
  } finally {
    server.close();
    await gateway.stop();
  }
});

test("without script the password remains, and no button promises what it can't do", async () => {
  const gateway = await startGateway();
  try {
    await withPage({ javaScriptEnabled: false }, async (page) => {
      await page.goto(`${gateway.origin}/account/passkeys`);
      assert.equal(await usePasskey(page).isVisible(), false);
      await logIn(page);
      await page.getByRole("heading", { name: "My passkeys" }).waitFor();
      assert.equal(await page.getByRole("button", { name: "Add a passkey" }).isVisible(), false);
      assert.ok((await page.content()).includes("Browsers make passkeys by JavaScript alone"));
    }, [gateway.origin]);
  } finally {
    await gateway.stop();
  }
});

test("a link of the operator's lets a person in with a passkey, and the password can go", async () => {
  const gateway = await startGateway();
  const command = (...words) => gateway.command(words);
  try {
    await withPage({}, async (page) => {
      await device(page);
      const url = command("users", "add", "frank", "--link").match(/http\S*\/rescue\?link=\S+/)[0];
      await page.goto(url);
      await inspect(page, "rescue");
      await page.getByLabel("New password").fill("four unrelated words here");
      await page.getByLabel("Password again").fill("four unrelated words here");
      await page.getByRole("button", { name: "Set the password" }).click();
      await page.waitForURL(`${gateway.origin}/`);
      await page.goto(`${gateway.origin}/account`);
      await inspect(page, "account-passkey-possible");
      await page.getByRole("link", { name: "Add a passkey" }).click();
      await addPasskey(page, "Phone");
      await inspect(page, "passkeys-added");
      await page.getByRole("button", { name: "Remove my password" }).click();
      await page.getByText("You have no password any more").waitFor();
      await page.goto(`${gateway.origin}/account`);
      await inspect(page, "account-passkey");
      await page.goto(command("users", "link", "frank").match(/http\S*\/rescue\?link=\S+/)[0]);
      await page.getByRole("button", { name: "Add a passkey" }).click();
      await page.getByText("This device has a passkey of yours already").waitFor();
    }, [gateway.origin]);
    // Lost: the owner takes it off at /admin.
    await withPage({ javaScriptEnabled: false }, async (page) => {
      await page.goto(`${gateway.origin}/admin/people`);
      await logIn(page);
      await page.getByRole("button", { name: "Remove: the passkey “Phone”, of frank" }).click();
      await page.getByText("frank does not log in with that passkey any more").waitFor();
    }, [gateway.origin]);
  } finally {
    await gateway.stop();
  }
});
