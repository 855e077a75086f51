"""A cell's client on the Python SDK 1.x (2025-11-25, Streamable HTTP): `python_v1.py URL`, the access
token in TOKEN. One JSON object on stdout ends the run."""

import asyncio
import json
import os
import sys
import traceback

from mcp import ClientSession, types
from mcp.client.streamable_http import streamablehttp_client


async def drive(url):
    progress, changed = [], asyncio.Event()

    async def elicit(context, params):
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def heard(message):
        if isinstance(message, types.ServerNotification) and isinstance(message.root, types.ToolListChangedNotification):
            changed.set()

    async def counted(done, total, message):
        progress.append(done)

    headers = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
    async with streamablehttp_client(url, headers=headers) as (read, write, _):
        async with ClientSession(read, write, elicitation_callback=elicit, message_handler=heard) as session:
            hello = await session.initialize()
            text = lambda result: result.content[0].text
            tools = sorted(tool.name for tool in (await session.list_tools()).tools)
            added = text(await session.call_tool("add", {"a": 2, "b": 3}))
            count = text(await session.call_tool("count", {"to": 3}, progress_callback=counted))
            failed = (await session.call_tool("fail", {})).isError
            greeted = text(await session.call_tool("greet", {}))
            await session.send_ping()
            # The stream for what is said unasked is opened beside the first calls.
            for _ in range(20):
                await session.call_tool("grow", {})
                if changed.is_set():
                    break
                await asyncio.sleep(0.25)
            return {
                "protocol": hello.protocolVersion, "server": hello.serverInfo.name, "tools": tools, "added": added,
                "count": count, "progress": progress, "failed": failed, "greeted": greeted, "changed": changed.is_set(),
            }


try:
    print(json.dumps({"ok": True, **asyncio.run(asyncio.wait_for(drive(sys.argv[1]), 60))}))
except BaseException as error:
    traceback.print_exception(error)
    print(json.dumps({"ok": False, "error": "".join(traceback.format_exception(error))}))
    sys.exit(1)
