"""The bakery on FastMCP, for `fastmcp run`: the transport is chosen on its command line."""

from bakery import Bakery
from fastmcp import FastMCP

bakery = Bakery()
mcp = FastMCP("Bakery")
mcp.tool(bakery.recipe)
mcp.tool(bakery.bake)
