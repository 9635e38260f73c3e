"""One truth: the same request by each of the five API patterns, whole and streamed, gives the same tokens at the same
seed and the same counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch

from tenet.serving.clients.client import client
from tenet.serving.engines.echo import EchoEngine
from tenet.serving.server.server import LocalServer
from tests.tenet.serving.conftest import MODEL, echo_server, post
from tests.tenet.serving.test_engines import write_model

SYSTEM, FIRST, ANSWER = "Be brief.", "What does CreateBucket do?", "It creates a bucket."
SCHEMA: dict[str, Any] = {
    "type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"], "additionalProperties": False,
}  # fmt: skip
FORCED = '{"colour": "red"}}\n</tool_call>'


@dataclass(frozen=True)
class Wanted:
    """A request in no dialect."""

    text: str = "The quick brown fox, 你好 and né."
    tokens: int = 24
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 1
    stop: str = ""
    tool: bool = False
    schema: bool = False


@dataclass(frozen=True)
class Said:
    """What came back, in no dialect."""

    text: str
    call: str
    prompt: int
    answer: int


Ask = Callable[[LocalServer, Wanted], Said]


def raw(server: LocalServer, path: str, body: dict[str, Any]) -> bytes:
    answer = post(server, path, json.dumps(body).encode(), {"Authorization": f"Bearer {server.keys.api_key}"})
    assert answer.status == 200, answer.body
    return answer.body


def sent(content: bytes) -> list[dict[str, Any]]:
    """The JSON of each server-sent event."""
    found = [line.removeprefix("data: ") for line in content.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in found if line != "[DONE]"]


@cache
def boto(server: LocalServer) -> Any:
    return client(server.endpoint, server.keys)


def call_of(arguments: Any) -> str:
    return json.dumps(arguments, sort_keys=True)


# --- Converse ----------------------------------------------------------------------------------------------------------


def _converse(want: Wanted) -> dict[str, Any]:
    turns = [("user", FIRST), ("assistant", ANSWER), ("user", want.text)]
    config = {"maxTokens": want.tokens, "temperature": want.temperature, "topP": want.top_p}
    body = {
        "modelId": MODEL,
        "system": [{"text": SYSTEM}],
        "messages": [{"role": role, "content": [{"text": text}]} for role, text in turns],
        "inferenceConfig": {**config, **({"stopSequences": [want.stop]} if want.stop else {})},
        "additionalModelRequestFields": {"seed": want.seed},
    }
    if want.tool:
        spec = {"name": "paint", "description": "a wall", "inputSchema": {"json": SCHEMA}}
        body["toolConfig"] = {"tools": [{"toolSpec": spec}], "toolChoice": {"tool": {"name": "paint"}}}
    if want.schema:
        shape = {"jsonSchema": {"schema": json.dumps(SCHEMA), "name": "colour"}}
        body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": shape}}
    return body


def converse(server: LocalServer, want: Wanted) -> Said:
    answer = boto(server).converse(**_converse(want))
    blocks, usage = answer["output"]["message"]["content"], answer["usage"]
    call = "".join(call_of(block["toolUse"]["input"]) for block in blocks if "toolUse" in block)
    return Said("".join(block.get("text", "") for block in blocks), call, usage["inputTokens"], usage["outputTokens"])


def converse_stream(server: LocalServer, want: Wanted) -> Said:
    text, call, usage = "", "", {}
    for event in boto(server).converse_stream(**_converse(want))["stream"]:
        delta = event.get("contentBlockDelta", {}).get("delta", {})
        text, call = text + delta.get("text", ""), call + delta.get("toolUse", {}).get("input", "")
        usage = event.get("metadata", {}).get("usage", usage)
    return Said(text, call_of(json.loads(call)) if call else "", usage["inputTokens"], usage["outputTokens"])


# --- Messages, by two routes -------------------------------------------------------------------------------------------


def _messages(want: Wanted) -> dict[str, Any]:
    turns = [("user", FIRST), ("assistant", ANSWER), ("user", want.text)]
    body = {
        "max_tokens": want.tokens,
        "temperature": want.temperature,
        "top_p": want.top_p,
        "seed": want.seed,
        "system": SYSTEM,
        "messages": [{"role": role, "content": text} for role, text in turns],
        **({"stop_sequences": [want.stop]} if want.stop else {}),
    }
    if want.tool:
        body["tools"] = [{"name": "paint", "description": "a wall", "input_schema": SCHEMA}]
        body["tool_choice"] = {"type": "tool", "name": "paint"}
    if want.schema:
        body["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
    return body


def _message(message: dict[str, Any]) -> Said:
    blocks, usage = message["content"], message["usage"]
    call = "".join(call_of(block["input"]) for block in blocks if block["type"] == "tool_use")
    return Said("".join(block.get("text", "") for block in blocks), call, usage["input_tokens"], usage["output_tokens"])


def _message_events(events: list[dict[str, Any]]) -> Said:
    text, call, prompt, answer = "", "", 0, 0
    for event in events:
        if event["type"] == "message_start":
            prompt = event["message"]["usage"]["input_tokens"]
        elif event["type"] == "content_block_delta":
            text, call = text + event["delta"].get("text", ""), call + event["delta"].get("partial_json", "")
        elif event["type"] == "message_delta":
            answer = event["usage"]["output_tokens"]
    return Said(text, call_of(json.loads(call)) if call else "", prompt, answer)


def invoke(server: LocalServer, want: Wanted) -> Said:
    body = json.dumps({"anthropic_version": "any", **_messages(want)})
    return _message(json.loads(boto(server).invoke_model(modelId=MODEL, body=body)["body"].read()))


def invoke_stream(server: LocalServer, want: Wanted) -> Said:
    body = json.dumps({"anthropic_version": "any", **_messages(want)})
    stream = boto(server).invoke_model_with_response_stream(modelId=MODEL, body=body)["body"]
    return _message_events([json.loads(event["chunk"]["bytes"]) for event in stream])


def messages(server: LocalServer, want: Wanted) -> Said:
    return _message(json.loads(raw(server, "/anthropic/v1/messages", {"model": MODEL, **_messages(want)})))


def messages_stream(server: LocalServer, want: Wanted) -> Said:
    return _message_events(sent(raw(server, "/anthropic/v1/messages", {"model": MODEL, "stream": True, **_messages(want)})))


# --- OpenAI's two ------------------------------------------------------------------------------------------------------


def _chat(want: Wanted) -> dict[str, Any]:
    turns = [("system", SYSTEM), ("user", FIRST), ("assistant", ANSWER), ("user", want.text)]
    body = {
        "model": MODEL,
        "messages": [{"role": role, "content": text} for role, text in turns],
        "max_completion_tokens": want.tokens,
        "temperature": want.temperature,
        "top_p": want.top_p,
        "seed": want.seed,
        "stop": want.stop or None,
    }
    if want.tool:
        body["tools"] = [{"type": "function", "function": {"name": "paint", "description": "a wall", "parameters": SCHEMA}}]
        body["tool_choice"] = {"type": "function", "function": {"name": "paint"}}
    if want.schema:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "colour", "schema": SCHEMA, "strict": True}}
    return body


def chat(server: LocalServer, want: Wanted) -> Said:
    answer = json.loads(raw(server, "/openai/v1/chat/completions", _chat(want)))
    message, usage = answer["choices"][0]["message"], answer["usage"]
    call = "".join(call_of(json.loads(one["function"]["arguments"])) for one in message.get("tool_calls", []))
    return Said(message["content"] or "", call, usage["prompt_tokens"], usage["completion_tokens"])


def chat_stream(server: LocalServer, want: Wanted) -> Said:
    body = {**_chat(want), "stream": True, "stream_options": {"include_usage": True}}
    *chunks, last = sent(raw(server, "/openai/v1/chat/completions", body))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    call = "".join(piece["function"]["arguments"] for delta in deltas for piece in delta.get("tool_calls", []))
    usage = last["usage"]
    text = "".join(delta.get("content") or "" for delta in deltas)
    return Said(text, call_of(json.loads(call)) if call else "", usage["prompt_tokens"], usage["completion_tokens"])


def _responses(want: Wanted) -> dict[str, Any]:
    turns = [("user", FIRST), ("assistant", ANSWER), ("user", want.text)]
    body = {
        "model": MODEL,
        "instructions": SYSTEM,
        "input": [{"role": role, "content": text} for role, text in turns],
        "max_output_tokens": want.tokens,
        "temperature": want.temperature,
        "top_p": want.top_p,
        "seed": want.seed,
    }
    if want.tool:
        body["tools"] = [{"type": "function", "name": "paint", "description": "a wall", "parameters": SCHEMA}]
        body["tool_choice"] = {"type": "function", "name": "paint"}
    if want.schema:
        body["text"] = {"format": {"type": "json_schema", "name": "colour", "schema": SCHEMA, "strict": True}}
    return body


def _response(answer: dict[str, Any]) -> Said:
    items, usage = answer["output"], answer["usage"]
    text = "".join(part["text"] for item in items if item["type"] == "message" for part in item["content"])
    call = "".join(call_of(json.loads(item["arguments"])) for item in items if item["type"] == "function_call")
    return Said(text, call, usage["input_tokens"], usage["output_tokens"])


def responses(server: LocalServer, want: Wanted) -> Said:
    return _response(json.loads(raw(server, "/openai/v1/responses", _responses(want))))


def responses_stream(server: LocalServer, want: Wanted) -> Said:
    events = sent(raw(server, "/openai/v1/responses", {**_responses(want), "stream": True}))
    whole = _response(events[-1]["response"])
    assert "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta") == whole.text
    return whole


# --- the table ---------------------------------------------------------------------------------------------------------

PATTERNS: dict[str, Ask] = {
    function.__name__: function
    for function in (
        converse, converse_stream, invoke, invoke_stream, messages, messages_stream, chat, chat_stream, responses, responses_stream,
    )
}  # fmt: skip
REQUESTS = {
    "greedy": Wanted(),
    "drawn": Wanted(temperature=0.9, top_p=0.8, seed=7),
    "cut": Wanted(tokens=5),
    "tool": Wanted(text=FORCED, tool=True, tokens=60),
    "schema": Wanted(schema=True, tokens=60),
    "stop": Wanted(text="one two three", stop="two"),
}


@pytest.fixture(scope="module", params=["echo", "torch"])
def endpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    torch.set_num_threads(1)
    made = echo_server() if request.param == "echo" else LocalServer(write_model(tmp_path_factory.mktemp("model"), 3))
    with made as running:
        yield running


@pytest.mark.parametrize("name", REQUESTS)
def test_all_patterns_say_and_count_the_same(endpoint: LocalServer, name: str) -> None:
    want = REQUESTS[name]
    # Responses has no stop sequences.
    patterns = {key: ask for key, ask in PATTERNS.items() if not want.stop or not key.startswith("responses")}
    said = {key: ask(endpoint, want) for key, ask in patterns.items()}
    first = said["converse"]
    assert first.prompt > 20 and first.answer > 1 and first.text + first.call
    assert said == dict.fromkeys(said, first)


def test_seeds_make_a_difference_by_each_pattern(endpoint: LocalServer) -> None:
    whole = (converse, invoke, messages, chat, responses)
    texts = {ask(endpoint, Wanted(temperature=0.9, seed=seed)).text for ask in whole for seed in (1, 2)}
    draws = not isinstance(endpoint.gateway.runner.need().engine, EchoEngine)
    assert len(texts) == (2 if draws else 1)
