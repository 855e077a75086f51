"""The Python SDK 2.x where nobody logs in: see machine.mjs."""

import asyncio
import json
import sys

import httpx2
from mcp import Client
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)
from mcp.client.streamable_http import streamable_http_client


class Memory:
    """Keeps what the SDK is given for as long as the program runs."""

    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


def ways(settings):
    """What httpx is given."""
    if "token" in settings:
        return {"headers": {"Authorization": f"Bearer {settings['token']}"}}
    known = {
        "server_url": settings["url"],
        "storage": Memory(),
        "client_id": settings["client"],
        "issuer": settings["issuer"],
    }
    if "key" in settings:
        signed = SignedJWTParameters(
            issuer=settings["client"], subject=settings["client"], signing_key=settings["key"]
        )
        known["assertion_provider"] = signed.create_assertion_provider()
        return {"auth": PrivateKeyJWTOAuthProvider(**known)}
    return {"auth": ClientCredentialsOAuthProvider(**known, client_secret=settings["secret"])}


async def main(settings):
    async with httpx2.AsyncClient(**ways(settings), timeout=httpx2.Timeout(30, read=300)) as http:
        async with Client(streamable_http_client(settings["url"], http_client=http)) as client:
            tools = sorted(tool.name for tool in (await client.list_tools()).tools)
            found = await client.call_tool("search", {"query": "gateway"})
    print(json.dumps({"tools": tools, "found": found.content[0].text}))


asyncio.run(main(json.loads(sys.argv[1])))
