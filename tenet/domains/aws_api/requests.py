"""Operations as tools, and requests whose answer botocore's own validator can judge.

A prompt names the operation and the values to use; the schema says how the parameters are called. So the right call can
be worked out from the prompt alone, for a service that was never seen in training too.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tenet.domains.aws_api import phrases
from tenet.domains.aws_api.facts import PARAMETERS, Row, by_service, order_key, provenance
from tenet.domains.aws_api.pages import example_value
from tenet.domains.aws_api.service_models import SCALARS, Operation, Parameter
from tenet.domains.aws_api.validator import verify_request

_JSON_TYPES = {
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "boolean": "boolean",
    "string": "string",
}


def callable_with_words(operation: Operation) -> bool:
    """True where a request can be put into words: 1 to `PARAMETERS` required parameters, scalars or lists of strings,
    short."""

    def simple(parameter: Parameter) -> bool:
        scalar = parameter.type in SCALARS or (parameter.type == "list" and parameter.item == "string")
        return (
            scalar
            and not (parameter.type == "string" and (parameter.low or 0) > 12)
            and max(map(len, parameter.enum), default=0) <= 24
        )

    return 1 <= len(operation.required) <= PARAMETERS and all(map(simple, operation.required))


def tool_schema(operation: Operation) -> Row:
    """The operation as a tool: names and types of its required parameters, nothing else."""
    properties = {
        p.name: {"type": "array", "items": {"type": "string"}} if p.type == "list" else {"type": _JSON_TYPES[p.type]}
        for p in operation.required
    }
    parameters = {"type": "object", "properties": properties, "required": [p.name for p in operation.required]}
    return {"type": "function", "function": {"name": operation.name, "parameters": parameters}}


def in_words(arguments: dict[str, Any]) -> str:
    """`{"TableName": "orders"}` as `table name "orders"`."""
    from botocore import xform_name

    def words(value: Any) -> str:
        if isinstance(value, list):
            return " and ".join(words(item) for item in value)
        # Double quotes, as in the JSON to come: a byte-level tokenizer reads 's at the start of 'sales' as one piece.
        return f'"{value}"' if isinstance(value, str) else str(value).lower()

    parts = [f"{xform_name(name, ' ')} {words(value)}" for name, value in arguments.items()]
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def tool_request(
    operation: Operation, siblings: Sequence[Operation], pick: random.Random
) -> tuple[str, list[Row], dict[str, Any]]:
    """A question in words, the tools that may be used, and the arguments that are right."""
    arguments = {p.name: example_value(p, pick) for p in operation.required}
    tools = [tool_schema(operation)]
    others = [other for other in siblings if other.name != operation.name]
    if others and pick.random() < 0.4:
        tools.insert(pick.randint(0, 1), tool_schema(pick.choice(others)))
    return pick.choice(phrases.CALL).format(operation=operation.name, values=in_words(arguments)), tools, arguments


def request_rows(operations: Sequence[Operation], seed: int, most: int | None = None) -> list[Row]:
    """Prompts whose answer botocore's validator can judge, with the arguments that were asked for."""
    usable = [operation for operation in operations if callable_with_words(operation)]
    siblings = by_service(usable)
    rows: list[Row] = []
    for operation in sorted(usable, key=lambda o: order_key(seed, f"request {o.id}")):
        if len(rows) == most:
            break
        pick = random.Random(f"{seed} request {operation.id}")
        question, tools, arguments = tool_request(operation, siblings[operation.service], pick)
        # A row that its own verifier refuses would teach the model that nothing is right.
        if not verify_request(operation.service, operation.name, arguments, arguments):
            rows.append(_request(operation, question, tools, arguments))
    return rows


def _request(operation: Operation, question: str, tools: list[Row], arguments: dict[str, Any]) -> Row:
    return {
        "prompt": [{"role": "user", "content": question}],
        "tools": tools,
        "verifier": "aws_request",
        "operation": operation.name,
        "expected": arguments,
        "kind": "request",
        "id": f"request/{operation.id}",
        **provenance(operation),
    }
