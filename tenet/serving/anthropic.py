"""InvokeModel and its stream: Anthropic Messages bodies to an `Ask`, the parts of an answer to Messages JSON and events.

The model and whether to stream stand in the URL, not in the body. `anthropic_version` must be there but any text will do:
clients change it.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from tenet.serving.ask import Ask, Begun, Choice, End, Part, ToolCall, Words, member, number, objects
from tenet.serving.errors import invalid
from tenet.serving.eventstream import event
from tenet.serving.limits import Limits
from tenet.serving.turns import Block, Result, Turn, Use, check_stops, check_tools, messages_of, role_of, tool_of


def decode(body: dict[str, Any], limits: Limits) -> Ask:
    """A Messages body.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    if not member(body, "anthropic_version", str, ""):
        raise invalid("anthropic_version", "must not be empty.")
    if member(body, "thinking", dict, "", {}).get("type", "disabled") != "disabled":
        raise invalid("thinking", "is not supported by this model; leave it out.")
    if member(body, "output_config", dict, "", {}).get("format"):
        raise invalid("output_config.format", "structured output is not supported by this endpoint; use a tool with tool_choice.")
    tools, choice, name, one_call = _tools(body, limits)
    turns = [Turn(role_of(item, path), _content(item, path)) for path, item in objects(body, "messages", "")]
    system = "\n".join(block for block in _content(body, "", "system") if isinstance(block, str)) if body.get("system") else ""
    messages, prefill = messages_of(turns, system, bool(tools))
    if prefill and choice in ("any", "tool"):
        raise invalid("tool_choice", "a forced tool call cannot continue a final assistant message.")
    return Ask(
        messages=messages,
        tools=[] if choice == "none" else tools,
        choice=choice,
        tool=name,
        prefill=prefill,
        max_tokens=number(body, "max_tokens", "", 1, 2**31 - 1, ...),
        temperature=number(body, "temperature", "", 0.0, 1.0, 0.0),
        top_p=max(number(body, "top_p", "", 0.0, 1.0, 1.0), 1e-6),
        top_k=number(body, "top_k", "", 0, 2**31 - 1, 0),
        seed=number(body, "seed", "", 0, 2**31 - 1, None),
        stops=check_stops(member(body, "stop_sequences", list, "", []), limits, "stop_sequences"),
        one_call=one_call,
    )


def _content(item: dict[str, Any], path: str, key: str = "content") -> list[Block]:
    """Content is one string or a list of blocks."""
    if isinstance(item.get(key), str):
        return [item[key]]
    blocks = (_block(block, place) for place, block in objects(item, key, path))
    return [block for block in blocks if block is not None]


def _block(block: dict[str, Any], path: str) -> Block | None:
    kind = member(block, "type", str, path)
    if kind == "text":
        return str(member(block, "text", str, path))
    if kind == "tool_use":
        name, arguments = member(block, "name", str, path), member(block, "input", dict, path)
        return Use(member(block, "id", str, path), name, arguments)
    if kind == "tool_result":
        text = "\n".join(b for b in (_content(block, path) if block.get("content") else []) if isinstance(b, str))
        return Result(member(block, "tool_use_id", str, path), f"Error:\n{text}" if block.get("is_error") else text)
    if kind in ("thinking", "redacted_thinking"):
        return None
    raise invalid(path, "this model reads text only; use blocks of type text, tool_use and tool_result.")


def _tools(body: dict[str, Any], limits: Limits) -> tuple[list[dict[str, Any]], Choice, str, bool]:
    """Tools, how they may be used, the name of the one that must be, and whether one call is enough."""
    tools = []
    for path, item in objects(body, "tools", "", []):
        if item.get("type", "custom") != "custom":
            raise invalid(f"{path}.type", "only custom tools are supported.")
        schema = member(item, "input_schema", dict, path)
        tools.append(tool_of(member(item, "name", str, path), member(item, "description", str, path, ""), schema, path, limits))
    chosen = member(body, "tool_choice", dict, "", {"type": "auto"})
    choice, name = member(chosen, "type", str, "tool_choice"), ""
    if choice not in ("auto", "any", "tool", "none"):
        raise invalid("tool_choice.type", "must be one of auto, any, tool, none.")
    if choice in ("any", "tool") and not tools:
        raise invalid("tool_choice", "needs tools to choose from.")
    if choice == "tool":
        name = member(chosen, "name", str, "tool_choice")
        if name not in [tool["function"]["name"] for tool in tools]:
            raise invalid("tool_choice.name", "is not the name of a tool in tools.")
    one_call = member(chosen, "disable_parallel_tool_use", bool, "tool_choice", False)
    return check_tools(tools, limits, "tools"), choice, name, one_call


