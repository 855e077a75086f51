// The TypeScript SDK 1.x in a page: see page.mjs.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { run } from "./page.mjs";

await run({
  name: "A page with the TypeScript SDK 1",
  makeTransport: (url, authProvider) => new StreamableHTTPClientTransport(url, { authProvider }),
  finish: (transport, query) => transport.finishAuth(query.get("code")),
  makeClient: () => new Client({ name: "page", version: "1" }),
});
