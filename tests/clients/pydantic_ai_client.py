"""Pydantic AI, with the OAuth of FastMCP's client that it builds on: see loopback.py. The agent runs
with a model of the test's own, which asks for one call of one tool and repeats what came back."""

from pathlib import Path

from fastmcp.client.auth import OAuth
from key_value.aio.stores.filetree import (
    FileTreeStore,
    FileTreeV1CollectionSanitizationStrategy,
    FileTreeV1KeySanitizationStrategy,
)
from loopback import ARGUMENTS, TOOL, run, twice
from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import FunctionModel

offered = set()


def answer(messages, info):
    offered.update(tool.name for tool in info.function_tools)
    returned = [part for part in messages[-1].parts if isinstance(part, ToolReturnPart)]
    if returned:
        return ModelResponse(parts=[TextPart(str(returned[0].content))])
    return ModelResponse(parts=[ToolCallPart(TOOL, ARGUMENTS)])


async def drive(url, folder):
    folder = Path(folder)
    store = FileTreeStore(
        data_directory=folder,
        key_sanitization_strategy=FileTreeV1KeySanitizationStrategy(folder),
        collection_sanitization_strategy=FileTreeV1CollectionSanitizationStrategy(folder),
    )
    toolset = MCPToolset(url, auth=OAuth(client_name="Pydantic AI", token_storage=store))
    agent = Agent(FunctionModel(answer), toolsets=[toolset])
    async with agent:

        async def call():
            return (await agent.run("What is 2 + 40?")).output

        found = await twice(call)
    return offered, found


run(drive)
