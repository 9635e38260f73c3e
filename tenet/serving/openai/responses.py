"""Responses: bodies to an `Ask`, and the parts of an answer to a response. Its stream is in `response_events.py`.

Source: OpenAI's "Create a model response", as the types of the package `openai` have it. Nothing is stored, so what
refers to an earlier response is refused; the conversation comes whole in `input`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from tenet.serving.engines.scored import ScoredAsk, ScoredEnd, ScoredWords, TokenScore
from tenet.serving.openai.dialect import new_id, shown
from tenet.serving.openai.fields import (
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
from tenet.serving.protocol.chat_request import Ask, Choice, End, Message, Part, ToolCall, Words, member, number, objects
from tenet.serving.protocol.exceptions import invalid
from tenet.serving.protocol.json_bytes import dumps
from tenet.serving.protocol.limits import Limits
from tenet.serving.protocol.turns import Result, Turn, Use

KNOWN = (
    "model", "input", "instructions", "stream", "stream_options", "temperature", "top_p", "top_k", "seed", "max_output_tokens",
    "tools", "tool_choice", "parallel_tool_calls", "text", "top_logprobs", "include", "reasoning",
)  # fmt: skip
#: What may be asked for beside the answer; of thoughts there are none.
_LOGPROBS = "message.output_text.logprobs"
_INCLUDABLE = (_LOGPROBS, "reasoning.encrypted_content")


def decode(body: dict[str, Any], limits: Limits) -> Ask:
    """A body of Responses.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    refuse_others(body, KNOWN)
    effort = member(body, "reasoning", dict, "", {}).get("effort")
    if effort not in (None, "none"):
        raise invalid("reasoning.effort", "is not supported by this model; leave it out.")
    tools, strict, choice, name = _tools(body, limits)
    messages, prefill = _messages(body)
    if prefill and choice in ("any", "tool"):
        raise invalid("tool_choice", "a forced tool call cannot continue a final assistant message.")
    wanted = _wants_logprobs(body)
    return ScoredAsk(
        messages=messages,
        tools=[] if choice == "none" else tools,
        strict=strict,
        choice=choice,
        tool=name,
        prefill=prefill,
        max_tokens=number(body, "max_output_tokens", "", 1, 2**31 - 1, None),
        one_call=not member(body, "parallel_tool_calls", bool, "", True),
        schema=_schema(body, limits),
        cached=True,
        logprobs=wanted,
        top_logprobs=candidates_of(body, wanted, f"{_LOGPROBS} in include"),
        **sampling_of(body),
    )


def _wants_logprobs(body: dict[str, Any]) -> bool:
    wanted = member(body, "include", list, "", [])
    for i, one in enumerate(wanted):
        if one not in _INCLUDABLE:
            raise invalid(f"include.{i}", f"must be one of {', '.join(_INCLUDABLE)}.")
    return _LOGPROBS in wanted


def _schema(body: dict[str, Any], limits: Limits) -> dict[str, Any] | None:
    text = member(body, "text", dict, "", {})
    if text.get("verbosity") not in (None, "medium"):
        raise invalid("text.verbosity", "only medium is supported by this endpoint.")
    wanted = member(text, "format", dict, "text", {})
    return format_of(wanted, wanted, "text.format", limits)


def _tools(body: dict[str, Any], limits: Limits) -> tuple[list[Message], tuple[str, ...], Choice, str]:
    functions = objects(body, "tools", "", [])
    for path, item in functions:
        if member(item, "type", str, path) != "function":
            raise invalid(f"{path}.type", "only tools of type function are supported.")
    tools, strict = functions_of(functions, limits)
    given, name = body.get("tool_choice"), None
    if isinstance(given, dict) and given.get("type") == "function":
        name = member(given, "name", str, "tool_choice")
    return tools, strict, *choice_of(given, name, tools)


# --- items -------------------------------------------------------------------------------------------------------------


