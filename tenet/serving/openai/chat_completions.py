"""Chat Completions: bodies to an `Ask`, the parts of an answer to a completion or to its chunks.

Source: OpenAI's "Create chat completion", as the types of the package `openai` have it. One choice; text and function
tools. The answer to what a client leaves out is the same as by the other routes: temperature 0, the server's own
longest answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tenet.serving.engines.scored import ScoredAsk, ScoredEnd, ScoredWords
from tenet.serving.openai.dialect import data, finish_reason, new_id, ranked, shown, usage
from tenet.serving.openai.fields import (
    GUARDRAIL,
    arguments_of,
    candidates_of,
    choice_of,
    conversation_of,
    format_of,
    functions_of,
    refuse_others,
    sampling_of,
    text_of,
    unanswered,
)
from tenet.serving.protocol.chat_request import Ask, Begun, Choice, End, Message, Part, ToolCall, Words, member, number, objects
from tenet.serving.protocol.exceptions import invalid
from tenet.serving.protocol.json_bytes import dumps
from tenet.serving.protocol.limits import Limits
from tenet.serving.protocol.turns import Result, Turn, Use, check_stops

KNOWN = (
    "model", "messages", "stream", "stream_options", "temperature", "top_p", "top_k", "seed", "stop", "max_tokens",
    "max_completion_tokens", "tools", "tool_choice", "parallel_tool_calls", "response_format", "logprobs", "top_logprobs", "prompt_logprobs", GUARDRAIL,
)  # fmt: skip
#: Of a message. `name` and earlier thoughts are not shown to the model.
_MESSAGE = ("role", "content", "name", "tool_calls", "tool_call_id", "refusal", "reasoning_content", "reasoning")
#: Bytes that begin a stream after which nothing comes.
DONE = b"data: [DONE]\n\n"


def decode(body: dict[str, Any], limits: Limits) -> Ask:
    """A body of Chat Completions.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    refuse_others(body, KNOWN)
    tools, strict, choice, name = _tools(body, limits)
    messages, prefill = _messages(body)
    if prefill and choice in ("any", "tool"):
        raise invalid("tool_choice", "a forced tool call cannot continue a final assistant message.")
    wanted, prompts = member(body, "logprobs", bool, "", False), number(body, "prompt_logprobs", "", 0, 20, None)
    return ScoredAsk(
        messages=messages,
        tools=[] if choice == "none" else tools,
        strict=strict,
        choice=choice,
        tool=name,
        prefill=prefill,
        max_tokens=_longest(body),
        stops=_stops(body, limits),
        one_call=not member(body, "parallel_tool_calls", bool, "", True),
        schema=_schema(body, limits),
        cached=True,
        logprobs=wanted,
        top_logprobs=candidates_of(body, wanted, "logprobs to be true"),
        prompt_logprobs=prompts,
        **sampling_of(body),
    )


def wants_usage(body: dict[str, Any]) -> bool:
    """Whether a stream ends with a chunk of counts."""
    options = member(body, "stream_options", dict, "", {})
    if options and not member(body, "stream", bool, "", False):
        raise invalid("stream_options", "needs stream to be true.")
    return bool(member(options, "include_usage", bool, "stream_options", False))


def _longest(body: dict[str, Any]) -> int | None:
    new, old = (number(body, key, "", 1, 2**31 - 1, None) for key in ("max_completion_tokens", "max_tokens"))
    if new and old and new != old:
        raise invalid("max_tokens", "is the old name of max_completion_tokens; give one of them.")
    longest: int | None = new or old
    return longest


def _stops(body: dict[str, Any], limits: Limits) -> tuple[str, ...]:
    stop = member(body, "stop", (str, list), "", [])
    return check_stops([stop] if isinstance(stop, str) else stop, limits, "stop")


def _schema(body: dict[str, Any], limits: Limits) -> dict[str, Any] | None:
    wanted, where = member(body, "response_format", dict, "", {}), "response_format"
    named = wanted.get("type") == "json_schema"
    shape = member(wanted, "json_schema", dict, where) if named else {}
    return format_of(wanted, shape, f"{where}.json_schema" if named else where, limits)


def _tools(body: dict[str, Any], limits: Limits) -> tuple[list[Message], tuple[str, ...], Choice, str]:
    functions = []
    for path, item in objects(body, "tools", "", []):
        if member(item, "type", str, path) != "function":
            raise invalid(f"{path}.type", "only tools of type function are supported.")
        functions.append((f"{path}.function", member(item, "function", dict, path)))
    tools, strict = functions_of(functions, limits)
    given, name = body.get("tool_choice"), None
    if isinstance(given, dict) and given.get("type") == "function":
        name = member(member(given, "function", dict, "tool_choice"), "name", str, "tool_choice.function")
    return tools, strict, *choice_of(given, name, tools)


# --- messages ----------------------------------------------------------------------------------------------------------


def _messages(body: dict[str, Any]) -> tuple[list[Message], str]:
    """Messages of the chat template; every run of calls has its results right behind it."""
    turns: list[Turn] = []
    system: list[str] = []
    calls: list[str] = []
    results: list[str] = []
    where = ""
    for path, item in objects(body, "messages", ""):
        role = _role(item, path)
        if role == "tool":
            results.append(member(item, "tool_call_id", str, path))
            turns.append(Turn("user", [Result(results[-1], "\n".join(text_of(item, "content", path, ("text",))))]))
            continue
        if problem := unanswered(calls, results, where):
            raise problem
        calls, results, where = [], [], path
        if role == "assistant":
            turns.append(_assistant(item, path))
            calls = [use.id for use in turns[-1].uses()]
        elif role == "system" and not turns:
            system += text_of(item, "content", path, ("text",))
        else:
            turns.append(Turn("system" if role == "system" else "user", list(text_of(item, "content", path, ("text",)))))
    if problem := unanswered(calls, results, where or "messages"):
        raise problem
    return conversation_of(turns, system, "messages")


