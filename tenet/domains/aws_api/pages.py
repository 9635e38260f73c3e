"""One operation of the AWS API as one page of text, with an example request.

    # DeleteTable (Amazon DynamoDB)

    The DeleteTable operation deletes a table and all of its items. ...

    Parameters:
    - TableName (string, required): The name of the table to delete.

    Request: {"TableName": "orders"}
    CLI: aws dynamodb delete-table --table-name orders

The example values are drawn from a short list, the same ones for an operation every time, and stand in both of the last
lines: copying a value from one place to another is what a model must have seen before it can call a tool.
"""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Iterator
from typing import Any

from tenet.domains.aws_api.service_models import SCALARS, Operation, Parameter, operations

#: Longest page in characters; what does not fit is cut from the end of the parameter list.
PAGE = 1500
#: Values for examples: short, common words, cheap in any vocabulary.
WORDS = (
    "orders", "reports", "alpha", "backup", "billing", "blue", "cache", "center", "client", "daily", "data", "delta", "demo",
    "east", "events", "first", "green", "images", "index", "invoice", "logs", "main", "mobile", "north", "photos", "prod",
    "public", "red", "sales", "second", "sensor", "shared", "south", "staging", "store", "team", "test", "travel", "users",
    "web", "west", "white",
)  # fmt: skip


def example_value(parameter: Parameter, pick: random.Random) -> Any:
    """A plausible value of a scalar parameter or of a list of scalars; None for structures, maps, blobs and timestamps.

    Args:
        parameter: what to fill.
        pick: a `random.Random`; the same state gives the same value.
    """
    if parameter.type == "list":
        return [_scalar("string", parameter, pick)] if parameter.item == "string" else None
    return _scalar(parameter.type, parameter, pick) if parameter.type in SCALARS else None


def _scalar(kind: str, parameter: Parameter, pick: random.Random) -> Any:
    if parameter.enum:
        return pick.choice(parameter.enum)
    if kind == "boolean":
        return pick.random() < 0.5
    if kind != "string":
        low = max(int(parameter.low or 1), 1)
        high = int(min(parameter.high or 99, low + 98))
        return pick.randint(low, max(low, high)) if kind in ("integer", "long") else float(pick.randint(low, max(low, high)))
    text = pick.choice(WORDS)
    if parameter.name.endswith(("Id", "Identifier", "id")):
        text = f"{text}-{pick.randint(10, 99)}"
    elif pick.random() < 0.5:
        text = f"{text}-{pick.choice(WORDS)}"
    short = int(parameter.low or 0) - len(text) if parameter.type == "string" else 0
    return text + "".join(str(pick.randint(0, 9)) for _ in range(max(short, 0)))


def request_of(operation: Operation, pick: random.Random) -> dict[str, Any]:
    """Example values for the required parameters that are scalars or lists of strings."""
    values = {parameter.name: example_value(parameter, pick) for parameter in operation.required}
    return {name: value for name, value in values.items() if value is not None}


def cli_of(operation: Operation, request: dict[str, Any]) -> str:
    """The command line for a request."""
    from botocore import xform_name

    parts = ["aws", operation.cli_service, operation.cli_command]
    for name, value in request.items():
        option = "--" + xform_name(name, "-")
        if isinstance(value, bool):
            parts.append(option if value else option.replace("--", "--no-", 1))
        else:
            parts += [option, " ".join(value) if isinstance(value, list) else str(value)]
    return " ".join(parts)


def page(operation: Operation, pick: random.Random) -> str:
    """One operation as a document of at most about `PAGE` characters."""
    request = request_of(operation, pick)
    tail = f"Request: {json.dumps(request, ensure_ascii=False)}\nCLI: {cli_of(operation, request)}\n"
    tail = tail if len(tail) <= PAGE // 2 else ""  # half a request would teach that required parameters can be left out
    head = f"# {operation.name} ({operation.service_title})\n\n{operation.description or operation.sentence}\n\n"
    return head + _parameter_list(operation.parameters, PAGE - len(head) - len(tail)) + tail


def _parameter_list(parameters: tuple[Parameter, ...], room: int) -> str:
    lines, used = [], len("Parameters:\n\n")
    for parameter in parameters:
        kind = f"list of {parameter.item}s" if parameter.item else parameter.type
        line = f"- {parameter.name} ({kind}{', required' if parameter.required else ''})"
        line += f": {parameter.doc}\n" if parameter.doc else "\n"
        if used + len(line) > room:
            break
        lines.append(line)
        used += len(line)
    return "Parameters:\n" + "".join(lines) + "\n" if lines else ""


def pages(only: Collection[str] | None = None) -> Iterator[tuple[Operation, str]]:
    """Every operation with its page; example values depend on the operation's id alone."""
    for operation in operations(only):
        yield operation, page(operation, random.Random(operation.id))
