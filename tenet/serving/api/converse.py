"""Converse and ConverseStream: their JSON to an `Ask`.

Whatever the Bedrock Runtime service model says of a member is checked from that model (`service_model.py`); here stands
what it does not say. What would change the answer and is not there (images) is refused by name; what only tunes
Amazon's side (cache points, service tiers, request metadata) is accepted and has no effect.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from tenet.serving.api.guarding.apply import is_guarded
from tenet.serving.protocol.chat_request import Ask, Choice, GuardrailWish, member, number
from tenet.serving.protocol.exceptions import invalid
from tenet.serving.protocol.limits import Limits, parse_json
from tenet.serving.protocol.service_model import RUNTIME, check_body
from tenet.serving.protocol.turns import (
    Block,
    Result,
    Turn,
    Use,
    check_stops,
    check_tools,
    format_of,
    messages_of,
    schema_of,
    tool_of,
)

_EXTRA = "additionalModelRequestFields"
#: RFC 6901, but for the empty one, which would be the whole answer.
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)+\Z")


def decode(body: dict[str, Any], limits: Limits, operation: str = "Converse") -> Ask:
    """A Converse body; members that are null are taken out of it.

    Args:
        operation: Converse or ConverseStream, whose guardrails know one member more.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    beside = _beside_the_model(body)
    check_body(RUNTIME, operation, body)
    _no_support(body)
    turns = [
        Turn(item["role"], _blocks(item["content"], f"messages.{i}", item["role"]))
        for i, item in enumerate(body.get("messages", ()))
    ]
    tools, choice, name, strict = _tools(body.get("toolConfig", {}), limits)
    spoken = body.get("system", [])
    texts = (_text(kind, value, f"system.{i}") for i, (kind, value) in enumerate(_members(spoken)) if kind != "cachePoint")
    messages, prefill = messages_of(turns, "\n".join(texts), bool(tools))
    if prefill and choice in ("any", "tool"):
        raise invalid("toolConfig.toolChoice", "a forced tool call cannot continue a final assistant message.")
    config, extra = body.get("inferenceConfig", {}), beside | _extra(body.get(_EXTRA, {}))
    return Ask(
        messages=messages,
        tools=tools,
        choice=choice,
        tool=name,
        prefill=prefill,
        max_tokens=config.get("maxTokens"),
        temperature=float(config.get("temperature", 0.0)),
        top_p=max(float(config.get("topP", 1.0)), 1e-6),
        top_k=extra.get("top_k", 0),
        seed=extra.get("seed"),
        stops=check_stops(config.get("stopSequences", []), limits, "inferenceConfig.stopSequences"),
        schema=_schema(body.get("outputConfig", {}), extra.get("output_config", {}), tools, limits),
        cached=any("cachePoint" in block for block in _marked(body)),
        guarded=_guarded([*spoken, *(block for message in body["messages"] for block in message["content"])]),
        strict=strict,
    )


def guardrail_of(body: dict[str, Any]) -> GuardrailWish | None:
    """The guardrail of a body that was decoded before; None without one.

    Raises:
        ServiceError: ValidationException, where only a half of its name is there.
    """
    config = member(body, "guardrailConfig", dict, "", {})
    if not config:
        return None
    identifier, version = (member(config, key, str, "guardrailConfig") for key in ("guardrailIdentifier", "guardrailVersion"))
    trace = config.get("trace", "disabled")
    return GuardrailWish(identifier, version, trace, config.get("streamProcessingMode") == "async")


def _no_support(body: dict[str, Any]) -> None:
    """Members of the whole request that this endpoint knows and does not have."""
    if body.get("promptVariables"):
        raise invalid("promptVariables", "is not supported by this endpoint; leave it out.")
    if body.get("outputConfig", {}).get("effort"):
        raise invalid("outputConfig.effort", "is not supported by this model, which does not reason; leave it out.")
    for i, path in enumerate(body.get("additionalModelResponseFieldPaths", ())):
        if not _POINTER.match(path):
            raise invalid(f"additionalModelResponseFieldPaths.{i}", "must be a JSON Pointer (RFC 6901), e.g. /stop_sequence.")


def _beside_the_model(body: dict[str, Any]) -> dict[str, Any]:
    """What Vercel's AI SDK sends beside the service model, taken out: `topK` is `top_k`; betas open nothing here."""
    body.pop("anthropicBeta", None)
    config = body.get("inferenceConfig")
    if not isinstance(config, dict) or "topK" not in config:
        return {}
    top_k = number(config, "topK", "inferenceConfig", 0, 2**31 - 1, 0)
    del config["topK"]
    return {"top_k": top_k}


def _extra(extra: Any) -> dict[str, Any]:
    """Fields beside Converse's own: those that this model has. Betas open nothing here; reasoning may be switched off."""
    if not isinstance(extra, dict):
        raise invalid(_EXTRA, "must be an object.")
    found: dict[str, Any] = {}
    for key, value in extra.items():
        if key in ("top_k", "seed"):
            found[key] = number(extra, key, _EXTRA, 0, 2**31 - 1, None)
        elif key == "output_config" and isinstance(value, dict) and set(value) == {"format"}:
            found[key] = value
        elif not (key == "anthropic_beta" or value is None or _is_off(key, value)):
            known = "this model takes top_k, seed and output_config.format."
            raise invalid(f"{_EXTRA}.{key[:64]}", f"extraneous key [{key[:64]}] is not permitted; {known}")
    return {key: value for key, value in found.items() if value is not None}


