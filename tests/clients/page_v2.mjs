// The TypeScript SDK 2.x in a page: see page.mjs.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { run } from "./page.mjs";

await run({
  name: "A page with the TypeScript SDK 2",
  makeTransport: (url, authProvider) => new StreamableHTTPClientTransport(url, { authProvider }),
  finish: (transport, query) => transport.finishAuth(query),
  makeClient: () => new Client({ name: "page", version: "1" }, { versionNegotiation: { mode: "auto" } }),
});
