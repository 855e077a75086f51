"""The bakery on FastMCP with the login that it brings for demonstrations: everybody is let in."""

from bakery import Bakery, port
from fastmcp import FastMCP
from fastmcp.server.auth.auth import ClientRegistrationOptions, RevocationOptions
from fastmcp.server.auth.providers.in_memory import InMemoryOAuthProvider

bakery = Bakery()
login = InMemoryOAuthProvider(
    base_url=f"http://127.0.0.1:{port()}",
    client_registration_options=ClientRegistrationOptions(enabled=True),
    revocation_options=RevocationOptions(enabled=True),
)
server = FastMCP("Bakery", auth=login)
server.tool(bakery.recipe)
server.tool(bakery.bake)
server.run(transport="http", port=port(), show_banner=False)
