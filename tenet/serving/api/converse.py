"""Converse and ConverseStream: their JSON to an `Ask`, the parts of an answer to their JSON and events.

Members as in the Bedrock Runtime service model (2023-09-30). What would change the answer and is not there (images) is
refused by name; what only tunes Amazon's side (cache points, service tiers, request metadata) is accepted and has no
effect.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from tenet.serving.protocol.chat_request import Ask, Begun, Choice, End, Part, ToolCall, Words, member, number, objects
from tenet.serving.protocol.eventstream import event
from tenet.serving.protocol.exceptions import invalid
from tenet.serving.protocol.json_bytes import dumps
from tenet.serving.protocol.limits import Limits, parse_json
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

_NOT_TEXT = ("image", "document", "video", "audio", "searchResult")
_UNSUPPORTED = ("promptVariables",)


def decode(body: dict[str, Any], limits: Limits) -> Ask:
    """A Converse body.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    for key in _UNSUPPORTED:
        if body.get(key):
            raise invalid(key, "is not supported by this endpoint; leave it out.")
    turns = [
        Turn(
            role_of(item, path), [b for place, block in objects(item, "content", path) if (b := _block(block, place)) is not None]
        )
        for path, item in objects(body, "messages", "")
    ]
    tools, choice, name = _tools(member(body, "toolConfig", dict, "", {}), limits)
    spoken = objects(body, "system", "", [])
    system = "\n".join(text for path, item in spoken if (text := _text(item, path)) is not None)
    messages, prefill = messages_of(turns, system, bool(tools))
    if prefill and choice in ("any", "tool"):
        raise invalid("toolConfig.toolChoice", "a forced tool call cannot continue a final assistant message.")
    config = member(body, "inferenceConfig", dict, "", {})
    extra = member(body, "additionalModelRequestFields", dict, "", {})
    return Ask(
        messages=messages,
        tools=tools,
        choice=choice,
        tool=name,
        prefill=prefill,
        max_tokens=number(config, "maxTokens", "inferenceConfig", 1, 2**31 - 1, None),
        temperature=number(config, "temperature", "inferenceConfig", 0.0, 1.0, 0.0),
        top_p=max(number(config, "topP", "inferenceConfig", 0.0, 1.0, 1.0), 1e-6),
        top_k=number(extra, "top_k", "additionalModelRequestFields", 0, 2**31 - 1, 0),
        seed=number(extra, "seed", "additionalModelRequestFields", 0, 2**31 - 1, None),
        stops=check_stops(member(config, "stopSequences", list, "inferenceConfig", []), limits, "inferenceConfig.stopSequences"),
        schema=_schema(member(body, "outputConfig", dict, "", {}), tools, limits),
        cached=any("cachePoint" in block for block in _marked(body)),
        guarded=_guarded([item for _, item in spoken], body["messages"]),
    )


