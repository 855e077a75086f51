"""A server of 2026-07-28 alone, on the Python SDK 2.x: `stateless.py PORT`. The SDK serves older
revisions at the same URL; what is not of 2026-07-28 is refused before it gets there."""

import asyncio
import sys
from typing import Annotated

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Elicit, Resolve
from pydantic import BaseModel
from starlette.responses import JSONResponse

server = MCPServer("Cell", instructions="Add, count, ask.")


class Name(BaseModel):
    name: str


def ask() -> Elicit[Name]:
    return Elicit("Who are you?", Name)


@server.tool()
def add(a: int, b: int) -> str:
    """The sum of two numbers."""
    return str(a + b)


@server.tool()
async def count(to: int, ctx: Context) -> str:
    """Counts, and says how far it is."""
    for number in range(1, to + 1):
        await ctx.report_progress(number, to)
        await asyncio.sleep(0.1)
    return str(to)


@server.tool()
async def greet(name: Annotated[Name, Resolve(ask)]) -> str:
    """Asks for a name first."""
    return f"Hello {name.name}"


@server.tool()
async def grow(ctx: Context) -> str:
    """Says that the tools have changed."""
    await ctx.notify_tools_changed()
    return "grown"


@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("as asked")


app = server.streamable_http_app()


async def only_stateless(scope, receive, send):
    if scope["type"] == "http":
        version = dict(scope["headers"]).get(b"mcp-protocol-version")
        if scope["method"] != "POST":
            return await JSONResponse({}, 405, {"Allow": "POST"})(scope, receive, send)
        if version != b"2026-07-28":
            error = {"code": -32020, "message": "only 2026-07-28 is spoken here"}
            refusal = JSONResponse({"jsonrpc": "2.0", "id": None, "error": error}, 400)
            return await refusal(scope, receive, send)
    await app(scope, receive, send)


uvicorn.run(only_stateless, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
