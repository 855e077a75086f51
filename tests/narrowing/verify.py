"""Check, inside a backend, who calls: the token of `backend[].token_header`, with biscuit-python.

    python verify.py https://mcp.example.com BACKEND < token

Prints who calls, or ends with 1. Fetch the keys once and keep them; fetch them anew when a token
names a key that is not among them.
"""

import json
import sys
import urllib.request
from datetime import datetime, timedelta, timezone

from biscuit_auth import AuthorizerBuilder, Biscuit, PublicKey, Rule


def fetch_keys(origin):
    with urllib.request.urlopen(origin + "/.well-known/biscuit-web-keys") as answer:
        return {
            key["key_id"]: PublicKey("ed25519/" + key["key_bytes"]) for key in json.load(answer)
        }


def who_calls(header, keys, backend, now=None):
    """User, client and grant of a call. Raises if the token is not the gateway's for `backend`."""
    token = Biscuit.from_base64(header, lambda key_id: keys[key_id])
    builder = AuthorizerBuilder(
        "backend({backend}); time({now}); allow if audience({backend}), user($u);",
        {"backend": backend, "now": now or datetime.now(timezone.utc)},
    )
    # The library's own limit of a millisecond refuses good tokens on a busy machine.
    limits = builder.limits()
    limits.max_time = timedelta(seconds=1)
    builder.set_limits(limits)
    authorizer = builder.build(token)
    authorizer.authorize()
    said = authorizer.query(
        Rule("said($n, $c, $g) <- user_name($n), client($c), grant($g)")
    )
    user, client, grant = said[0].terms
    return {"user": user, "client": client, "grant": grant}


if __name__ == "__main__":
    origin, backend = sys.argv[1:]
    try:
        print(json.dumps(who_calls(sys.stdin.read().strip(), fetch_keys(origin), backend)))
    except Exception as error:  # whatever is wrong with it, it is no token of ours
        sys.exit(f"refused: {error}")