def _messages(body: dict[str, Any]) -> tuple[list[Message], str]:
    """Messages of the chat template: instructions first, calls with their results right behind them."""
    instructions = member(body, "instructions", str, "", "")
    system = [instructions] if instructions else []
    if isinstance(body.get("input"), str):
        return conversation_of([Turn("user", [body["input"]])], system, "input")
    turns: list[Turn] = []
    calls: list[str] = []
    results: list[str] = []
    where = "input"
    for path, item in objects(body, "input", ""):
        kind = member(item, "type", str, path, "message")
        if kind == "reasoning":
            continue
        if kind == "function_call_output":
            results.append(member(item, "call_id", str, path))
            turns.append(Turn("user", [Result(results[-1], "\n".join(text_of(item, "output", path, ("input_text",))))]))
            continue
        if results or kind != "function_call":
            if problem := unanswered(calls, results, where):
                raise problem
            calls, results = [], []
        where = path
        if kind == "function_call":
            calls.append(member(item, "call_id", str, path))
            name = member(item, "name", str, path)
            turns.append(Turn("assistant", [Use(calls[-1], name, arguments_of(item, path))]))
        elif kind == "message":
            _add_message(item, path, turns, system)
        else:
            raise invalid(f"{path}.type", "must be message, function_call, function_call_output or reasoning.")
    if problem := unanswered(calls, results, where):
        raise problem
    return conversation_of(turns, system, "input")


def _add_message(item: dict[str, Any], path: str, turns: list[Turn], system: list[str]) -> None:
    """What stands before all turns of the user's and the assistant's belongs to the instructions."""
    role = member(item, "role", str, path)
    if role not in ("system", "developer", "user", "assistant"):
        raise invalid(f"{path}.role", "must be system, developer, user or assistant.")
    texts = text_of(item, "content", path, ("output_text", "refusal") if role == "assistant" else ("input_text",))
    if role in ("user", "assistant"):
        turns.append(Turn("user" if role == "user" else "assistant", list(texts)))
    elif turns:
        turns.append(Turn("system", list(texts)))
    else:
        system += texts


# --- answers -----------------------------------------------------------------------------------------------------------


def begun(body: dict[str, Any], model: str) -> dict[str, Any]:
    """A response of which nothing has been said yet; it repeats what was asked."""
    text = body.get("text") or {}
    return {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "model": model,
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": False,
        "temperature": body.get("temperature") or 0.0,
        "text": {"format": text.get("format") or {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_logprobs": body.get("top_logprobs") or 0,
        "top_p": 1.0 if body.get("top_p") is None else body["top_p"],
        "truncation": "disabled",
        "usage": None,
        "user": body.get("user"),
    }


def ended(response: dict[str, Any], output: list[dict[str, Any]], end: End) -> dict[str, Any]:
    """The same response, whole."""
    reasons = {
        "max_tokens": "max_output_tokens",
        "model_context_window_exceeded": "max_output_tokens",
        "guardrail_intervened": "content_filter",
    }
    reason = reasons.get(end.reason)
    usage = {
        "input_tokens": end.input_tokens,
        "input_tokens_details": {"cached_tokens": end.cached_tokens, "cache_write_tokens": end.written_tokens},
        "output_tokens": end.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": end.input_tokens + end.output_tokens,
    }
    return {
        **response,
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": output,
        "usage": usage,
    }


def message_item(item_id: str, text: str | None, tokens: Sequence[TokenScore] = (), status: str = "completed") -> dict[str, Any]:
    """What the assistant says; without text it is only begun."""
    content = [] if text is None else [text_part(text, tokens)]
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content}


def text_part(text: str, tokens: Sequence[TokenScore] = ()) -> dict[str, Any]:
    """Text of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": shown(tokens)}


def call_item(item_id: str, call_id: str, call: ToolCall, arguments: str, status: str = "completed") -> dict[str, Any]:
    """A call of a tool."""
    head = {"id": item_id, "type": "function_call", "status": status}
    return {**head, "call_id": call_id, "name": call.name, "arguments": arguments}


def encode(parts: Sequence[Part], body: dict[str, Any]) -> dict[str, Any]:
    """A whole response."""
    end = parts[-1]
    assert isinstance(end, End)
    output: list[dict[str, Any]] = []
    text, tokens = "", list[TokenScore]()
    for part in parts:
        if isinstance(part, (ScoredWords, ScoredEnd)):
            tokens += part.tokens
        if isinstance(part, Words):
            text += part.text
            continue
        if text or (part is end and not output):
            output.append(message_item(new_id("msg_"), text, tokens))
            text, tokens = "", []
        if isinstance(part, ToolCall):
            output.append(call_item(new_id("fc_"), new_id("call_"), part, dumps(part.arguments).decode()))
    return ended(begun(body, body["model"]), output, end)
