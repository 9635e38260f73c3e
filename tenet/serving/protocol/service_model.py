"""Bodies, headers and queries checked against Amazon's own service model, the one that botocore ships.

What a member may be (required, length, range, enumeration, pattern, one member of a union) stands in that model for each
operation. It is compiled once (`shape_checks.py`); a request then costs some microseconds.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from tenet.serving.protocol.exceptions import invalid
from tenet.serving.protocol.shape_checks import Check, Checks, Wrong, structure

RUNTIME, CONTROL = "bedrock-runtime", "bedrock"


def check_body(service: str, operation: str, body: dict[str, Any]) -> None:
    """The body is what the operation's input shape says. Members that are null count as absent and are taken out.

    Raises:
        ServiceError: ValidationException that names the member by its path.
    """
    _run(_body_check(service, operation), body)


def check_headers(operation: str, headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Those headers of a Bedrock Runtime request that its input shape knows, by the names of their members.

    Args:
        headers: as ASGI has them, names in small letters.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    names, check = _header_check(operation)
    found = {names[name]: value.decode("latin-1") for name, value in headers if name in names}
    _run(check, found)
    return found


def read_query(operation: str, query: str) -> dict[str, Any]:
    """The query string of an operation of the control plane, numbers and times as what they are.

    Raises:
        ServiceError: ValidationException that names the parameter.
    """
    kinds = {name: shape["type"] for name, shape in _query_shapes(operation).items()}
    given: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        given[name] = int(text) if kinds.get(name) == "integer" and text.isascii() and text.isdigit() and len(text) < 10 else text
    checks = _placed(CONTROL, operation, "querystring")
    _run(structure({name: check for name, (_, check) in checks.items()}, ()), given)
    for name, kind in kinds.items():
        if kind == "timestamp" and name in given:
            given[name] = _time(given[name], name)
    return given


def has_operation(service: str, operation: str) -> bool:
    """Whether the installed model knows an operation."""
    return operation in _model(service)["operations"]


def prepare() -> None:
    """Read and compile what requests to a model need, so that the first of them does not wait for it."""
    for operation in ("Converse", "ConverseStream", "CountTokens"):
        _body_check(RUNTIME, operation)
    for operation in ("InvokeModel", "InvokeModelWithResponseStream"):
        _header_check(operation)


def _run(check: Check, value: Any) -> None:
    try:
        check(value)
    except Wrong as wrong:
        raise invalid(".".join(map(str, wrong.steps)), wrong.problem) from None


def _time(text: str, name: str) -> float:
    """Seconds since 1970 of ISO 8601."""
    try:
        parsed = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise invalid(name, f"is {text[:40]!r}; it must look like 2026-01-31T12:00:00Z.") from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=datetime.UTC)).timestamp()


# --- from the model to functions -------------------------------------------------------------------------------------


@functools.cache
def _model(service: str) -> dict[str, Any]:
    """Shapes and operations without their documentation, which is most of the model's weight."""
    from botocore.loaders import Loader

    whole = Loader().load_service_model(service, "service-2")
    for shape in whole["shapes"].values():
        shape.pop("documentation", None)
        for member in shape.get("members", {}).values():
            member.pop("documentation", None)
    return {"shapes": whole["shapes"], "operations": {name: one.get("input") for name, one in whole["operations"].items()}}


@functools.cache
def _checks(service: str) -> Checks:
    return Checks(_model(service)["shapes"])


def _input(service: str, operation: str) -> dict[str, Any]:
    model = _model(service)
    shape: dict[str, Any] = model["shapes"][model["operations"][operation]["shape"]]
    return shape


@functools.cache
def _body_check(service: str, operation: str) -> Check:
    shape = _input(service, operation)
    inside = {name: member for name, member in shape["members"].items() if "location" not in member}
    required = [name for name in shape.get("required", ()) if name in inside]
    return structure({name: _checks(service).of(member["shape"]) for name, member in inside.items()}, required)


@functools.cache
def _placed(service: str, operation: str, place: str) -> dict[str, tuple[str, Check]]:
    """Name on the wire -> (member, its check), of the members that stand in headers or in the query."""
    members = _input(service, operation)["members"].items()
    return {
        member["locationName"]: (name, _checks(service).of(member["shape"]))
        for name, member in members
        if member.get("location") == place
    }


@functools.cache
def _header_check(operation: str) -> tuple[dict[bytes, str], Check]:
    placed = _placed(RUNTIME, operation, "header")
    names = {name.lower().encode(): member for name, (member, _) in placed.items()}
    return names, structure(dict(placed.values()), ())


@functools.cache
def _query_shapes(operation: str) -> dict[str, dict[str, Any]]:
    shapes, members = _model(CONTROL)["shapes"], _input(CONTROL, operation)["members"].values()
    return {one["locationName"]: shapes[one["shape"]] for one in members if one.get("location") == "querystring"}
