"""Answers that ask for input first (SEP-2322): `run(ctx, params)` gives either an
`input_required` result or the finished one, both in wire form. The SDK seals `requestState`."""

import json


def text(said):
    return {"type": "text", "text": said}


def form(message, **properties):
    schema = {"type": "object", "properties": {name: {"type": kind} for name, kind in properties.items()}}
    schema["required"] = list(properties)
    return {"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}}


def sample(prompt, tokens):
    params = {"messages": [{"role": "user", "content": text(prompt)}], "maxTokens": tokens}
    return {"method": "sampling/createMessage", "params": params}


ROOTS = {"method": "roots/list", "params": {}}
NAME = form("What is your name?", name="string")


def ask(requests, state=None):
    asked = {"resultType": "input_required", "inputRequests": requests}
    return asked if state is None else {**asked, "requestState": state}


def given(params, key):
    """What the client answered to the request `key`, in wire form; None where it did not."""
    answer = (params.input_responses or {}).get(key)
    return None if answer is None else answer.model_dump(mode="json", by_alias=True, exclude_none=True)


def form_value(params, key, field):
    answer = given(params, key)
    return None if answer is None else (answer.get("content") or {}).get(field)


def one_round(key, request, finish):
    """Ask once; finish with the answer, or ask again."""

    async def run(_ctx, params):
        answer = given(params, key)
        return ask({key: request}) if answer is None else {"content": [text(finish(answer))]}

    return run


async def with_state(_ctx, params):
    if params.request_state == "asked" and given(params, "confirm"):
        return {"content": [text("state-ok")]}
    return ask({"confirm": form("Please confirm", ok="boolean")}, "asked")


async def several(_ctx, params):
    wanted = {"user_name": NAME, "greeting": sample("Generate a greeting", 50), "client_roots": ROOTS}
    if all(given(params, key) for key in wanted):
        return {"content": [text("All three came.")]}
    return ask(wanted, "three")


async def rounds(_ctx, params):
    state = json.loads(params.request_state or "{}")
    name, color = form_value(params, "step1", "name"), form_value(params, "step2", "color")
    if "name" in state and color is not None:
        return {"content": [text(f"{state['name']} likes {color}.")]}
    if state and name is not None:
        question = form("Step 2: What is your favorite color?", color="string")
        return ask({"step2": question}, json.dumps({"step": 2, "name": name}))
    return ask({"step1": form("Step 1: What is your name?", name="string")}, json.dumps({"step": 1}))


async def only_what_it_can(ctx, _params):
    offered = ctx.session.client_capabilities
    possible = {"sample": ("sampling", sample("Say hello", 50)), "ask": ("elicitation", NAME)}
    asked = {key: request for key, (need, request) in possible.items() if offered is None or getattr(offered, need) is not None}
    return ask(asked, "as offered")


FLOWS = {
    "test_input_required_result_elicitation": one_round(
        "user_name", NAME, lambda answer: f"Hello, {(answer.get('content') or {}).get('name')}!"
    ),
    "test_input_required_result_sampling": one_round(
        "capital_question",
        sample("What is the capital of France?", 100),
        lambda answer: f"The model said: {json.dumps(answer['content'])}",
    ),
    "test_input_required_result_list_roots": one_round(
        "client_roots", ROOTS, lambda answer: f"Roots: {', '.join(root['uri'] for root in answer['roots'])}"
    ),
    "test_input_required_result_request_state": with_state,
    "test_input_required_result_multiple_inputs": several,
    "test_input_required_result_multi_round": rounds,
    "test_input_required_result_tampered_state": with_state,
    "test_input_required_result_capabilities": only_what_it_can,
}


async def PROMPT_FLOW(_ctx, params):
    """The prompt that has to know its context first."""
    context = form_value(params, "user_context", "context")
    if context is None:
        return ask({"user_context": form("What context should the prompt use?", context="string")})
    return {"messages": [{"role": "user", "content": text(f"The context: {context}")}]}
