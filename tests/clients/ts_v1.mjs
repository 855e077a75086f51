// The TypeScript SDK 1.x as a client: see common.mjs for the arguments.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { run } from "./common.mjs";

await run({
  name: "TypeScript SDK 1",
  Unauthorized: UnauthorizedError,
  makeClient: () => new Client({ name: "gateway-tests", version: "1" }),
  makeTransport: (kind, url, authProvider) =>
    kind === "sse" ? new SSEClientTransport(url, { authProvider }) : new StreamableHTTPClientTransport(url, { authProvider }),
  finish: (transport, query) => transport.finishAuth(query.get("code")),
  callTool: (client, call, options) => client.callTool(call, undefined, options),
  agreed: (_client, transport) => transport.protocolVersion ?? transport._protocolVersion,
});