def _role(item: dict[str, Any], path: str) -> str:
    role = member(item, "role", str, path)
    if role not in ("system", "developer", "user", "assistant", "tool"):
        raise invalid(f"{path}.role", "must be system, developer, user, assistant or tool.")
    for name, value in item.items():
        if name not in _MESSAGE and value:
            raise invalid(f"{path}.{name}", "is not supported by this endpoint; leave it out.")
    return "system" if role == "developer" else role


def _assistant(item: dict[str, Any], path: str) -> Turn:
    turn = Turn("assistant")
    if item.get("content") not in (None, "") or not item.get("tool_calls"):
        turn.blocks += text_of(item, "content", path, ("text", "refusal")) if item.get("content") is not None else [""]
    for place, call in objects(item, "tool_calls", path, []):
        if member(call, "type", str, place, "function") != "function":
            raise invalid(f"{place}.type", "only calls of type function are supported.")
        function, where = member(call, "function", dict, place), f"{place}.function"
        turn.blocks.append(
            Use(member(call, "id", str, place), member(function, "name", str, where), arguments_of(function, where))
        )
    return turn


# --- answers -----------------------------------------------------------------------------------------------------------


def encode(parts: Sequence[Part], model: str) -> dict[str, Any]:
    """A whole completion."""
    end = parts[-1]
    assert isinstance(end, End)
    text = "".join(part.text for part in parts if isinstance(part, Words))
    calls = [_call(part) for part in parts if isinstance(part, ToolCall)]
    tokens = [token for part in parts if isinstance(part, (ScoredWords, ScoredEnd)) for token in part.tokens]
    scored = {"content": shown(tokens), "refusal": None} if tokens else None
    content = text or (None if calls else "")
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None, "annotations": []}
    choice = {
        "index": 0,
        "message": {**message, **({"tool_calls": calls} if calls else {})},
        "logprobs": scored,
        "finish_reason": finish_reason(end),
    }
    head = {"id": new_id("chatcmpl-"), "object": "chat.completion", "created": int(time.time()), "model": model}
    return {**head, "choices": [choice], "usage": usage(end), **_of_prompt(end)}


def _of_prompt(part: Part) -> dict[str, Any]:
    """The prompt's tokens, where they were asked for, beside the choices: Amazon's place for them, by vLLM's form."""
    return {"prompt_logprobs": ranked(part)} if isinstance(part, ScoredEnd) and part.first else {}


def _call(part: ToolCall) -> dict[str, Any]:
    function = {"name": part.name, "arguments": dumps(part.arguments).decode()}
    return {"id": new_id("call_"), "type": "function", "function": function}


class Chunks:
    """The parts of an answer as chunks of a stream.

    Args:
        model: as it is shown.
        counted: the last chunk carries the counts, and every other one says that it does not.
        more: what else a chunk carries, by whether it is the last one.
    """

    def __init__(self, model: str, counted: bool, more: Callable[[bool], dict[str, Any]] = lambda last: {}) -> None:
        self._head = {"id": new_id("chatcmpl-"), "object": "chat.completion.chunk", "created": int(time.time()), "model": model}
        self._counted, self._calls, self._more = counted, 0, more

    def part(self, part: Part, latency_ms: int) -> Iterator[bytes]:
        """Server-sent events of one part; those of `End` close the stream."""
        chunks, end = list(self.chunks(part)), isinstance(part, End)
        for i, chunk in enumerate(chunks, 1):
            yield data({**chunk, **self._more(end and i == len(chunks))})
        if end:
            yield DONE

    def chunks(self, part: Part) -> Iterator[dict[str, Any]]:
        """Chunks of one part."""
        if isinstance(part, Begun):
            yield self._chunk({"role": "assistant", "content": "", "refusal": None})
        elif isinstance(part, Words):
            yield self._chunk({"content": part.text}, part)
        elif isinstance(part, ToolCall):
            yield from self._tool_call(_call(part))
        else:
            yield {**self._chunk({}, part, finish_reason(part)), **_of_prompt(part)}
            if self._counted:
                yield {**self._head, "choices": [], "usage": usage(part)}

    def _tool_call(self, call: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Name and arguments apart, as clients expect them to be joined."""
        function = call["function"]
        opened = {**call, "index": self._calls, "function": {"name": function["name"], "arguments": ""}}
        yield self._chunk({"tool_calls": [opened]})
        yield self._chunk({"tool_calls": [{"index": self._calls, "function": {"arguments": function["arguments"]}}]})
        self._calls += 1

    def _chunk(self, delta: dict[str, Any], part: Part | None = None, finish: str | None = None) -> dict[str, Any]:
        tokens = part.tokens if isinstance(part, (ScoredWords, ScoredEnd)) else ()
        scored = {"content": shown(tokens), "refusal": None} if tokens else None
        choice = {"index": 0, "delta": delta, "logprobs": scored, "finish_reason": finish}
        return {**self._head, "choices": [choice], **({"usage": None} if self._counted else {})}
