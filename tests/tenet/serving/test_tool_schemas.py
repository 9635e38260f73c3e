"""Tool schemas as MCP servers and schema libraries write them: one odd keyword takes no request down, and what cannot
be meant is refused by the tool's name."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tenet.serving.clients.client import client
from tenet.serving.protocol.exceptions import ServiceError
from tenet.serving.protocol.tool_schemas import enforceable
from tenet.serving.server.server import LocalServer
from tests.tenet.serving.conftest import MODEL, messages_body, user

TEXT = {"type": "string"}
ODD: dict[str, dict[str, Any]] = {
    "a set": {"tags": {"type": "array", "items": TEXT, "uniqueItems": True}},
    "a dictionary": {"env": {"type": "object", "propertyNames": TEXT, "additionalProperties": TEXT}},
    "one of two": {"ref": {"oneOf": [TEXT, {"type": "string", "format": "uri"}]}},
    "not": {"name": {"type": "string", "not": {"enum": ["root"]}}},
    "a format of OpenAPI": {"secret": {"type": "string", "format": "password"}},
    "a lookahead": {"name": {"type": "string", "pattern": "^(?!-)[a-z0-9-]{1,63}$"}},
}
ROOT: dict[str, dict[str, Any]] = {
    "oneOf": {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    "if": {"if": {"properties": {"a": {"const": "x"}}}, "then": {"required": ["b"]}},
    "dependentRequired": {"dependentRequired": {"a": ["b"]}},
}


def tool(schema: dict[str, Any], name: str = "odd") -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "description": "", "parameters": schema}}


def kept(schema: dict[str, Any], *strict: str) -> dict[str, Any]:
    [made] = enforceable([tool(schema)], strict)
    return dict(made["function"]["parameters"])


@pytest.mark.parametrize("name", ODD)
def test_the_odd_member_is_open_and_its_neighbour_is_held(name: str) -> None:
    schema = {"type": "object", "properties": {**ODD[name], "count": {"type": "integer"}}, "required": ["count"]}
    made = kept(schema)
    assert made["properties"]["count"] == {"type": "integer"} and made["required"] == ["count"]
    assert made["properties"][next(iter(ODD[name]))] == {}
    with pytest.raises(ServiceError, match="'odd' cannot be enforced, and the tool is strict"):
        kept(schema, "odd")


@pytest.mark.parametrize("name", ROOT)
def test_what_stands_beside_the_members_is_left_out(name: str) -> None:
    members = {"a": TEXT, "b": {"type": "integer"}}
    assert kept({"type": "object", "properties": members, **ROOT[name]}) == {"type": "object", "properties": members}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"data": True, "id": TEXT}, "additionalProperties": False},
        {"type": "object", "properties": {"type": {"type": "string", "enum": ["strng"]}}},
        {"type": "object", "properties": {"n": {"$ref": "#/$defs/N"}}, "$defs": {"N": {"type": "object"}}},
        {"type": "object", "properties": {"a": {"const": {"type": "strng"}}}},
    ],
)
def test_what_can_be_enforced_stays_as_it_is(schema: dict[str, Any]) -> None:
    assert kept(schema) == schema


def test_what_cannot_be_meant_is_refused_by_the_tools_name() -> None:
    for schema in (
        TEXT,
        {"type": "object", "properties": {"a": {"type": "strng"}}},
        {"type": "object", "items": [{"type": ["x"]}]},
    ):
        with pytest.raises(ServiceError, match="'odd'") as caught:
            kept(schema)
        assert caught.value.code == "ValidationException"


def test_much_that_is_odd_costs_little() -> None:
    start = time.perf_counter()
    many = {f"m{i}": {"type": "string", "not": {"const": str(i)}} for i in range(500)}
    assert kept({"type": "object", "properties": many}) == {"type": "object"}
    assert time.perf_counter() - start < 5


def test_patterns_that_are_too_many_together(server: LocalServer) -> None:
    patterned = {"type": "object", "properties": {"a": {"anyOf": [{"type": "string", "pattern": f"^{i}$"} for i in range(5)]}}}
    first, second = enforceable([tool(patterned, "one"), tool(patterned, "two")])
    assert first["function"]["parameters"] == second["function"]["parameters"] == {"type": "object"}


def test_a_request_with_odd_tools_is_answered(server: LocalServer) -> None:
    boto = client(server.endpoint, server.keys)

    def ask(schema: dict[str, Any], **spec: Any) -> str:
        tools = [{"toolSpec": {"name": f"t{i}", "inputSchema": {"json": one}, **spec}} for i, one in enumerate([{}, schema])]
        return str(boto.converse(modelId=MODEL, messages=user("hi"), toolConfig={"tools": tools})["stopReason"])

    odd = {"type": "object", "properties": ODD["not"]}
    assert ask(odd) == "end_turn"
    with pytest.raises(boto.exceptions.ValidationException, match="'t1'"):
        ask(odd, strict=True)
    with pytest.raises(boto.exceptions.ValidationException, match="'t1' has the type 'string'"):
        ask(TEXT)


def test_a_strict_tool_of_a_messages_body(server: LocalServer) -> None:
    boto = client(server.endpoint, server.keys)
    odd = {"name": "odd", "input_schema": {"type": "object", "properties": ODD["not"]}}
    assert boto.invoke_model(modelId=MODEL, body=messages_body("hi", tools=[odd]))["ResponseMetadata"]["HTTPStatusCode"] == 200
    with pytest.raises(boto.exceptions.ValidationException, match="'odd' cannot be enforced"):
        boto.invoke_model(modelId=MODEL, body=messages_body("hi", tools=[{**odd, "strict": True}]))


def test_the_prompt_shows_the_whole_schema(server: LocalServer) -> None:
    boto = client(server.endpoint, server.keys)
    schema = {"type": "object", "properties": ODD["not"]}

    def tokens(one: dict[str, Any]) -> int:
        config = {"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": one}}}]}
        return int(
            boto.count_tokens(modelId=MODEL, input={"converse": {"messages": user("hi"), "toolConfig": config}})["inputTokens"]
        )

    assert tokens(schema) - tokens({}) == len(json.dumps(schema)) - len("{}")
