"""Anthropic Messages bodies to an `Ask`, the parts of an answer to Messages JSON and events.

They come by two routes. InvokeModel has the model and whether to stream in the URL and `anthropic_version` in the body
(any text will do: clients change it); `/anthropic/v1/messages` has the first two in the body and the version in a
header.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tenet.serving.protocol.chat_request import Ask, Begun, Choice, End, Part, ToolCall, Words, member, number, objects
from tenet.serving.protocol.eventstream import event
from tenet.serving.protocol.exceptions import invalid
from tenet.serving.protocol.json_bytes import dumps
from tenet.serving.protocol.limits import Limits
from tenet.serving.protocol.turns import (
    Block,
    Result,
    Turn,
    Use,
    check_stops,
    check_tools,
    messages_of,
    role_of,
    schema_of,
    tool_of,
)


def decode(body: dict[str, Any], limits: Limits, version: bool = True, counting: bool = False) -> Ask:
    """A Messages body.

    Args:
        version: `anthropic_version` must stand in it; on Anthropic's own route it is a header.
        counting: only the prompt matters, `max_tokens` may be missing.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    if version and not member(body, "anthropic_version", str, ""):
        raise invalid("anthropic_version", "must not be empty.")
    if member(body, "thinking", dict, "", {}).get("type", "disabled") != "disabled":
        raise invalid("thinking", "is not supported by this model; leave it out.")
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
        max_tokens=number(body, "max_tokens", "", 1, 2**31 - 1, None if counting else ...),
        temperature=number(body, "temperature", "", 0.0, 1.0, 0.0),
        top_p=max(number(body, "top_p", "", 0.0, 1.0, 1.0), 1e-6),
        top_k=number(body, "top_k", "", 0, 2**31 - 1, 0),
        seed=number(body, "seed", "", 0, 2**31 - 1, None),
        stops=check_stops(member(body, "stop_sequences", list, "", []), limits, "stop_sequences"),
        one_call=one_call,
        schema=_schema(member(body, "output_config", dict, "", {}), tools, limits),
        cached=any("cache_control" in block for block in _marked(body)),
    )


def _marked(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Every block that may carry a cache mark; what they are was checked before."""
    lists = [body.get("system"), body.get("tools"), *(message["content"] for message in body["messages"])]
    return [block for blocks in lists if isinstance(blocks, list) for block in blocks]


def _schema(config: dict[str, Any], tools: list[dict[str, Any]], limits: Limits) -> dict[str, Any] | None:
    """The JSON schema that the answer must have."""
    wanted, where = member(config, "format", dict, "output_config", {}), "output_config.format"
    if not wanted:
        return None
    if member(wanted, "type", str, where) != "json_schema":
        raise invalid(f"{where}.type", "must be json_schema.")
    return schema_of(member(wanted, "schema", dict, where), tools, f"{where}.schema", limits)


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
    """Anthropic has no word for a forced call that could not be read, nor for a guardrail; the text is there to look
    at."""
    return "end_turn" if end.reason in ("malformed_tool_use", "guardrail_intervened") else end.reason


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
        "usage": {**_input(end), "output_tokens": end.output_tokens},
    }


def _input(part: Begun | End) -> dict[str, int]:
    return {
        "input_tokens": part.input_tokens - part.cached_tokens - part.written_tokens,
        "cache_creation_input_tokens": part.written_tokens,
        "cache_read_input_tokens": part.cached_tokens,
    }


def _message(model: str) -> dict[str, Any]:
    return {"id": f"msg_{secrets.token_hex(12)}", "type": "message", "role": "assistant", "model": model}


def _tool_use(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{secrets.token_urlsafe(16)}", "name": name, "input": arguments}


class Events:
    """Parts to Messages events; knows which block is open.

    Args:
        model: id to answer under.
        wrap: one event to bytes: `chunk` on Bedrock's route, `server_sent` on Anthropic's.
    """

    def __init__(self, model: str, wrap: Callable[[dict[str, Any]], bytes]) -> None:
        self.model, self._wrap = model, wrap
        self._index, self._open = 0, False
        self._first_ms: int | None = None

    def part(self, part: Part, latency_ms: int) -> Iterator[bytes]:
        """Frames of one part; those of `End` close the stream."""
        return map(self._wrap, self._events(part, latency_ms))

    def _events(self, part: Part, latency_ms: int) -> Iterator[dict[str, Any]]:
        self._first_ms = latency_ms if self._first_ms is None else self._first_ms
        if isinstance(part, Begun):
            empty: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
            usage = {**_input(part), "output_tokens": 0}
            yield {"type": "message_start", "message": {**_message(self.model), **empty, "usage": usage}}
        elif isinstance(part, Words):
            yield from self._text(part.text)
        elif isinstance(part, ToolCall):
            yield from self._close()
            yield from self._block(_tool_use(part.name, {}))
            piece = dumps(part.arguments).decode()
            yield self._delta({"type": "input_json_delta", "partial_json": piece})
            yield from self._close()
        else:
            if not self._open and self._index == 0:
                yield from self._text("")
            yield from self._close()
            yield from self._end(part, latency_ms)

    def _text(self, text: str) -> Iterator[dict[str, Any]]:
        if not self._open:
            yield from self._block({"type": "text", "text": ""})
        yield self._delta({"type": "text_delta", "text": text})

    def _end(self, end: End, latency_ms: int) -> Iterator[dict[str, Any]]:
        delta = {"stop_reason": _reason(end), "stop_sequence": end.stop}
        yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": end.output_tokens}}
        metrics = {
            "inputTokenCount": end.fresh_tokens,
            "outputTokenCount": end.output_tokens,
            "invocationLatency": latency_ms,
            "firstByteLatency": self._first_ms,
            **({"cacheReadInputTokenCount": end.cached_tokens} if end.cached_tokens else {}),
        }
        yield {"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics}

    def _block(self, block: dict[str, Any]) -> Iterator[dict[str, Any]]:
        self._open = True
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _close(self) -> Iterator[dict[str, Any]]:
        if self._open:
            yield {"type": "content_block_stop", "index": self._index}
            self._index, self._open = self._index + 1, False


def chunk(message: dict[str, Any]) -> bytes:
    """An event in Bedrock's frame, base64 inside."""
    return event("chunk", {"bytes": base64.b64encode(dumps(message)).decode()})


def server_sent(message: dict[str, Any]) -> bytes:
    """The same as a server-sent event, without what Bedrock alone adds."""
    shown = {key: value for key, value in message.items() if not key.startswith("amazon-bedrock-")}
    return b"event: %s\ndata: %s\n\n" % (message["type"].encode(), dumps(shown))
