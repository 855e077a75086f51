"""An MCP server that offers whatever the official conformance suite asks of one: the backend of
the runs through the gateway. Built on the Python SDK 2.x at its low level: every answer is written
here as it stands on the wire and only then read into the SDK's types.

    server.py --port PORT

The names of tools, prompts and resources, and the texts that the suite looks at, are the suite's
own requirements (`conformance` prints them); what they do is in tools.py and flows.py.
"""

import argparse
import json
import warnings

import mcp_types as types
import uvicorn
from flows import PROMPT_FLOW
from log import EventLog
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from tools import BUS, PIXEL, TOOLS, text

NAME = "everything-for-the-gateway"
SHORT = {"ttl_ms": 1000, "scope": "private"}


async def list_tools(_ctx, _params):
    return types.ListToolsResult.model_validate({"tools": [tool.listed() for tool in TOOLS.values()]})


async def call_tool(ctx, params):
    tool = TOOLS.get(params.name)
    if tool is None:
        raise MCPError(code=types.INVALID_PARAMS, message=f"no tool is called {params.name}")
    answer = await tool.run(ctx, params)
    if isinstance(answer, str):
        answer = {"content": [text(answer)]}
    return _result(answer, types.CallToolResult)


def _result(answer, finished):
    """What was written in wire form, as the type it is of."""
    kind = types.InputRequiredResult if answer.get("resultType") == "input_required" else finished
    return kind.model_validate(answer)


# --- resources -----------------------------------------------------------------------------------

RESOURCES = {
    "test://static-text": {"mimeType": "text/plain", "text": "A text that never changes."},
    "test://static-binary": {"mimeType": "image/png", "blob": PIXEL},
    "test://watched-resource": {"mimeType": "text/plain", "text": "Nothing happened to this one yet."},
}
TEMPLATE = "test://template/{id}/data"
watched = set()


async def list_resources(_ctx, _params):
    listed = [
        {"uri": uri, "name": uri.rpartition("/")[2], "mimeType": held["mimeType"], "description": "A fixture."}
        for uri, held in RESOURCES.items()
    ]
    return types.ListResourcesResult.model_validate({"resources": listed})


async def list_templates(_ctx, _params):
    template = {"uriTemplate": TEMPLATE, "name": "template", "mimeType": "application/json", "description": "By id."}
    return types.ListResourceTemplatesResult.model_validate({"resourceTemplates": [template]})


async def read_resource(_ctx, params):
    uri = str(params.uri)
    held = RESOURCES.get(uri)
    before, _, after = TEMPLATE.partition("{id}")
    if held is None and uri.startswith(before) and uri.endswith(after):
        data = {"id": uri[len(before) : -len(after)], "made": "for this id"}
        held = {"mimeType": "application/json", "text": json.dumps(data)}
    if held is None:
        raise MCPError(code=types.INVALID_PARAMS, message="Resource not found", data={"uri": uri})
    return types.ReadResourceResult.model_validate({"contents": [{"uri": uri, **held}]})


async def subscribe(_ctx, params):
    watched.add(str(params.uri))
    return types.EmptyResult()


async def unsubscribe(_ctx, params):
    watched.discard(str(params.uri))
    return types.EmptyResult()


# --- prompts -------------------------------------------------------------------------------------

REQUIRED = {"description": "Whatever you like.", "required": True}
PROMPTS = {
    "test_simple_prompt": ([], lambda given: [text("A prompt that takes nothing.")]),
    "test_prompt_with_arguments": (
        ["arg1", "arg2"],
        lambda given: [text(f"arg1 is '{given['arg1']}' and arg2 is '{given['arg2']}'")],
    ),
    "test_prompt_with_embedded_resource": (
        ["resourceUri"],
        lambda given: [
            {"type": "resource", "resource": {"uri": given["resourceUri"], "mimeType": "text/plain", "text": "Inside."}},
            text("Read what is embedded above."),
        ],
    ),
    "test_prompt_with_image": (
        [],
        lambda given: [{"type": "image", "data": PIXEL, "mimeType": "image/png"}, text("Look at the image above.")],
    ),
    "test_input_required_result_prompt": ([], None),
}


async def list_prompts(_ctx, _params):
    listed = [
        {"name": name, "description": "A fixture.", "arguments": [{"name": argument, **REQUIRED} for argument in arguments]}
        for name, (arguments, _) in PROMPTS.items()
    ]
    return types.ListPromptsResult.model_validate({"prompts": listed})


async def get_prompt(ctx, params):
    arguments, say = PROMPTS.get(params.name, (None, None))
    if arguments is None:
        raise MCPError(code=types.INVALID_PARAMS, message=f"no prompt is called {params.name}")
    if say is None:
        return _result(await PROMPT_FLOW(ctx, params), types.GetPromptResult)
    given = params.arguments or {}
    missing = [argument for argument in arguments if argument not in given]
    if missing:
        raise MCPError(code=types.INVALID_PARAMS, message=f"missing: {', '.join(missing)}")
    messages = [{"role": "user", "content": content} for content in say(given)]
    return types.GetPromptResult.model_validate({"messages": messages})


# --- the rest ------------------------------------------------------------------------------------


async def complete(_ctx, params):
    known = ["paris", "park", "party"]
    values = [word for word in known if word.startswith(params.argument.value)]
    return types.CompleteResult.model_validate({"completion": {"values": values, "total": len(values), "hasMore": False}})


async def set_level(_ctx, _params):
    return types.EmptyResult()


def build():
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    cached = ("tools/list", "resources/list", "resources/templates/list", "resources/read", "prompts/list")
    server = Server(
        NAME,
        version="1",
        cache_hints={method: CacheHint(**SHORT) for method in (*cached, "server/discover")},
        get_tool_input_schema=lambda name: TOOLS[name].schema if name in TOOLS else None,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=subscribe,
        on_unsubscribe_resource=unsubscribe,
        on_subscriptions_listen=ListenHandler(BUS),
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
        on_set_logging_level=set_level,
    )
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=NAME))
    return server


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    app = build().streamable_http_app(event_store=EventLog(), retry_interval=100, host="127.0.0.1")
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
