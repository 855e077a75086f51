// A cell's client on the TypeScript SDK 1.x: HTTP+SSE, or Streamable HTTP with sessions.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema, ToolListChangedNotificationSchema } from "@modelcontextprotocol/sdk/types.js";
import { run, use } from "./common.mjs";

await run(async (kind, url, headers) => {
  const Transport = kind === "sse" ? SSEClientTransport : StreamableHTTPClientTransport;
  const client = new Client({ name: "cells", version: "1" }, { capabilities: { elicitation: {} } });
  const heard = { changed: false };
  client.setRequestHandler(ElicitRequestSchema, () => ({ action: "accept", content: { name: "Ada" } }));
  client.setNotificationHandler(ToolListChangedNotificationSchema, () => void (heard.changed = true));
  await client.connect(new Transport(url, { requestInit: { headers } }));
  await client.ping();
  const call = (name, args, onprogress) => client.callTool({ name, arguments: args }, undefined, { onprogress });
  const used = await use(client, call, heard);
  const server = client.getServerVersion().name;
  await client.close();
  return { server, ...used };
});
