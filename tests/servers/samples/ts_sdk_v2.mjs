// The bakery on the TypeScript SDK 2.x: both eras at one URL, without sessions.

import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { createMcpHandler, McpServer } from "@modelcontextprotocol/server";
import { toNodeHandler } from "@modelcontextprotocol/node";
import { z } from "zod";

const recipes = JSON.parse(readFileSync(new URL("recipes.json", import.meta.url), "utf8"));
let shelf = 0;

const text = (text) => ({ content: [{ type: "text", text }] });

// A server object serves one request; what is on the shelf outlives it.
function bakery() {
  const server = new McpServer({ name: "Bakery", version: "1" });
  server.registerTool(
    "recipe",
    { description: "The recipe of this name.", inputSchema: z.object({ name: z.string() }), annotations: { readOnlyHint: true } },
    ({ name }) => {
      const found = recipes.find((recipe) => recipe.title.toLowerCase() === name.toLowerCase());
      if (!found) throw new Error(`no recipe is called ${name}`);
      return text(found.text);
    },
  );
  server.registerTool(
    "bake",
    { description: "Bake some loaves; says how many lie on the shelf afterwards.", inputSchema: z.object({ loaves: z.number().int() }) },
    ({ loaves }) => text(`${(shelf += loaves)} loaves`),
  );
  return server;
}

const handle = toNodeHandler(createMcpHandler(bakery));
createServer((request, response) => void handle(request, response)).listen(Number(process.argv[2]), "127.0.0.1");
