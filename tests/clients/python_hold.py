"""The Python SDK 1.x, holding on: it logs in, keeps its event stream open and a call running that its
server never answers, says so, and reports what became of both when its access was taken back.

Prints `holding` when both are there, and `ended` when the call has. The report: how long after that the call ended and how, and
what the next call met. A second login is never made.
"""

import asyncio
import time

from common import REDIRECT_URI, FileStorage, run
from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamablehttp_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

PATIENCE = 60


def innermost(error):
    """Task groups wrap what happened."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__


async def outcome(call):
    """How a call ended: `answered`, or the error that it met."""
    try:
        await asyncio.wait_for(call, PATIENCE)
        return "answered"
    except Exception as error:
        return innermost(error)


async def drive(arguments, redirects):
    async def callback():
        return redirects.parameter("code"), redirects.parameter("state")

    auth = OAuthClientProvider(
        server_url=arguments.url,
        client_metadata=OAuthClientMetadata(
            client_name="A held app",
            redirect_uris=[REDIRECT_URI],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
        ),
        storage=FileStorage(arguments.storage, OAuthToken, OAuthClientInformationFull),
        redirect_handler=redirects.redirect,
        callback_handler=callback,
    )
    report, began = {}, None
    try:
        async with streamablehttp_client(arguments.url, auth=auth) as streams:
            async with ClientSession(streams[0], streams[1]) as session:
                await session.initialize()
                report["tools"] = sorted(tool.name for tool in (await session.list_tools()).tools)
                running = asyncio.create_task(outcome(session.call_tool("echo", {"hold": True})))
                await asyncio.sleep(1)
                if running.done():
                    raise RuntimeError(f"the call did not wait: {running.result()}")
                print("holding", flush=True)
                # Whoever asks for a login from now on is refused one.
                redirects.phase = "again"
                began = time.monotonic()
                report["running"] = await running
                report["ended_after"] = time.monotonic() - began
                print("ended", flush=True)
                report["next"] = await outcome(session.call_tool("echo", {"late": True}))
    except BaseExceptionGroup as error:
        if began is None:
            raise
        # The SDK gives the whole session up where it is refused a login: the running call with it.
        if "running" not in report:
            print("ended", flush=True)
        report.setdefault("running", innermost(error))
        report.setdefault("ended_after", time.monotonic() - began)
        report.setdefault("next", innermost(error))
    return report


run(drive)
