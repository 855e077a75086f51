"""The bakery on the Python SDK 1.x: Streamable HTTP with sessions, guarded against foreign hosts."""

from bakery import Bakery, port
from mcp.server.fastmcp import FastMCP

bakery = Bakery()
server = FastMCP("Bakery", port=port())
server.tool()(bakery.recipe)
server.tool()(bakery.bake)
server.run(transport="streamable-http")
