"""Anthropic Messages bodies to an `Ask`.

They come by two routes. InvokeModel has the model and whether to stream in the URL and `anthropic_version` in the body
(any text will do: clients change it); `/anthropic/v1/messages` has the first two in the body and the version in a
header.
"""

from __future__ import annotations

from typing import Any

from tenet.serving.protocol.chat_request import Ask, Choice, GuardrailTrace, GuardrailWish, member, number, objects
from tenet.serving.protocol.exceptions import invalid
from tenet.serving.protocol.limits import Limits
from tenet.serving.protocol.turns import (
    Block,
    Result,
    Turn,
    Use,
    check_stops,
    check_tools,
    format_of,
    messages_of,
    role_of,
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
        schema=format_of(member(body, "output_config", dict, "", {}), tools, "output_config", limits),
        cached=any("cache_control" in block for block in _marked(body)),
        strict=tuple(tool["name"] for tool in body.get("tools") or () if tool.get("strict") is True),
    )


def guardrail_of(asked: dict[str, str], body: dict[str, Any]) -> GuardrailWish | None:
    """The guardrail of an InvokeModel request; None without one.

    Args:
        asked: its headers, by the names of the service model's members.
        body: may hold `amazon-bedrock-guardrailConfig`.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    identifier, version = asked.get("guardrailIdentifier"), asked.get("guardrailVersion")
    config = member(body, "amazon-bedrock-guardrailConfig", dict, "", {})
    if not identifier and not version and not config:
        return None
    for name, value in (("guardrailIdentifier", identifier), ("guardrailVersion", version)):
        if not value:
            raise invalid(name, "this member is required where a guardrail is asked for.")
    if config.get("tagSuffix") is not None:
        raise invalid("amazon-bedrock-guardrailConfig.tagSuffix", "is not supported; all of the prompt is looked through.")
    mode = member(config, "streamProcessingMode", str, "amazon-bedrock-guardrailConfig", "SYNCHRONOUS")
    if mode not in ("SYNCHRONOUS", "ASYNCHRONOUS"):
        raise invalid("amazon-bedrock-guardrailConfig.streamProcessingMode", "must be SYNCHRONOUS or ASYNCHRONOUS.")
    trace: GuardrailTrace = asked.get("trace", "DISABLED").lower()  # type: ignore[assignment]
    return GuardrailWish(str(identifier), str(version), trace, mode == "ASYNCHRONOUS")


def _marked(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Every block that may carry a cache mark; what they are was checked before."""
    lists = [body.get("system"), body.get("tools"), *(message["content"] for message in body["messages"])]
    return [block for blocks in lists if isinstance(blocks, list) for block in blocks]


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
