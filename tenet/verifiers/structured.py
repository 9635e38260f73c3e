"""Verifiers of structure: JSON of a schema, and a tool call with the values that were asked for.

{"kind": "json_schema", "schema": {"type": "object", "required": ["city"]}}
{"kind": "tool_call", "name": "find", "arguments": {"what": "lamp"}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tenet.verifiers.verifier import Calls, Row, Verdict, options

#: Weights of the parts of a tool call's score; together 1. The parts that are not all or nothing are what a weak policy
#: can climb: without them a group of failures all score 0 and teach nothing.
PARTS = {"formed": 0.1, "tool": 0.2, "names": 0.2, "values": 0.2, "verified": 0.3}


class JsonSchema:
    """The whole text is JSON of a schema.

    Spec: `schema`. Parts: json (it can be parsed), valid.
    """

    def read(self, spec: Row, row: Row, folder: Path | None) -> Row:
        options(spec, {"schema": dict})
        if "schema" not in spec:
            raise ValueError("json_schema: key `schema` is missing")
        _check_schema(spec["schema"], "json_schema: schema")
        return spec

    def verify(self, spec: Row, row: Row, text: str, calls: Calls) -> Verdict:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            return Verdict(0.0, {"json": 0.0, "valid": 0.0}, [f"not JSON ({error})"])
        errors = schema_errors(spec["schema"], value)
        return Verdict(float(not errors), {"json": 1.0, "valid": float(not errors)}, errors)


class ToolCall:
    """One call of the right tool with the values that were asked for.

    Spec: `name`, `arguments`; or the row's `answer` with both. Parts: formed (one call, no words around it), tool (the
    right one), names and values (share of the arguments, those beyond what was asked counted against it), verified (the
    tool's schema accepts the arguments; without one: they are those asked for). A domain that knows better what a call
    accepts overrides `expected` and `invalid`.
    """

    def read(self, spec: Row, row: Row, folder: Path | None) -> Row:
        options(spec, {"name": str, "arguments": dict, "answer": dict})
        answer = spec.get("answer") or row.get("answer") or {}
        if "name" not in spec and isinstance(answer, dict):
            spec = {"kind": spec["kind"], "name": answer.get("name"), "arguments": answer.get("arguments", {})}
        if not isinstance(spec.get("name"), str) or not isinstance(spec.get("arguments", {}), dict):
            raise ValueError("tool_call: it needs `name` and `arguments` (an object), in the verifier or in the row's `answer`")
        offered = [_function(tool).get("name") for tool in row.get("tools") or ()]
        if offered and spec["name"] not in offered:
            raise ValueError(f"tool_call: {spec['name']!r} is not among the row's tools ({', '.join(map(str, offered))})")
        if schema := _parameters(row, spec["name"]):
            _check_schema(schema, f"tool_call: parameters of {spec['name']}")
        return {**spec, "arguments": spec.get("arguments", {})}

    def expected(self, spec: Row, row: Row) -> tuple[str, Row]:
        """Name and arguments that are right."""
        return spec["name"], spec["arguments"]

    def invalid(self, spec: Row, row: Row, arguments: Row) -> list[str]:
        """Why the tool would not accept these arguments, whatever was asked for."""
        name, expected = self.expected(spec, row)
        schema = _parameters(row, name)
        return schema_errors(schema, arguments) if schema else differences(expected, arguments)

    def verify(self, spec: Row, row: Row, text: str, calls: Calls) -> Verdict:
        parts = {"formed": float(len(calls) == 1 and not text), "tool": 0.0, "names": 0.0, "values": 0.0, "verified": 0.0}
        if len(calls) != 1:
            return _paid(parts, [f"{len(calls)} tool calls that can be read, not one"])
        name, expected = self.expected(spec, row)
        given = calls[0]["arguments"]
        both = max(1, len({*expected, *given}))
        parts["tool"] = float(calls[0]["name"] == name)
        parts["names"] = len(expected.keys() & given.keys()) / both
        parts["values"] = sum(same(given, key, value) for key, value in expected.items()) / both
        errors = [] if parts["tool"] else [f"called {calls[0]['name']}, not {name}"]
        errors += ["words beside the call"] if text else []
        if parts["tool"] and parts["formed"]:
            invalid = self.invalid(spec, row, given)
            parts["verified"] = float(not invalid)
            errors += invalid
        return _paid(parts, list(dict.fromkeys(errors + differences(expected, given))))


def _paid(parts: dict[str, float], errors: list[str]) -> Verdict:
    return Verdict(sum(weight * parts[name] for name, weight in PARTS.items()), parts, errors)


def same(arguments: Mapping[str, Any], key: str, wanted: Any) -> bool:
    """Is the value there, and of the type that was asked for? 1 is not true, and not "1"."""
    return arguments.get(key) == wanted and type(arguments.get(key)) is type(wanted)


def differences(expected: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[str]:
    """How arguments differ from those asked for, in words."""
    missing = [f"{name}: not given, {value!r} was asked for" for name, value in expected.items() if name not in arguments]
    wrong = [
        f"{name}: is {arguments[name]!r}, {value!r} was asked for"
        for name, value in expected.items()
        if name in arguments and not same(arguments, name, value)
    ]
    return missing + wrong + [f"{name}: was not asked for" for name in arguments if name not in expected]


def schema_errors(schema: Row, value: Any) -> list[str]:
    """Where a value breaks a schema, each with its place."""
    from jsonschema.validators import validator_for

    found = validator_for(schema)(schema).iter_errors(value)
    return [f"{'.'.join(map(str, error.absolute_path)) or 'the value'}: {error.message}" for error in found]


def _check_schema(schema: Row, where: str) -> None:
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    try:
        validator_for(schema).check_schema(schema)
    except SchemaError as error:
        raise ValueError(f"{where} is no JSON schema ({error.message})") from None


def _function(tool: Row) -> Row:
    function: Row = tool.get("function", tool)
    return function


def _parameters(row: Row, name: str) -> Row:
    """The schema of a tool's arguments, where the row offers the tool and says it."""
    found = next((_function(tool) for tool in row.get("tools") or () if _function(tool).get("name") == name), {})
    schema: Row = found.get("parameters") or {}
    return schema
