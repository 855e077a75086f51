"""What the two Python drivers share: arguments, a token store in a file, and the
report that ends every driver (one JSON object on stdout).

    driver --url URL --transport http|sse --storage FILE --phase first|again [--calls JSON]

`first` starts with nothing and must go through registration, login and consent.
`again` must work with what `first` stored; it knows no password, so a gateway
that forgot the registration or the token fails it. With --linger the connection
rests until its access token has ended; then four calls go out at once, and the
report counts the refreshes.
"""

import argparse
import asyncio
import json
import os
import sys
import time
import traceback
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from person import owner

REDIRECT_URI = "http://127.0.0.1:53682/callback"


class FileStorage:
    """The SDK's TokenStorage, kept in one JSON file."""

    def __init__(self, path, token_type, client_type):
        self.path, self.token_type, self.client_type = Path(path), token_type, client_type
        self.saved = []

    def _read(self):
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def _write(self, key, value):
        held = self._read()
        held[key] = value.model_dump(mode="json", exclude_none=True)
        self.path.write_text(json.dumps(held))

    async def get_tokens(self):
        held = self._read().get("tokens")
        return self.token_type.model_validate(held) if held else None

    async def set_tokens(self, tokens):
        self.saved.append(tokens.refresh_token)
        self._write("tokens", tokens)

    async def get_client_info(self):
        held = self._read().get("client")
        return self.client_type.model_validate(held) if held else None

    async def set_client_info(self, client_info):
        self._write("client", client_info)


class Redirects:
    """The two callbacks of the SDK: send the person off, receive the answer."""

    def __init__(self, phase):
        self.phase, self.answer, self.count = phase, None, 0

    async def redirect(self, url):
        if self.phase != "first":
            raise RuntimeError("a new login was asked for although a token is stored")
        self.count += 1
        landed = await asyncio.to_thread(owner().approve, url)
        if not landed.startswith(REDIRECT_URI + "?"):
            raise RuntimeError(f"sent to {landed.split('?')[0]}, not to the redirect URI")
        query = parse_qs(urlsplit(landed).query)
        if "error" in query:
            raise RuntimeError(f"authorization refused: {query['error']}")
        self.answer = query

    def parameter(self, name):
        values = self.answer.get(name) or [None]
        if len(values) != 1:
            raise RuntimeError(f"{name} came {len(values)} times")
        return values[0]


def text_of(result):
    """The JSON in a tool result's single text item."""
    (item,) = result.content
    return json.loads(item.text)


async def call_tools(calls, list_tools, call_tool):
    """List, and call each of `calls` ([{name, arguments}]) in turn; with progress, where it is told."""
    names = sorted(tool.name for tool in (await list_tools()).tools)
    called = []
    for call in calls:
        began, progress = time.monotonic(), []

        async def told(done, total, message):
            progress.append({"done": done, "after_ms": round(1000 * (time.monotonic() - began))})

        result = await call_tool(call["name"], call["arguments"], progress_callback=told)
        called.append({**result.model_dump(mode="json", by_alias=True, exclude_none=True), "progress": progress})
    return {"tools": names, "called": called}


async def use_tools(arguments, list_tools, call_tool):
    """List, search, fetch the first hit; returns what the report shows."""
    if arguments.calls:
        return await call_tools(json.loads(arguments.calls), list_tools, call_tool)
    names = sorted(tool.name for tool in (await list_tools()).tools)
    if os.environ.get("STEP_UP"):
        return {"tools": names, **await step_up(call_tool)}
    if os.environ.get("FORBIDDEN"):
        return {"tools": names, **await try_forbidden(call_tool)}
    hits = text_of(await call_tool("search", {"query": "gateway"}))["results"]
    document = text_of(await call_tool("fetch", {"id": hits[0]["id"]}))
    if document["id"] != hits[0]["id"] or not document["text"] or "://" not in document["url"]:
        raise RuntimeError(f"fetch gave {document!r}")
    return {"tools": names, "results": len(hits), "fetched": document["id"]}


async def try_forbidden(call_tool):
    """Call what was not chosen, then what was: the session must survive the refusal."""
    refused = await call_tool(os.environ["FORBIDDEN"], {})
    allowed = await call_tool(os.environ["CHOSEN"].split(",")[0], {"a": 1})
    failed = lambda result: bool(getattr(result, "is_error", None) or getattr(result, "isError", None))
    return {"refused": refused.content[0].text if failed(refused) else None, "allowed": not failed(allowed)}


async def step_up(call_tool):
    """Call what the first scope covers, what only another does, and the first again: the SDK asks for
    more by itself, and loses nothing by it."""
    first, other = os.environ["CALLED"], os.environ["STEP_UP"]
    texts = [(await call_tool(tool, {"a": 1})).content[0].text for tool in (first, other, first)]
    return {"texts": texts}


async def refresh_in_parallel(arguments, storage, call_tool):
    """Rest until the access token has ended, then make four calls at once; how they were refreshed."""
    if not arguments.linger:
        return {}
    await asyncio.sleep(arguments.linger)
    before = len(storage.saved)
    for result in await asyncio.gather(*[call_tool("search", {"query": "gateway"}) for _ in range(4)]):
        if not text_of(result)["results"]:
            raise RuntimeError(f"search gave {result!r}")
    saved = storage.saved[before:]
    return {"refreshes": len(saved), "successors": len(set(saved))}


def run(drive):
    """Parse the arguments, drive within two minutes and the rest, print the report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--transport", choices=["http", "sse"], required=True)
    parser.add_argument("--storage", required=True)
    parser.add_argument("--phase", choices=["first", "again"], required=True)
    parser.add_argument("--calls")
    parser.add_argument("--linger", type=float, default=0)
    arguments = parser.parse_args()
    redirects = Redirects(arguments.phase)
    try:
        report = asyncio.run(asyncio.wait_for(drive(arguments, redirects), 120 + arguments.linger))
        logins = int(os.environ.get("LOGINS", 1)) if arguments.phase == "first" else 0
        if redirects.count != logins:
            raise RuntimeError(f"{redirects.count} logins, expected {logins}")
        print(json.dumps({"ok": True, **report}))
    except BaseException as error:
        traceback.print_exception(error)
        print(json.dumps({"ok": False, "error": str(error)}))
        sys.exit(1)
