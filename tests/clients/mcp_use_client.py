"""mcp-use, with its own OAuth and tokens below the home folder: see loopback.py. It offers roots, sampling
and elicitation to every server."""

import socket

from loopback import ARGUMENTS, TOOL, run, twice
from mcp_use import MCPClient


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


async def drive(url, _folder):
    # Its default port may be taken on the machine that runs the tests.
    server = {"url": url, "auth": {"callback_port": free_port()}}
    client = MCPClient({"mcpServers": {"docs": server}})
    try:
        session = await client.create_session("docs")
        tools = [tool.name for tool in await session.list_tools()]
        return tools, await twice(lambda: session.call_tool(TOOL, ARGUMENTS))
    finally:
        await client.close_all_sessions()


run(drive)
