"""The parts of an answer to Anthropic Messages JSON and events."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tenet.serving.api.guarding.guard import Guard
from tenet.serving.protocol.chat_request import Begun, End, Part, ToolCall, Words
from tenet.serving.protocol.eventstream import event
from tenet.serving.protocol.json_bytes import dumps


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


def guarded(guard: Guard | None, last: bool) -> dict[str, Any]:
    """What a guardrail adds to the answer and to each chunk of a stream; to the last of them its trace."""
    if guard is None:
        return {}
    trace = guard.shown("input", "outputs") if last else None
    action = {"amazon-bedrock-guardrailAction": "INTERVENED" if guard.intervened else "NONE"}
    return {**action, **({"amazon-bedrock-trace": trace} if trace else {})}
