"""The Python SDK 2.x as a client: see common.py for the arguments."""

import httpx2
from common import REDIRECT_URI, FileStorage, refresh_in_parallel, run, use_tools
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken


async def drive(arguments, redirects):
    async def callback():
        return AuthorizationCodeResult(
            code=redirects.parameter("code"), state=redirects.parameter("state"), iss=redirects.parameter("iss")
        )

    storage = FileStorage(arguments.storage, OAuthToken, OAuthClientInformationFull)
    auth = OAuthClientProvider(
        server_url=arguments.url,
        client_metadata=OAuthClientMetadata(
            client_name="Python SDK 2",
            redirect_uris=[REDIRECT_URI],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
        ),
        storage=storage,
        redirect_handler=redirects.redirect,
        callback_handler=callback,
    )
    if arguments.transport == "sse":
        return await talk(arguments, storage, sse_client(arguments.url, auth=auth))
    async with httpx2.AsyncClient(auth=auth, timeout=httpx2.Timeout(30, read=300)) as http:
        return await talk(arguments, storage, streamable_http_client(arguments.url, http_client=http))


async def talk(arguments, storage, transport):
    async with Client(transport) as client:
        report = await use_tools(arguments, client.list_tools, client.call_tool)
        refreshed = await refresh_in_parallel(arguments, storage, client.call_tool)
        return {**report, **refreshed, "protocol": client.protocol_version}


run(drive)
