"""The parts of an answer to Converse JSON and ConverseStream events."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from tenet.serving.protocol.chat_request import Begun, End, Part, ToolCall, Words
from tenet.serving.protocol.eventstream import event
from tenet.serving.protocol.json_bytes import dumps


def new_tool_id() -> str:
    """An id that no other tool call has."""
    return f"tooluse_{secrets.token_urlsafe(16)}"


def usage_of(end: End) -> dict[str, int]:
    """Token counts. What the prefix cache had is counted apart, as Bedrock does it; the total is the same."""
    cached = {"cacheReadInputTokens": end.cached_tokens, "cacheWriteInputTokens": end.written_tokens}
    cached = cached if any(cached.values()) else {}
    return {
        "inputTokens": end.fresh_tokens,
        "outputTokens": end.output_tokens,
        "totalTokens": end.input_tokens + end.output_tokens,
        **cached,
    }


def encode(parts: Sequence[Part], body: dict[str, Any], latency_ms: int, trace: dict[str, Any] | None = None) -> dict[str, Any]:
    """The Converse response. An answer without any text has one empty block, because clients read the first one
    unasked."""
    content: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, ToolCall):
            content.append({"toolUse": {"toolUseId": new_tool_id(), "name": part.name, "input": part.arguments}})
        elif isinstance(part, Words) and content and "text" in content[-1]:
            content[-1]["text"] += part.text
        elif isinstance(part, Words):
            content.append({"text": part.text})
    end = parts[-1]
    assert isinstance(end, End)
    return {
        "output": {"message": {"role": "assistant", "content": content or [{"text": ""}]}},
        "stopReason": end.reason,
        "usage": usage_of(end),
        "metrics": {"latencyMs": latency_ms},
        **({"trace": trace} if trace else {}),
        **_response_fields(body, end),
        **_echoed(body),
    }


def _response_fields(body: dict[str, Any], end: End) -> dict[str, Any]:
    """The stop sequence is the one extra field that this model has, under either of its names; others are passed over, as
    Amazon does it."""
    wanted, found = body.get("additionalModelResponseFieldPaths", ()), dict[str, Any]()
    if "/stop_sequence" in wanted:
        found["stop_sequence"] = end.stop
    if "/delta/stop_sequence" in wanted:
        found["delta"] = {"stop_sequence": end.stop}
    return {"additionalModelResponseFields": found} if found else {}


def _echoed(body: dict[str, Any]) -> dict[str, Any]:
    """What was asked of Amazon's side, told back as Amazon does it."""
    return {key: body[key] for key in ("performanceConfig", "serviceTier") if key in body}


class Events:
    """Parts to ConverseStream frames; knows which block is open.

    Attributes:
        trace: of a guardrail, for the last event; set before `End` is given.
    """

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.trace: dict[str, Any] | None = None
        self._index, self._open = 0, False

    def part(self, part: Part, latency_ms: int) -> Iterator[bytes]:
        """Frames of one part; those of `End` close the stream."""
        if isinstance(part, Begun):
            yield event("messageStart", {"role": "assistant"})
        elif isinstance(part, Words):
            yield self._delta({"text": part.text})
            self._open = True
        elif isinstance(part, ToolCall):
            yield from self._close()
            use = {"toolUseId": new_tool_id(), "name": part.name}
            yield event("contentBlockStart", {"start": {"toolUse": use}, "contentBlockIndex": self._index})
            yield self._delta({"toolUse": {"input": dumps(part.arguments).decode()}})
            self._open = True
            yield from self._close()
        else:
            if not self._open and self._index == 0:
                yield self._delta({"text": ""})
                self._open = True
            yield from self._close()
            yield event("messageStop", {"stopReason": part.reason, **_response_fields(self.body, part)})
            trace = {"trace": self.trace} if self.trace else {}
            metrics = {"latencyMs": latency_ms}
            yield event("metadata", {"usage": usage_of(part), "metrics": metrics, **trace, **_echoed(self.body)})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return event("contentBlockDelta", {"delta": delta, "contentBlockIndex": self._index})

    def _close(self) -> Iterator[bytes]:
        if self._open:
            yield event("contentBlockStop", {"contentBlockIndex": self._index})
            self._index, self._open = self._index + 1, False