def _is_off(key: str, value: Any) -> bool:
    return key in ("thinking", "reasoning_config") and isinstance(value, dict) and value.get("type") == "disabled"


def _marked(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every block that may be a cache point."""
    yield from body.get("system", ())
    yield from body.get("toolConfig", {}).get("tools", ())
    for message in body["messages"]:
        yield from message["content"]


def _schema(
    config: dict[str, Any], anthropic: dict[str, Any], tools: list[dict[str, Any]], limits: Limits
) -> dict[str, Any] | None:
    """The JSON schema that the answer must have: JSON inside a string here, or as Anthropic's models take it."""
    if "textFormat" not in config:
        return format_of(anthropic, tools, f"{_EXTRA}.output_config", limits)
    text = config["textFormat"]["structure"]["jsonSchema"]["schema"]
    place = "outputConfig.textFormat.structure.jsonSchema.schema"
    return schema_of(parse_json(text.encode(), limits), tools, place, limits)


def _guarded(blocks: Sequence[dict[str, Any]]) -> tuple[str, ...] | None:
    """What stands in guardContent blocks; None where there are none, then everything is looked through."""
    marked = [block["guardContent"]["text"] for block in blocks if "guardContent" in block]
    return tuple(one["text"] for one in marked if is_guarded(one)) if marked else None


def _members(unions: Sequence[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The one member of each union."""
    for union in unions:
        yield from union.items()


# --- blocks ----------------------------------------------------------------------------------------------------------


def _blocks(content: list[dict[str, Any]], path: str, role: str) -> list[Block]:
    """The blocks of a turn; one of reasoning alone says nothing, and keeps its place."""
    found = [
        block
        for i, (kind, value) in enumerate(_members(content))
        if (block := _block(kind, value, f"{path}.content.{i}", role)) is not None
    ]
    return found if found or not any("reasoningContent" in block for block in content) else [""]


def _block(kind: str, value: Any, path: str, role: str) -> Block | None:
    """One content block; None where it says nothing to this model (cache points, earlier reasoning)."""
    if kind == "text" or kind == "guardContent":
        # An answer without words has an empty block here, and comes back in the history.
        return _text(kind, value, path, blank=role == "assistant")
    if kind == "toolUse":
        return _use(value, f"{path}.toolUse")
    if kind == "toolResult":
        return _result(value, f"{path}.toolResult")
    if kind in ("cachePoint", "reasoningContent"):
        return None
    raise invalid(f"{path}.{kind}", f"this model reads text only; {kind} blocks are not supported.")


def _text(kind: str, value: Any, path: str, blank: bool = False) -> str:
    """A text-like block."""
    text: str = value
    if kind == "guardContent":
        if "image" in value:
            raise invalid(f"{path}.guardContent.image", "this model reads text only.")
        text = value["text"]["text"]
    if not blank and not text.strip():
        raise invalid(
            f"{path}.text", "The text field in the ContentBlock object is blank. Add text to the text field, and try again."
        )
    return text


def _use(use: dict[str, Any], path: str) -> Use:
    if "type" in use:
        raise invalid(f"{path}.type", "this endpoint has no tools of its own; leave it out.")
    if not isinstance(use["input"], dict):
        raise invalid(f"{path}.input", "Provide a json object for the field and try again.")
    return Use(use["toolUseId"], use["name"], use["input"])


def _result(result: dict[str, Any], path: str) -> Result:
    if "type" in result:
        raise invalid(f"{path}.type", "this endpoint has no tools of its own; leave it out.")
    pieces = ["Error:"] if result.get("status") == "error" else []
    for i, (kind, value) in enumerate(_members(result["content"])):
        if kind not in ("json", "text"):
            raise invalid(f"{path}.content.{i}.{kind}", "this model reads tool results of text and json only.")
        pieces.append(value if kind == "text" else json.dumps(value, ensure_ascii=False))
    return Result(result["toolUseId"], "\n".join(pieces))


def _tools(config: dict[str, Any], limits: Limits) -> tuple[list[dict[str, Any]], Choice, str, tuple[str, ...]]:
    """Tools, how they may be used, the name of the one that must be, and the names of those that are strict."""
    tools, strict = [], []
    for i, (kind, spec) in enumerate(_members(config.get("tools", ()))):
        where = f"toolConfig.tools.{i}.{kind}"
        if kind == "systemTool":
            raise invalid(where, "this endpoint has no tools of its own; offer a toolSpec.")
        if kind == "toolSpec":
            schema = spec["inputSchema"]["json"]
            if not isinstance(schema, dict):
                raise invalid(f"{where}.inputSchema.json", "must be an object.")
            tools.append(tool_of(spec["name"], spec.get("description", ""), schema, where, limits))
            strict += [spec["name"]] if spec.get("strict") else []
    if config and not tools:
        raise invalid("toolConfig.tools", "must hold at least one toolSpec.")
    choice = config.get("toolChoice", {"auto": {}})
    name = choice.get("tool", {}).get("name", "")
    if name and name not in [tool["function"]["name"] for tool in tools]:
        raise invalid("toolConfig.toolChoice.tool.name", "is not the name of a tool in toolConfig.tools.")
    return check_tools(tools, limits, "toolConfig.tools"), next(iter(choice)), name, tuple(strict)
