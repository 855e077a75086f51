"""OpenAI's Agents SDK: see loopback.py. The agent runs with a model of the test's own, which asks for
one call of one tool and repeats what came back; a model that people use needs an account."""

import json

from agents import Agent, Model, ModelResponse, Runner, Usage, set_tracing_disabled
from agents.mcp import MCPServerStreamableHttp
from loopback import ARGUMENTS, TOOL, provider, run, twice
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText

set_tracing_disabled(True)


class Scripted(Model):
    async def get_response(self, system_instructions, input, model_settings, tools, *args, **kwargs):
        self.offered = [tool.name for tool in tools]
        last = input[-1] if isinstance(input, list) else {}
        if last.get("type") == "function_call_output":
            text = ResponseOutputText(text=json.dumps(last["output"]), type="output_text", annotations=[])
            said = ResponseOutputMessage(id="m", content=[text], role="assistant", status="completed", type="message")
        else:
            said = ResponseFunctionToolCall(
                call_id="c", name=TOOL, arguments=json.dumps(ARGUMENTS), type="function_call"
            )
        return ModelResponse(output=[said], usage=Usage(), response_id=None)

    def stream_response(self, *args, **kwargs):
        raise NotImplementedError("nothing here asks for it")


async def drive(url, folder):
    auth = await provider("OpenAI Agents", url, folder)
    async with MCPServerStreamableHttp({"url": url, "auth": auth}, client_session_timeout_seconds=60) as server:
        model = Scripted()
        agent = Agent(name="tests", instructions="Add.", model=model, mcp_servers=[server])

        async def call():
            return (await Runner.run(agent, "What is 2 + 40?")).final_output

        found = await twice(call)
        return model.offered, found


run(drive)
