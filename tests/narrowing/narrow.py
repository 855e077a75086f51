"""Make a token that allows less, with biscuit-python: for a sub-agent, offline.

    python narrow.py https://mcp.example.com TOOL... < token > narrowed

The public key is needed once, to read the token at all; it is served without authentication.
"""

import json
import sys
import urllib.request
from datetime import datetime, timedelta, timezone

from biscuit_auth import Biscuit, BlockBuilder, PublicKey

origin, tools = sys.argv[1], set(sys.argv[2:])

with urllib.request.urlopen(origin + "/.well-known/biscuit-web-keys") as answer:
    keys = {key["key_id"]: PublicKey("ed25519/" + key["key_bytes"]) for key in json.load(answer)}

token = Biscuit.from_base64(sys.stdin.read().strip(), lambda key_id: keys[key_id])
narrowed = token.append(
    BlockBuilder(
        """
        check if tool($t), {tools}.contains($t);
        check if argument("path", $v), $v.starts_with({prefix});
        check if time($t), $t < {end};
        """,
        {
            "tools": tools,
            "prefix": "/public/",
            "end": datetime.now(timezone.utc) + timedelta(minutes=15),
        },
    )
)
print(narrowed.to_base64())
