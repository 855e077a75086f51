"""fast-agent with its own model that calls the tool it is told to: see loopback.py for what it does and says.

    fast_agent_client.py URL
"""

import asyncio
import json
import sys
from pathlib import Path

from fast_agent import FastAgent

CALL = '***CALL_TOOL {tool} {{"a": 2, "b": 40}}'
PAUSE = 1.5


async def main(url):
    server = {"transport": "http", "url": url, "auth": {"oauth": True, "persist": "keyring"}}
    config = {"default_model": "passthrough", "mcp": {"servers": {"docs": server}}, "logger": {"type": "none"}}
    Path("fast-agent.yaml").write_text(json.dumps(config))
    fast = FastAgent("tests", config_path="fast-agent.yaml", parse_cli_args=False, quiet=True)

    @fast.agent(name="adder", instruction="Add.", servers=["docs"])
    async def use():
        async with fast.run() as app:
            offered = await app.adder.list_mcp_tools()
            names = [tool.name for tool in offered["docs"]]
            tool = next(name for name in names if name.endswith("get-sum"))
            found = [await app.adder.send(CALL.format(tool=tool))]
            # What the server asks in between must not cost the session.
            await asyncio.sleep(PAUSE)
            found.append(await app.adder.send(CALL.format(tool=tool)))
            return names, found

    names, found = await use()
    print(json.dumps({"tools": names, "found": found}))


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 90))
