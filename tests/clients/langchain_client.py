"""LangChain's MCP adapters: see loopback.py."""

from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools
from loopback import ARGUMENTS, TOOL, provider, run, twice


async def drive(url, folder):
    auth = await provider("LangChain", url, folder)
    client = MultiServerMCPClient({"docs": {"transport": "streamable_http", "url": url, "auth": auth}})
    async with client.session("docs") as session:
        tools = {tool.name: tool for tool in await load_mcp_tools(session)}
        return tools, await twice(lambda: tools[TOOL].ainvoke(ARGUMENTS))


run(drive)
