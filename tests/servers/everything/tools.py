"""The tools: what each answers to a `tools/call`, in wire form (a string is one text item)."""

import asyncio
import json

import mcp_types as types
from flows import FLOWS
from mcp.server.subscriptions import InMemorySubscriptionBus, PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPError

# The smallest PNG, and a WAV of no length.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
SILENCE = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA="
PAUSE = 0.05
BUS = InMemorySubscriptionBus()
NOTHING = {"type": "object", "properties": {}}


class Tool:
    """A name, a schema of arguments, and what it does."""

    def __init__(self, name, description, schema, run):
        self.name, self.description, self.schema, self.run = name, description, schema, run

    def listed(self):
        return {"name": self.name, "description": self.description, "inputSchema": self.schema}


TOOLS = {}


def tool(name, description, schema=NOTHING):
    """Offer the decorated coroutine `run(ctx, params)` as a tool."""

    def offer(run):
        TOOLS[name] = Tool(name, description, schema, run)
        return run

    return offer


def text(said):
    return {"type": "text", "text": said}


def takes(argument, **schema):
    return {"type": "object", "properties": {argument: {"type": "string", **schema}}, "required": [argument]}


# --- content of each kind ------------------------------------------------------------------------

IMAGE = {"type": "image", "data": PIXEL, "mimeType": "image/png"}
CONTENT = {
    "test_simple_text": [text("This is a simple text response for testing.")],
    "test_image_content": [IMAGE],
    "test_audio_content": [{"type": "audio", "data": SILENCE, "mimeType": "audio/wav"}],
    "test_embedded_resource": [
        {"type": "resource", "resource": {"uri": "test://embedded-resource", "mimeType": "text/plain", "text": "Embedded."}}
    ],
    "test_multiple_content_types": [
        text("Three kinds at once:"),
        IMAGE,
        {
            "type": "resource",
            "resource": {"uri": "test://mixed-content-resource", "mimeType": "application/json", "text": '{"value":1}'},
        },
    ],
}


def answers(content):
    async def run(_ctx, _params):
        return {"content": content}

    return run


for _name, _content in CONTENT.items():
    tool(_name, "Answers with content of its kind.")(answers(_content))


@tool("test_error_handling", "Always fails.")
async def fail(_ctx, _params):
    return {"content": [text("This tool fails on purpose.")], "isError": True}


# --- what is told on the way ---------------------------------------------------------------------


async def log(ctx, line):
    await ctx.session.send_log_message("info", line, related_request_id=ctx.request_id)


@tool("test_tool_with_logging", "Logs at its start, in the middle and at its end.")
async def logging(ctx, _params):
    for line in ("begun", "under way", "nearly done"):
        await log(ctx, line)
        await asyncio.sleep(PAUSE)
    return "Logged three lines."


@tool("test_logging_tool", "Logs one line.")
async def log_once(ctx, _params):
    await log(ctx, "one line")
    return "Logged one line, for those who asked for it."


@tool("test_tool_with_progress", "Reports its progress: 0, 50 and 100.")
async def progress(ctx, _params):
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100, f"{done} of 100")
        await asyncio.sleep(PAUSE)
    return "Reported progress."


@tool("test_reconnection", "Closes its own stream and ends its work on the next one.")
async def reconnection(ctx, _params):
    await log(ctx, "before the stream closes")
    if ctx.close_sse_stream:
        await ctx.close_sse_stream()
    await asyncio.sleep(4 * PAUSE)
    await log(ctx, "after it was opened again")
    return "Ended on another stream than it began."


# --- what is asked of the client -----------------------------------------------------------------


def said(outcome):
    return f"action={outcome.action}, content={json.dumps(outcome.content or {})}"


async def elicit(ctx, message, properties):
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return said(await ctx.session.elicit_form(message, schema, ctx.request_id))


@tool("test_sampling", "Has the client's model answer.", takes("prompt"))
async def sampling(ctx, params):
    asked = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=params.arguments["prompt"]))
    answer = await ctx.session.create_message([asked], max_tokens=100, related_request_id=ctx.request_id)
    return f"LLM response: {getattr(answer.content, 'text', answer.content.type)}"


@tool("test_elicitation", "Asks the person.", takes("message"))
async def elicitation(ctx, params):
    reply = {"response": {"type": "string", "description": "The answer."}}
    return f"User response: {await elicit(ctx, params.arguments['message'], reply)}"


@tool("test_streaming_elicitation", "Tells of its progress, then asks the person.")
async def streaming_elicitation(ctx, params):
    await ctx.session.report_progress(1, 2)
    return await FLOWS["test_input_required_result_elicitation"](ctx, params)


@tool("test_elicitation_sep1034_defaults", "Asks with a default for each kind of value.")
async def defaults(ctx, _params):
    kinds = {
        "name": ("string", "John Doe"),
        "age": ("integer", 30),
        "score": ("number", 95.5),
        "status": ("string", "active"),
        "verified": ("boolean", True),
    }
    properties = {name: {"type": kind, "default": default} for name, (kind, default) in kinds.items()}
    properties["status"]["enum"] = ["active", "inactive", "pending"]
    return f"Elicitation completed: {await elicit(ctx, 'Who are you?', properties)}"


@tool("test_elicitation_sep1330_enums", "Asks with each form of an enumeration.")
async def enums(ctx, _params):
    plain = ["option1", "option2", "option3"]
    titled = [{"const": f"value{n}", "title": f"Choice {n}"} for n in (1, 2, 3)]
    legacy = {"enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"]}
    properties = {
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", **legacy},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    return f"Elicitation completed: {await elicit(ctx, 'Choose.', properties)}"


@tool("test_missing_capability", "Needs a client that lends its model.")
async def missing_capability(ctx, _params):
    offered = ctx.session.client_capabilities
    if offered is None or offered.sampling is None:
        needed = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(code=types.MISSING_REQUIRED_CLIENT_CAPABILITY, message="needs sampling", data=needed)
    return "The client lends its model."


# --- headers, schemas, lists that change ---------------------------------------------------------


@tool(
    "test_x_mcp_header",
    "Takes an argument that is mirrored in a header.",
    {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}},
)
async def mirrored(_ctx, params):
    return f"region={(params.arguments or {}).get('region')}"


PHONE, MAIL = {"required": ["phone"]}, {"required": ["email"]}
TWENTY_TWENTY = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$defs": {"address": {"$anchor": "addressDef", "type": "object", "properties": {"street": {"type": "string"}}}},
    "type": "object",
    "properties": {
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [PHONE, MAIL]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}},
    "then": PHONE,
    "else": MAIL,
    "additionalProperties": False,
}


@tool("json_schema_2020_12_tool", "Has a schema with keywords of JSON Schema 2020-12.", TWENTY_TWENTY)
async def twenty_twenty(_ctx, _params):
    return "It is the schema that counts."


@tool("test_trigger_tool_change", "Says that the list of tools changed.")
async def tools_changed(_ctx, _params):
    await BUS.publish(ToolsListChanged())
    return "Said so."


@tool("test_trigger_prompt_change", "Says that the list of prompts changed.")
async def prompts_changed(_ctx, _params):
    await BUS.publish(PromptsListChanged())
    return "Said so."


for _name, _flow in FLOWS.items():
    tool(_name, "Asks for input, round by round.")(_flow)
