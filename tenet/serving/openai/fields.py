"""Members of OpenAI's bodies that its APIs share: which are read, what a value that is not supported is told, tools and
schemas.

Nothing is passed over in silence: a member is read, or has a value that asks for nothing, or is refused by its name.
`IGNORED` are those that change no answer at OpenAI either.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from tenet.serving.engines.scored import ScoredAsk
from tenet.serving.protocol.chat_request import Ask, Choice, Message, member, number, objects
from tenet.serving.protocol.exceptions import ServiceError, invalid
from tenet.serving.protocol.limits import Limits
from tenet.serving.protocol.turns import Turn, check_tools, messages_of, schema_of, tool_of

#: Who asks, and how it is billed, cached or padded: no word of an answer depends on them.
IGNORED = (
    "user",
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
)
#: Bedrock's own member of any body; the guardrail that it belongs to is named in headers.
GUARDRAIL = "amazon-bedrock-guardrailConfig"
#: Member -> values that ask for nothing; null and an empty value never do.
NOTHING: dict[str, tuple[Any, ...]] = {
    "store": (False,),
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "modalities": (["text"],),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "background": (False,),
    "truncation": ("disabled",),
}  # fmt: skip
#: The largest seed that every engine takes.
_SEED = 2**63 - 1


def refuse_others(body: dict[str, Any], known: Collection[str]) -> None:
    """Every member is known, changes nothing, or asks for nothing.

    Raises:
        ServiceError: ValidationException that names the first other one.
    """
    for name, value in body.items():
        if name in known or name in IGNORED or value is None or value in ([], {}):
            continue
        allowed = NOTHING.get(name)
        if allowed is None:
            raise invalid(name, "is not supported by this endpoint; leave it out.")
        if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed):
            raise invalid(name, f"only {' or '.join(json.dumps(one) for one in allowed)} is supported by this endpoint.")


def sampling_of(body: dict[str, Any]) -> dict[str, Any]:
    """Arguments of an `Ask`: how tokens are drawn. `top_k`, and `seed` in Responses, are additions of ours."""
    return {
        "temperature": number(body, "temperature", "", 0.0, 2.0, 0.0),
        "top_p": max(number(body, "top_p", "", 0.0, 1.0, 1.0), 1e-6),
        "top_k": number(body, "top_k", "", 0, 2**31 - 1, 0),
        "seed": number(body, "seed", "", 0, _SEED, None),
    }


def text_of(item: dict[str, Any], key: str, path: str, kinds: Collection[str]) -> list[str]:
    """A string, or an array of parts of text.

    Args:
        kinds: types of parts that are text; the text of a `refusal` stands in a member of that name.

    Raises:
        ServiceError: ValidationException that names the part.
    """
    if isinstance(item.get(key), str):
        return [item[key]]
    texts = []
    for place, part in objects(item, key, path):
        kind = member(part, "type", str, place)
        if kind not in kinds:
            raise invalid(f"{place}.type", f"this model reads text only; use parts of type {' or '.join(kinds)}.")
        texts.append(str(member(part, "refusal" if kind == "refusal" else "text", str, place)))
    if not texts:
        raise invalid(f"{path}.{key}", "must not be empty.")
    return texts


def conversation_of(turns: Sequence[Turn], system: Sequence[str], where: str) -> tuple[list[Message], str]:
    """Messages of the chat template, and the text of a final assistant turn.

    Raises:
        ServiceError: ValidationException; `where` is the member that holds the conversation.
    """
    if next((turn.role for turn in turns if turn.role != "system"), "") != "user":
        raise invalid(where, "a conversation must start with a user message.")
    return messages_of(turns, "\n".join(system), has_tools=True)


def arguments_of(holder: dict[str, Any], path: str) -> dict[str, Any]:
    """The arguments of an earlier call: JSON of an object, as text.

    Raises:
        ServiceError: ValidationException.
    """
    text = member(holder, "arguments", str, path)
    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise invalid(f"{path}.arguments", "must be a JSON object, as a string.")
    return value


def functions_of(items: Sequence[tuple[str, dict[str, Any]]], limits: Limits) -> tuple[list[Message], tuple[str, ...]]:
    """Tools as chat templates take them, and the names of those that are strict.

    Args:
        items: path and object of each function: name, description, parameters, strict.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    tools, strict = [], []
    for path, function in items:
        name = member(function, "name", str, path)
        schema = member(function, "parameters", dict, path, {"type": "object", "properties": {}})
        tools.append(tool_of(name, member(function, "description", str, path, ""), schema, path, limits))
        if member(function, "strict", bool, path, False):
            strict.append(name)
    return check_tools(tools, limits, "tools"), tuple(strict)


def choice_of(value: Any, name: str | None, tools: Sequence[Message]) -> tuple[Choice, str]:
    """How tools may be used, and the one that must be.

    Args:
        value: `tool_choice`.
        name: of the function, where it names one.

    Raises:
        ServiceError: ValidationException.
    """
    words: dict[str, Choice] = {"auto": "auto", "none": "none", "required": "any"}
    if value is None:
        return "auto", ""
    if isinstance(value, str) and value in words:
        if value == "required" and not tools:
            raise invalid("tool_choice", "needs tools to choose from.")
        return words[value], ""
    if name is None:
        raise invalid("tool_choice", "must be auto, none, required, or an object of type function that names one.")
    if name not in [tool["function"]["name"] for tool in tools]:
        raise invalid("tool_choice", f"{name!r} is not the name of a tool in tools.")
    return "tool", name


def format_of(wanted: dict[str, Any], shape: dict[str, Any], where: str, limits: Limits) -> dict[str, Any] | None:
    """The JSON schema that the answer must have; None leaves it free.

    Args:
        wanted: the format, with its `type`.
        shape: what holds `schema`, where the type is json_schema.
        where: path of `wanted`.

    Raises:
        ServiceError: ValidationException.
    """
    kind = member(wanted, "type", str, where, "text")
    if kind == "text":
        return None
    if kind == "json_object":
        return schema_of({"type": "object"}, (), where, limits)
    if kind != "json_schema":
        raise invalid(f"{where}.type", "must be text, json_object or json_schema.")
    return schema_of(member(shape, "schema", dict, where), (), where, limits)


def candidates_of(body: dict[str, Any], wanted: bool, switch: str) -> int:
    """`top_logprobs`, which needs log-probabilities to be asked for.

    Raises:
        ServiceError: ValidationException.
    """
    count: int = number(body, "top_logprobs", "", 0, 20, 0)
    if count and not wanted:
        raise invalid("top_logprobs", f"needs {switch}.")
    return count


def refuse_guarded(ask: Ask, body: dict[str, Any]) -> None:
    """Log-probabilities of words that a guardrail may change would be those of other words.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    if isinstance(ask, ScoredAsk) and ask.scored:
        name = next(
            name for name in ("return_logprobs", "logprobs", "prompt_logprobs", "echo") if body.get(name) not in (None, False)
        )
        raise invalid(name, "cannot be had behind a guardrail, which may change the words that the tokens belong to.")


def unanswered(ids: Sequence[str], answered: Sequence[str], path: str) -> ServiceError | None:
    """What is wrong between an assistant's calls and the results behind them."""
    missing = [one for one in ids if one not in answered]
    extra = [one for one in answered if one not in ids]
    if missing:
        return invalid(path, f"each tool call needs a result right behind it; there is none for {', '.join(missing)}.")
    return (
        invalid(path, f"results must follow the calls they answer; no call before has the id {', '.join(extra)}.")
        if extra
        else None
    )
