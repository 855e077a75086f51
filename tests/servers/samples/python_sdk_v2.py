"""The bakery on the Python SDK 2.x: both eras at one URL, guarded against foreign hosts."""

from bakery import Bakery, port
from mcp.server import MCPServer

bakery = Bakery()
server = MCPServer("Bakery")
server.tool()(bakery.recipe)
server.tool()(bakery.bake)
server.run(transport="streamable-http", port=port())
