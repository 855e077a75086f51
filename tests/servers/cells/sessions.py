"""A server of one era with sessions, on the Python SDK 1.x: `sessions.py sse|streamable-http PORT`."""

import asyncio
import sys

from mcp.server.fastmcp import Context, FastMCP
from pydantic import BaseModel

transport, port = sys.argv[1], int(sys.argv[2])
server = FastMCP("Cell", instructions="Add, count, ask.", port=port)


class Name(BaseModel):
    name: str


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
async def greet(ctx: Context) -> str:
    """Asks for a name first."""
    answer = await ctx.elicit("Who are you?", Name)
    return f"Hello {answer.data.name}" if answer.action == "accept" else answer.action


@server.tool()
async def grow(ctx: Context) -> str:
    """Says that the tools have changed."""
    await ctx.session.send_tool_list_changed()
    return "grown"


@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("as asked")


server.run(transport=transport)
