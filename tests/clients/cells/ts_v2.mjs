// A cell's client on the TypeScript SDK 2.x, pinned to 2026-07-28: it asks `server/discover` first and
// never falls back. A gateway that takes it for one that would refuses once, so it tries again.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { run, use } from "./common.mjs";

await run(async (_, url, headers) => {
  const heard = { changed: false };
  const connect = async () => {
    const client = new Client(
      { name: "cells", version: "1" },
      { capabilities: { elicitation: {} }, versionNegotiation: { mode: { pin: "2026-07-28" } } },
    );
    client.setRequestHandler("elicitation/create", () => ({ action: "accept", content: { name: "Ada" } }));
    client.setNotificationHandler("notifications/tools/list_changed", () => void (heard.changed = true));
    await client.connect(new StreamableHTTPClientTransport(url, { requestInit: { headers } }));
    return client;
  };
  let tries = 1;
  const client = await connect().catch(async (error) => {
    if (String(error.stack ?? error).includes("401")) throw error;
    await new Promise((done) => setTimeout(done, 2500));
    tries += 1;
    return connect();
  });
  const subscription = await client.listen({ toolsListChanged: true });
  const honored = subscription.honoredFilter.toolsListChanged === true;
  if (!honored) heard.changed = "not offered";
  const call = (name, args, onprogress) => client.callTool({ name, arguments: args }, { onprogress });
  const used = await use(client, call, heard);
  await subscription.close();
  const protocol = client.getNegotiatedProtocolVersion?.() ?? null;
  await client.close();
  return { protocol, tries, honored, ...used };
});
