// The TypeScript SDK 2.x as a client: see common.mjs for the arguments.

import { Client, SSEClientTransport, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";
import { run } from "./common.mjs";

await run({
  name: "TypeScript SDK 2",
  Unauthorized: UnauthorizedError,
  makeClient: () => new Client({ name: "gateway-tests", version: "1" }, { versionNegotiation: { mode: "auto" } }),
  makeTransport: (kind, url, authProvider) =>
    kind === "sse" ? new SSEClientTransport(url, { authProvider }) : new StreamableHTTPClientTransport(url, { authProvider }),
  // The whole query: the SDK checks `iss` (RFC 9207) itself.
  finish: (transport, query) => transport.finishAuth(query),
  callTool: (client, call, options) => client.callTool(call, options),
  agreed: (client) => client.getNegotiatedProtocolVersion?.() ?? null,
});
