// Make a token that allows less, with biscuit-wasm: for a sub-agent, offline.
//
//     node --experimental-wasm-modules narrow.mjs https://mcp.example.com TOOL... < token > narrowed
//
// The public key is needed once, to read the token at all; it is served without authentication.

import { readFileSync } from "node:fs";
import { Biscuit, PublicKey, SignatureAlgorithm, block } from "@biscuit-auth/biscuit-wasm";

const [origin, ...tools] = process.argv.slice(2);
const text = readFileSync(0, "utf8").trim();

const answer = await fetch(origin + "/.well-known/biscuit-web-keys");
const keys = new Map(
  (await answer.json()).map((key) => [
    key.key_id,
    PublicKey.fromString(key.key_bytes, SignatureAlgorithm.Ed25519),
  ]),
);

const token = Biscuit.fromBase64WithProvider(text, (id) => keys.get(id));
const end = new Date(Date.now() + 15 * 60 * 1000);
const narrowed = token.appendBlock(block`
  check if tool($t), ${new Set(tools)}.contains($t);
  check if argument("path", $v), $v.starts_with(${"/public/"});
  check if time($t), $t < ${end};
`);
process.stdout.write(narrowed.toBase64() + "\n");