def _marked(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Every block that may be a cache point; what they are was checked before."""
    blocks = [*(body.get("system") or ()), *((body.get("toolConfig") or {}).get("tools") or ())]
    return [*blocks, *(block for message in body["messages"] for block in message["content"])]


def _schema(config: dict[str, Any], tools: list[dict[str, Any]], limits: Limits) -> dict[str, Any] | None:
    """The JSON schema that the answer must have; it comes as JSON inside a string."""
    text_format, where = member(config, "textFormat", dict, "outputConfig", {}), "outputConfig.textFormat"
    if not text_format:
        return None
    structure = member(member(text_format, "structure", dict, where), "jsonSchema", dict, f"{where}.structure")
    place = f"{where}.structure.jsonSchema.schema"
    text = member(structure, "schema", str, f"{where}.structure.jsonSchema")
    return schema_of(parse_json(text.encode(), limits), tools, place, limits)


def _guarded(system: Sequence[dict[str, Any]], messages: Sequence[dict[str, Any]]) -> tuple[str, ...] | None:
    """What stands in guardContent blocks; None where there are none, then everything is looked through."""
    blocks = [*system, *(block for message in messages for block in message["content"])]
    return tuple(block["guardContent"]["text"]["text"] for block in blocks if "guardContent" in block) or None


def guardrail_of(body: dict[str, Any]) -> tuple[str, str, bool] | None:
    """Identifier, version, and whether the answer carries a trace; None without a guardrail."""
    config = member(body, "guardrailConfig", dict, "", {})
    if not config:
        return None
    identifier = member(config, "guardrailIdentifier", str, "guardrailConfig")
    trace = member(config, "trace", str, "guardrailConfig", "disabled")
    return identifier, member(config, "guardrailVersion", str, "guardrailConfig"), trace != "disabled"


def _text(item: dict[str, Any], path: str) -> str | None:
    """A text-like block; None for a cache point."""
    if "guardContent" in item:
        guarded = member(item, "guardContent", dict, path)
        return str(member(member(guarded, "text", dict, f"{path}.guardContent"), "text", str, f"{path}.guardContent.text"))
    if "cachePoint" in item:
        return None
    return str(member(item, "text", str, path))


def _block(block: dict[str, Any], path: str) -> Block | None:
    """One content block; None where it says nothing to this model (cache points, earlier reasoning)."""
    if "text" in block and len(block) == 1:
        return _text(block, path)
    for kind in _NOT_TEXT:
        if kind in block:
            raise invalid(f"{path}.{kind}", f"this model reads text only; {kind} blocks are not supported.")
    if "toolUse" in block:
        use, where = member(block, "toolUse", dict, path), f"{path}.toolUse"
        name, arguments = member(use, "name", str, where), member(use, "input", dict, where)
        return Use(member(use, "toolUseId", str, where), name, arguments)
    if "toolResult" in block:
        return _result(member(block, "toolResult", dict, path), f"{path}.toolResult")
    if "reasoningContent" in block:
        return None
    return _text(block, path)


def _result(result: dict[str, Any], path: str) -> Result:
    pieces = []
    for place, item in objects(result, "content", path):
        if "json" in item:
            pieces.append(json.dumps(item["json"], ensure_ascii=False))
        elif "text" in item:
            pieces.append(member(item, "text", str, place))
        else:
            raise invalid(place, "this model reads tool results of text and json only.")
    if result.get("status") == "error":
        pieces.insert(0, "Error:")
    return Result(member(result, "toolUseId", str, path), "\n".join(pieces))


def _tools(config: dict[str, Any], limits: Limits) -> tuple[list[dict[str, Any]], Choice, str]:
    """Tools, how they may be used, and the name of the one that must be."""
    if not config:
        return [], "auto", ""
    tools = []
    for path, item in objects(config, "tools", "toolConfig"):
        if "cachePoint" in item:
            continue
        spec, where = member(item, "toolSpec", dict, path), f"{path}.toolSpec"
        schema = member(member(spec, "inputSchema", dict, where), "json", dict, f"{where}.inputSchema")
        description = member(spec, "description", str, where, "")
        tools.append(tool_of(member(spec, "name", str, where), description, schema, where, limits))
    if not tools:
        raise invalid("toolConfig.tools", "must hold at least one toolSpec.")
    choice = member(config, "toolChoice", dict, "toolConfig", {"auto": {}})
    if "tool" in choice:
        name = member(member(choice, "tool", dict, "toolConfig.toolChoice"), "name", str, "toolConfig.toolChoice.tool")
        if name not in [tool["function"]["name"] for tool in tools]:
            raise invalid("toolConfig.toolChoice.tool.name", "is not the name of a tool in toolConfig.tools.")
        return check_tools(tools, limits, "toolConfig.tools"), "tool", name
    if "any" not in choice and "auto" not in choice:
        raise invalid("toolConfig.toolChoice", "must be one of auto, any, tool.")
    return check_tools(tools, limits, "toolConfig.tools"), "any" if "any" in choice else "auto", ""


# --- answers ---------------------------------------------------------------------------------------------------------


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
    }


def _response_fields(body: dict[str, Any], end: End) -> dict[str, Any]:
    """`/stop_sequence` is the one extra field that this model has."""
    wanted = "/stop_sequence" in member(body, "additionalModelResponseFieldPaths", list, "", [])
    return {"additionalModelResponseFields": {"stop_sequence": end.stop}} if wanted else {}


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
            yield event("metadata", {"usage": usage_of(part), "metrics": {"latencyMs": latency_ms}, **trace})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return event("contentBlockDelta", {"delta": delta, "contentBlockIndex": self._index})

    def _close(self) -> Iterator[bytes]:
        if self._open:
            yield event("contentBlockStop", {"contentBlockIndex": self._index})
            self._index, self._open = self._index + 1, False
