"""The Python SDK 1.x as a client: see common.py for the arguments."""

from common import REDIRECT_URI, FileStorage, refresh_in_parallel, run, use_tools
from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken


async def drive(arguments, redirects):
    async def callback():
        return redirects.parameter("code"), redirects.parameter("state")

    storage = FileStorage(arguments.storage, OAuthToken, OAuthClientInformationFull)
    auth = OAuthClientProvider(
        server_url=arguments.url,
        client_metadata=OAuthClientMetadata(
            client_name="Python SDK 1",
            redirect_uris=[REDIRECT_URI],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
        ),
        storage=storage,
        redirect_handler=redirects.redirect,
        callback_handler=callback,
    )
    connect = sse_client if arguments.transport == "sse" else streamablehttp_client
    async with connect(arguments.url, auth=auth) as streams:
        async with ClientSession(streams[0], streams[1]) as session:
            agreed = await session.initialize()
            report = await use_tools(arguments, session.list_tools, session.call_tool)
            refreshed = await refresh_in_parallel(arguments, storage, session.call_tool)
            return {**report, **refreshed, "protocol": agreed.protocolVersion}


run(drive)
