"""FastMCP's client with tokens kept in a folder, so that it can be started again:

    fastmcp_client.py URL http|sse FOLDER

Logs in where it has to, lists the tools, calls one; one JSON object on stdout.
"""

import asyncio
import json
import sys
from pathlib import Path

from fastmcp import Client
from fastmcp.client.auth import OAuth
from fastmcp.client.transports import SSETransport, StreamableHttpTransport
from key_value.aio.stores.filetree import (
    FileTreeStore,
    FileTreeV1CollectionSanitizationStrategy,
    FileTreeV1KeySanitizationStrategy,
)


async def main(url, transport, folder):
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    store = FileTreeStore(
        data_directory=folder,
        key_sanitization_strategy=FileTreeV1KeySanitizationStrategy(folder),
        collection_sanitization_strategy=FileTreeV1CollectionSanitizationStrategy(folder),
    )
    kind = SSETransport if transport == "sse" else StreamableHttpTransport
    async with Client(kind(url, auth=OAuth(token_storage=store))) as client:
        tools = sorted(tool.name for tool in await client.list_tools())
        hits = (await client.call_tool("search", {"query": "gateway"})).structured_content["results"]
        print(json.dumps({"tools": tools, "found": hits}))


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 90))
