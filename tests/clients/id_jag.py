"""The Python SDK 2.x with its IdentityAssertionOAuthProvider: see id_jag.mjs for the arguments."""

import asyncio
import json
import os
import sys
from urllib.parse import urlsplit

import httpx2
from mcp import Client
from mcp.client.auth.extensions.identity_assertion import IdentityAssertionOAuthProvider
from mcp.client.streamable_http import streamable_http_client

URL, IDP = sys.argv[1:]


class Memory:
    def __init__(self):
        self.tokens = self.client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


async def assertion(audience, resource):
    kept = os.environ.get("KEPT")
    if kept and os.path.exists(kept):
        return open(kept).read()
    scope = {"scope": os.environ["SCOPE"]} if "SCOPE" in os.environ else {}
    async with httpx2.AsyncClient() as http:
        said = await http.post(f"{IDP}/test/id_token", json={"login": "bob"})
        exchanged = await http.post(
            f"{IDP}/token",
            data={
                "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                "requested_token_type": "urn:ietf:params:oauth:token-type:id-jag",
                "audience": os.environ.get("AUDIENCE", audience),
                "resource": resource,
                "subject_token": said.json()["token"],
                "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
                "client_id": "app",
                "client_secret": "a secret of the provider & its % client",
                **scope,
            },
        )
        text = exchanged.json()["access_token"]
    if kept:
        open(kept, "w").write(text)
    return text


async def drive():
    at = urlsplit(URL)
    auth = IdentityAssertionOAuthProvider(
        server_url=URL,
        storage=Memory(),
        client_id=os.environ.get("CLIENT", "helper"),
        client_secret="a secret of the helper, long enough",
        issuer=f"{at.scheme}://{at.netloc}",
        assertion_provider=assertion,
    )
    async with httpx2.AsyncClient(auth=auth) as http:
        async with Client(streamable_http_client(URL, http_client=http)) as client:
            listed = await client.list_tools()
            result = await client.call_tool(os.environ.get("TOOL", "look"), {"at": "this"})
            if result.is_error:
                raise RuntimeError(result.content[0].text)
            return {"tools": sorted(tool.name for tool in listed.tools)}


def causes(error):
    inner = getattr(error, "exceptions", None)
    return " ".join(map(causes, inner)) if inner else repr(error)


try:
    report = asyncio.run(drive())
except BaseException as error:
    report = {"error": causes(error)}
print(json.dumps(report))
