"""What of a tool's schema can be enforced.

Tools come from everywhere (MCP servers, schema libraries), with keywords that no grammar knows. Only a tool that is
`strict` must be held to all of its schema or refused; of every other the part that can be enforced is kept, member by
member, and the rest is open. The prompt shows the whole schema either way.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Sequence
from typing import Any

from lightning_modules.generation import grammar
from tenet.serving.protocol.exceptions import invalid

Schema = dict[str, Any]
_OPEN: Schema = {"type": "object"}
_TYPES = {"array", "boolean", "integer", "null", "number", "object", "string"}
#: Keywords whose value is data, not a schema.
_DATA = ("const", "default", "enum", "example", "examples")
#: Members of odd schemas that are tried one by one in a request, some milliseconds each; what is beyond is left open.
_MOST_TRIES = 200
_JOINS = ("allOf", "anyOf", "oneOf", "$ref")


def enforceable(tools: Sequence[dict[str, Any]], strict: Collection[str] = ()) -> list[dict[str, Any]]:
    """The same tools with schemas that a grammar can hold answers to.

    Args:
        tools: OpenAI shaped function tools.
        strict: names of those that must be held to their whole schema.

    Raises:
        ServiceError: ValidationException that names the tool: its schema is no schema of an object, or it is strict and
            cannot be enforced.
    """
    taken, tries = [], _MOST_TRIES
    for tool in tools:
        function = tool["function"]
        schema = function["parameters"]
        text = json.dumps(schema)
        try:
            problem = _checked(text)
            if problem and function["name"] in strict:
                raise ValueError(f"cannot be enforced, and the tool is strict: {problem}.")
        except ValueError as error:
            raise invalid("tools", f"the input schema of tool {function['name']!r} {error}") from None
        if not problem:
            taken.append(tool)
            continue
        tries -= _tries(schema)
        kept = _opened(text) if tries >= 0 else _OPEN
        taken.append({**tool, "function": {**function, "parameters": kept}})
    return _affordable(taken, strict)


def _affordable(tools: list[dict[str, Any]], strict: Collection[str]) -> list[dict[str, Any]]:
    """What is fine alone can be too much together; then tools with patterns are left open."""
    text = json.dumps([tool["function"]["parameters"] for tool in tools])
    joins = any(f'"{word}"' in text for word in _JOINS)
    if len(text) < grammar.LONGEST and not (joins and text.count('"pattern"') > grammar.PATTERNS):
        return tools
    return [
        {**tool, "function": {**tool["function"], "parameters": _OPEN}}
        if tool["function"]["name"] not in strict and (joins or len(json.dumps(tool)) > grammar.LONGEST // len(tools))
        else tool
        for tool in tools
    ]


@functools.lru_cache(maxsize=512)
def _checked(text: str) -> str:
    """Why a schema cannot be compiled, empty where it can; a ValueError says what is wrong with it as a schema."""
    schema: Schema = json.loads(text)
    kind = schema.get("type", "object")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        raise ValueError(f"has the type {str(kind)[:40]!r}; it must be object.")
    if wrong := _unknown_type(schema):
        raise ValueError(f"has a type {wrong[:40]!r}; types are {', '.join(sorted(_TYPES))}.")
    return _problem(schema)


def _tries(schema: Schema) -> int:
    """Compilations that opening a schema takes."""
    properties = schema.get("properties")
    return len(properties) + 2 if isinstance(properties, dict) else 0


@functools.lru_cache(maxsize=512)
def _opened(text: str) -> Schema:
    """An object whose members are checked where that is possible."""
    schema: Schema = json.loads(text)
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return _OPEN
    shared: Schema = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    kept = {
        name: member if not _problem({**_OPEN, **shared, "properties": {name: member}}) else {}
        for name, member in properties.items()
    }
    beside: Schema = {key: schema[key] for key in ("required", "additionalProperties") if key in schema}
    opened = {**_OPEN, **shared, "properties": kept, **beside}
    return next((one for one in (opened, {**_OPEN, "properties": kept}) if not _problem(one)), _OPEN)


def _problem(schema: Schema) -> str:
    """Why a schema cannot be compiled; empty where it can. Bounded as in the engine, over bytes instead of its tokens."""
    from llguidance import LLMatcher

    matcher = LLMatcher(_bytes(), grammar.json_grammar(schema), log_level=0, limits=grammar.matcher_limits())
    return matcher.get_error().partition("\n")[0].rpartition("JSON schema: ")[2][:300] if matcher.is_error() else ""


@functools.cache
def _bytes() -> Any:
    from llguidance import LLTokenizer

    return LLTokenizer("byte")


def _unknown_type(schema: Any) -> str:
    """The first word under `type` that JSON schema does not know; empty where there is none."""
    if isinstance(schema, list):
        return next((found for one in schema if (found := _unknown_type(one))), "")
    if not isinstance(schema, dict):
        return ""
    named = schema.get("type")
    for word in named if isinstance(named, list) else [named]:
        if isinstance(word, str) and word not in _TYPES:
            return word
    return next((found for key, one in schema.items() if key not in _DATA and (found := _unknown_type(one))), "")
