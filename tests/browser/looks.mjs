// Chromium, and what every page of the gateway is held to: no console error, no request to another
// host, no sideways scrolling, targets that can be hit, nothing that axe finds. Every page is
// photographed in light, dark, at 320 px and at 360 px in the dark into tests/.work/screenshots.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { chromium } from "playwright-core";
import { OWNER } from "./gateway.mjs";

export const SHOTS = resolve(import.meta.dirname, "../.work/screenshots");
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const LOOKS = [
  ["light", { colorScheme: "light", viewport: { width: 1000, height: 800 } }],
  ["dark", { colorScheme: "dark", viewport: { width: 1000, height: 800 } }],
  ["phone", { colorScheme: "light", viewport: { width: 320, height: 640 } }],
  ["phone-dark", { colorScheme: "dark", viewport: { width: 360, height: 740 } }],
];

let browser;

export const openBrowser = () => openBrowserWith([]);

/** The same with more arguments for Chromium. */
export async function openBrowserWith(more) {
  mkdirSync(SHOTS, { recursive: true });
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", ...more],
  });
}

export async function closeBrowser() {
  await browser?.close();
}

/** A fresh browser profile whose complaints, but for the `expected` ones, and foreign requests end the test. */
export async function withPage(options, use, origins, expected) {
  const context = await browser.newContext({ javaScriptEnabled: true, ...options });
  const complaints = [];
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.on("console", (message) => {
    // The browser itself reports the status of a page that is an error page on purpose.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource") && !expected?.test(message.text())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith("http") && url.hostname !== "127.0.0.1" && !origins.includes(url.origin)) complaints.push(`asked ${url.origin}`);
  });
  try {
    await use(page, context);
    assert.deepEqual(complaints, []);
  } finally {
    await context.close();
  }
}

/** Photograph a page in every look and hold it to what every page must be. */
export async function inspect(page, name) {
  for (const [look, { colorScheme, viewport }] of LOOKS) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize(viewport);
    await page.screenshot({ path: `${SHOTS}/${name}-${look}.png`, fullPage: true, animations: "disabled" });
    const { overflow, small } = await page.evaluate(() => ({
      overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      small: [...document.querySelectorAll("button.button, input:not([type=hidden])")].filter((e) => e.getClientRects().length && e.getBoundingClientRect().height < 24).length,
    }));
    assert.ok(overflow <= 0, `${name} (${look}) scrolls sideways by ${overflow} px`);
    assert.equal(small, 0, `${name} (${look}) has targets under 24 px`);
    const problems = await page.evaluate(`(() => { ${AXE}; return axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"] }).then((r) => r.violations.map((v) => v.id + ": " + v.nodes.map((n) => n.target).join(" "))); })()`);
    assert.deepEqual(problems, [], `${name} (${look})`);
  }
  await page.setViewportSize(LOOKS[0][1].viewport);
}

export async function logIn(page, password = OWNER.password) {
  await page.getByLabel("Name").fill(OWNER.name);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Log in", exact: true }).click();
}

/** The whole way, with whatever way of pressing is given. */
export async function arrive(page, client, button) {
  await page.getByRole("button", { name: button, exact: true }).click();
  await page.getByRole("heading", { name: "Back at the app" }).waitFor();
  assert.equal(client.arrivals.length, 1);
  return client.arrivals[0];
}
