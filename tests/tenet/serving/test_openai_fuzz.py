"""OpenAI's bodies with anything in the place of anything: read or refused by name, never an error of ours."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenet.serving.engines.echo import ByteText
from tenet.serving.engines.scored import ScoredEnd, ScoredWords, TokenScore
from tenet.serving.openai import chat_completions, completions, imported, responses
from tenet.serving.openai.dialect import openai_error
from tenet.serving.openai.response_events import ResponseEvents
from tenet.serving.protocol.chat_request import Ask, Begun, Part, ToolCall
from tenet.serving.protocol.exceptions import STATUS, ServiceError
from tenet.serving.protocol.limits import Limits
from tests.tenet.serving.test_openai_chat import PARAMETERS

Body = dict[str, Any]
_FUNCTION = {"name": "f", "description": "d", "parameters": PARAMETERS, "strict": True}
_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_SHAPE = {"type": "json_schema", "json_schema": {"name": "s", "schema": PARAMETERS, "strict": True}}
_SAMPLING = {"temperature": 0.5, "top_p": 0.5, "top_k": 3, "seed": 1, "stream": False}
CHAT: Body = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "t"}]},
        {"role": "assistant", "content": "a", "tool_calls": [_CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "r"},
    ],
    "tools": [{"type": "function", "function": _FUNCTION}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "stop": ["x"],
    "max_completion_tokens": 5,
    "logprobs": True,
    "top_logprobs": 2,
    "parallel_tool_calls": False,
    "n": 1,
    "stream_options": {},
    **_SAMPLING,
}
RESPONSES: Body = {
    "model": "m",
    "instructions": "i",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "t"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "r"},
        {"type": "reasoning", "summary": []},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]},
    ],
    "tools": [{"type": "function", **_FUNCTION}],
    "tool_choice": "auto",
    "max_output_tokens": 5,
    "include": ["message.output_text.logprobs"],
    "top_logprobs": 1,
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": None},
    "metadata": {},
    **_SAMPLING,
}
LLAMA: Body = {
    "prompt": "p",
    "max_gen_len": 5,
    "return_logprobs": True,
    "stop": "x",
    "response_format": _SHAPE,
    "temperature": 0.5,
}
COMPLETION: Body = {"prompt": [1, 2], "max_tokens": 5, "logprobs": 2, "prompt_logprobs": 1, "echo": True, "stop": ["x"]}

LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6)
WORDS = st.sampled_from(["type", "text", "function", "name", "content", "role", "user", "tool", "auto", "json_schema", "schema"])
TREE = st.recursive(
    LEAF | WORDS, lambda t: st.lists(t, max_size=3) | st.dictionaries(WORDS | st.text(max_size=3), t, max_size=3), max_leaves=8
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a body."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def changed(body: Body, path: tuple[Any, ...], value: Any) -> Body:
    """The same body with something else in one place."""
    made = copy.deepcopy(body)
    holder: Any = made
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return made


@st.composite
def bodies(draw: st.DrawFn, whole: Body) -> Body:
    body = whole
    for _ in range(draw(st.integers(1, 2))):
        body = changed(body, draw(st.sampled_from(sorted(places(body), key=repr))), draw(TREE))
    return body


Decode = Callable[[Body, Limits], Ask]
Encode = Callable[[list[Part], Body], Any]


def _form(form: imported.Form) -> tuple[Decode, Encode]:
    return form.decode, lambda parts, body: form.encode(parts, body, "m")


WAYS: dict[str, tuple[Body, Decode, Encode]] = {
    "chat": (CHAT, chat_completions.decode, lambda parts, body: chat_completions.encode(parts, "m")),
    "responses": (RESPONSES, responses.decode, responses.encode),
    "llama": (LLAMA, *_form(completions.BedrockCompletion())),
    "completion": (COMPLETION, *_form(completions.OpenAICompletion())),
}
_TOKEN = TokenScore(104, b"h", -0.5, (TokenScore(105, b"i", -0.1),))
PARTS: list[Part] = [
    ScoredWords("h", (_TOKEN,)),
    ToolCall("f", {"a": 1}),
    ScoredEnd("tool_use", 2, 1, prompt=(_TOKEN,), first=_TOKEN),
]


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_changed_body_is_read_or_refused(way: str, data: st.DataObject) -> None:
    whole, decode, encode = WAYS[way]
    body = data.draw(bodies(whole))
    try:
        ask = decode(body, Limits())
        ids = ask.prompt(ByteText())
    except ServiceError as error:
        status, content = openai_error(error)
        assert status == 400 and content["error"]["message"]
        return
    assert ids and isinstance(ask.grammar, str)
    json.dumps(encode(PARTS, body))
    if way == "responses":
        assert b"".join(piece for part in [Begun(2), *PARTS] for piece in ResponseEvents(body).part(part, 0))


@pytest.mark.parametrize("way", WAYS)
def test_the_bodies_themselves_are_right(way: str) -> None:
    whole, decode, _ = WAYS[way]
    assert decode(whole, Limits()).max_tokens == 5


@pytest.mark.parametrize("code", STATUS)
def test_each_error_of_ours_has_a_form_of_theirs(code: str) -> None:
    status, content = openai_error(ServiceError(code, "messages.0.content: no"))
    assert 400 <= status < 600 and content["error"]["type"]
    assert content["error"]["param"] == ("messages[0].content" if code == "ValidationException" else None)
