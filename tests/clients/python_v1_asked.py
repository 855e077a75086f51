"""The Python SDK 1 with everything that a server may ask it for: roots, its model, and the person. See
loopback.py."""

from loopback import ARGUMENTS, TOOL, provider, run, twice
from mcp import ClientSession, types
from mcp.client.streamable_http import streamablehttp_client


async def roots(_context):
    return types.ListRootsResult(roots=[types.Root(uri="file:///bakery", name="The bakery")])


async def sample(_context, _params):
    return types.CreateMessageResult(
        role="assistant", content=types.TextContent(type="text", text="Rye."), model="scripted"
    )


async def elicit(_context, _params):
    return types.ElicitResult(action="decline")


async def drive(url, folder):
    auth = await provider("Python SDK 1 with roots", url, folder)
    async with streamablehttp_client(url, auth=auth) as streams:
        asked = {"list_roots_callback": roots, "sampling_callback": sample, "elicitation_callback": elicit}
        async with ClientSession(streams[0], streams[1], **asked) as session:
            agreed = await session.initialize()
            # What was announced is there to be asked for.
            if agreed.capabilities.prompts:
                await session.list_prompts()
            if agreed.capabilities.resources:
                await session.list_resources()
            found = await twice(lambda: session.call_tool(TOOL, ARGUMENTS))
            return [tool.name for tool in (await session.list_tools()).tools], found


run(drive)
