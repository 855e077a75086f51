"""A cell's client on the Python SDK 2.x, pinned to 2026-07-28: `python_v2.py URL`, the access token in
TOKEN. It never says `initialize`. One JSON object on stdout ends the run."""

import asyncio
import json
import os
import sys
import traceback

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult


async def drive(url):
    progress, changed = [], asyncio.Event()

    async def elicit(context, params):
        return ElicitResult(action="accept", content={"name": "Ada"})

    async def counted(done, total, message):
        progress.append(done)

    headers = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
    async with httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(30, read=60)) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode="2026-07-28", elicitation_callback=elicit) as client:
            text = lambda result: result.content[0].text
            tools = sorted(tool.name for tool in (await client.list_tools()).tools)
            added = text(await client.call_tool("add", {"a": 2, "b": 3}))
            count = text(await client.call_tool("count", {"to": 3}, progress_callback=counted))
            failed = (await client.call_tool("fail", {})).is_error
            greeted = text(await client.call_tool("greet", {}))
            async with client.listen(tools_list_changed=True) as subscription:
                honored = bool(subscription.honored.tools_list_changed)

                async def wait():
                    async for _ in subscription:
                        changed.set()
                        return

                waiting = asyncio.create_task(wait())
                if honored:
                    await client.call_tool("grow", {})
                    await asyncio.wait_for(changed.wait(), 10)
                waiting.cancel()
            return {
                "protocol": client.protocol_version, "tools": tools, "added": added, "count": count, "progress": progress,
                "failed": failed, "greeted": greeted, "honored": honored, "changed": changed.is_set(),
            }


try:
    print(json.dumps({"ok": True, **asyncio.run(asyncio.wait_for(drive(sys.argv[1]), 60))}))
except BaseException as error:
    traceback.print_exception(error)
    print(json.dumps({"ok": False, "error": "".join(traceback.format_exception(error))}))
    sys.exit(1)
