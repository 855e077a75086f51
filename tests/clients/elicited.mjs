// The TypeScript SDK 2 as a client that opens addresses for its person (elicitation in the mode `url`): one
// call, which asks for an account to be connected. Each address is a line on standard output; a line on
// standard input says that the person is done. The last line is the report.

import { createInterface } from "node:readline/promises";
import { Client, StreamableHTTPClientTransport, UrlElicitationRequiredError } from "@modelcontextprotocol/client";

const { url, token, revision } = JSON.parse(process.argv[2]);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const asked = [];
const opened = async ({ mode, url: address, message }) => {
  asked.push({ mode, message });
  console.log(address);
  await lines.next();
};

const mode = revision === "2026-07-28" ? { pin: revision } : "legacy";
const client = new Client(
  { name: "elicited", version: "1" },
  { capabilities: { elicitation: { url: {} } }, versionNegotiation: { mode } },
);
client.setRequestHandler("elicitation/create", async ({ params }) => {
  await opened(params);
  return { action: "accept" };
});
const headers = { Authorization: `Bearer ${token}` };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
const call = () => client.callTool({ name: "whoami", arguments: {} });
const result = await call().catch(async (error) => {
  if (!(error instanceof UrlElicitationRequiredError)) throw error;
  for (const elicitation of error.elicitations) await opened(elicitation);
  return call();
});
console.log(JSON.stringify({ ok: true, asked, text: result.content[0].text, isError: result.isError ?? false }));
await client.close();
process.exit(0);