# --- answers ---------------------------------------------------------------------------------------------------------


def _reason(end: End) -> str:
    """Anthropic has no word for a forced call that could not be read; the text is there to look at."""
    return "end_turn" if end.reason == "malformed_tool_use" else end.reason


def encode(parts: Sequence[Part], model: str) -> dict[str, Any]:
    """The Messages response."""
    content: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, ToolCall):
            content.append(_tool_use(part.name, part.arguments))
        elif isinstance(part, Words) and content and content[-1]["type"] == "text":
            content[-1]["text"] += part.text
        elif isinstance(part, Words):
            content.append({"type": "text", "text": part.text})
    end = parts[-1]
    assert isinstance(end, End)
    return {
        **_message(model),
        "content": content or [{"type": "text", "text": ""}],
        "stop_reason": _reason(end),
        "stop_sequence": end.stop,
        "usage": {"input_tokens": end.input_tokens, "output_tokens": end.output_tokens},
    }


def _message(model: str) -> dict[str, Any]:
    return {"id": f"msg_{secrets.token_hex(12)}", "type": "message", "role": "assistant", "model": model}


def _tool_use(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{secrets.token_urlsafe(16)}", "name": name, "input": arguments}


class Events:
    """Parts to frames that each carry one Messages event, base64 in a `chunk`; knows which block is open."""

    def __init__(self, model: str) -> None:
        self.model = model
        self._index, self._open = 0, False
        self._first_ms: int | None = None

    def part(self, part: Part, latency_ms: int) -> Iterator[bytes]:
        """Frames of one part; those of `End` close the stream."""
        self._first_ms = latency_ms if self._first_ms is None else self._first_ms
        if isinstance(part, Begun):
            empty: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
            usage = {"input_tokens": part.input_tokens, "output_tokens": 0}
            yield _chunk({"type": "message_start", "message": {**_message(self.model), **empty, "usage": usage}})
        elif isinstance(part, Words):
            yield from self._text(part.text)
        elif isinstance(part, ToolCall):
            yield from self._close()
            yield from self._block(_tool_use(part.name, {}))
            piece = json.dumps(part.arguments, ensure_ascii=False)
            yield self._delta({"type": "input_json_delta", "partial_json": piece})
            yield from self._close()
        else:
            if not self._open and self._index == 0:
                yield from self._text("")
            yield from self._close()
            yield from self._end(part, latency_ms)

    def _text(self, text: str) -> Iterator[bytes]:
        if not self._open:
            yield from self._block({"type": "text", "text": ""})
        yield self._delta({"type": "text_delta", "text": text})

    def _end(self, end: End, latency_ms: int) -> Iterator[bytes]:
        delta = {"stop_reason": _reason(end), "stop_sequence": end.stop}
        yield _chunk({"type": "message_delta", "delta": delta, "usage": {"output_tokens": end.output_tokens}})
        metrics = {
            "inputTokenCount": end.input_tokens,
            "outputTokenCount": end.output_tokens,
            "invocationLatency": latency_ms,
            "firstByteLatency": self._first_ms,
        }
        yield _chunk({"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics})

    def _block(self, block: dict[str, Any]) -> Iterator[bytes]:
        self._open = True
        yield _chunk({"type": "content_block_start", "index": self._index, "content_block": block})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _chunk({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _close(self) -> Iterator[bytes]:
        if self._open:
            yield _chunk({"type": "content_block_stop", "index": self._index})
            self._index, self._open = self._index + 1, False


def _chunk(message: dict[str, Any]) -> bytes:
    return event("chunk", {"bytes": base64.b64encode(json.dumps(message, ensure_ascii=False).encode()).decode()})
