"""Values made from the shapes of botocore's service models: right ones to draw, and each way to be wrong once."""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Iterator
from typing import Any

import regex
from botocore.loaders import Loader
from hypothesis import strategies as st

#: Shapes that the operator of the endpoint names himself; the model's pattern is not asked of them.
NAMED_HERE = ("GuardrailIdentifier", "GuardrailVersion")
#: Part of a pattern -> a short text that fits it, where a single digit does not.
EXAMPLES = {"s3://": "s3://abc", ":iam:": "arn:aws:iam::000000000000:role/any", "[0-9]{12}": "0" * 12}
#: Fits no pattern that forbids anything.
NEVER = "{\u00e9}"
Steps = tuple[str | int, ...]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.floats(-1e6, 1e6) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@functools.cache
def model(service: str) -> dict[str, Any]:
    """The service model that is installed."""
    loaded: dict[str, Any] = Loader().load_service_model(service, "service-2")
    return loaded


def body_shape(service: str, operation: str) -> dict[str, Any]:
    """The input of an operation, as far as it stands in the body."""
    whole = model(service)["shapes"][model(service)["operations"][operation]["input"]["shape"]]
    inside = {name: member for name, member in whole["members"].items() if "location" not in member}
    return {"type": "structure", "members": inside, "required": [name for name in whole.get("required", ()) if name in inside]}


def errors_of(service: str, operation: str) -> set[str]:
    """Codes that the model allows an operation to answer with."""
    return {error["shape"] for error in model(service)["operations"][operation]["errors"]}


# --- right -----------------------------------------------------------------------------------------------------------


def values(service: str, shape: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a shape allows, small ones."""
    kind = shape["type"]
    if shape.get("document"):
        return JSON.filter(lambda value: value is not None)  # null is no member
    if kind == "structure":
        members = {name: _named(service, one["shape"]) for name, one in shape["members"].items()}
        if shape.get("union"):
            return st.one_of([st.fixed_dictionaries({name: made}) for name, made in members.items()])
        required = shape.get("required", ())
        optional = {name: made for name, made in members.items() if name not in required}
        return st.fixed_dictionaries({name: members[name] for name in required}, optional=optional)
    low = shape.get("min", 0)
    if kind == "list":
        return st.lists(_named(service, shape["member"]["shape"]), min_size=low, max_size=max(low, 2))
    if kind == "map":
        key, value = (_named(service, shape[part]["shape"]) for part in ("key", "value"))
        return st.dictionaries(key, value, min_size=low, max_size=max(low, 2))
    return _plain(kind, shape)


def _named(service: str, name: str) -> st.SearchStrategy[Any]:
    shape = model(service)["shapes"][name]
    return values(service, {**shape, "pattern": "[a-z0-9]+"} if name in NAMED_HERE else shape)


def _plain(kind: str, shape: dict[str, Any]) -> st.SearchStrategy[Any]:
    low = shape.get("min", 0)
    if kind in ("integer", "long"):
        return st.integers(low, min(shape.get("max", 2**31 - 1), 2**31 - 1))
    if kind in ("float", "double"):
        return st.floats(low, shape.get("max", 1.0))
    if kind == "boolean":
        return st.booleans()
    if kind == "blob":
        return st.binary(min_size=low, max_size=8).map(lambda data: base64.b64encode(data).decode())
    if "enum" in shape:
        return st.sampled_from(shape["enum"])
    high = min(shape.get("max", 64), 64)
    if "pattern" in shape:
        return st.from_regex(re.compile(shape["pattern"], re.ASCII), fullmatch=True).filter(
            lambda text: low <= len(text) <= shape.get("max", 10_000)
        )
    return st.text(st.characters(exclude_categories=["Cs"]), min_size=low, max_size=max(low, min(high, 8)))


# --- wrong -----------------------------------------------------------------------------------------------------------


def least(service: str, shape: dict[str, Any]) -> Any:
    """The smallest value that a shape allows."""
    kind, low = shape["type"], shape.get("min", 0)
    if shape.get("document"):
        return {}
    if kind == "structure":
        names = list(shape["members"])[:1] if shape.get("union") else shape.get("required", ())
        return {name: _least(service, shape["members"][name]) for name in names}
    if kind == "list":
        return [_least(service, shape["member"])] * low
    if kind == "map":
        return {f"k{i}": _least(service, shape["value"]) for i in range(low)}
    if kind in ("integer", "long", "float", "double"):
        return low
    if kind == "boolean":
        return True
    if "enum" in shape:
        return shape["enum"][0]
    pattern = shape.get("pattern", "")
    return next((text for words, text in EXAMPLES.items() if words in pattern), "0" * max(low, 1))


def _least(service: str, member: dict[str, Any]) -> Any:
    return least(service, model(service)["shapes"][member["shape"]])


def violations(service: str, shape: dict[str, Any], named: bool = False) -> Iterator[tuple[Steps, Any]]:
    """Every way in which one part of a value can break the shape: where, and the whole value, right in all else."""
    kind, low, high = shape["type"], shape.get("min", 0), shape.get("max")
    if shape.get("document"):
        return
    if kind == "structure":
        yield from _wrong_structure(service, shape)
    elif kind == "list":
        item = model(service)["shapes"][shape["member"]["shape"]]
        yield from (
            ((), value) for value in ({}, *([[]] if low else []), *([[least(service, item)] * (high + 1)] if high else []))
        )
        yield from (((0, *steps), [value, *[least(service, item)] * (low - 1)]) for steps, value in violations(service, item))
    elif kind == "map":
        value = _least(service, shape["value"])
        yield from (
            ((), wrong) for wrong in ([], *([{}] if low else []), *([{f"k{i}": value for i in range(high + 1)}] if high else []))
        )
        inner = model(service)["shapes"][shape["value"]["shape"]]
        yield from ((("k", *steps), {"k": wrong}) for steps, wrong in violations(service, inner))
    elif kind in ("integer", "long", "float", "double"):
        yield from (((), wrong) for wrong in ("1", True, *([low - 1] if "min" in shape else []), *([high + 1] if high else [])))
    elif kind == "boolean":
        yield from (((), wrong) for wrong in ("true", 1))
    else:
        yield from (((), wrong) for wrong in _wrong_texts(shape, named))


def _wrong_structure(service: str, shape: dict[str, Any]) -> Iterator[tuple[Steps, Any]]:
    right = least(service, shape)
    yield (), "text"
    yield ("noSuchMember",), {**right, "noSuchMember": 1}
    for name in shape.get("required", ()):
        yield (name,), {key: value for key, value in right.items() if key != name}
        yield (name,), {**right, name: None}
    if shape.get("union") and shape["members"]:
        yield (), {}
        names = list(shape["members"])[:2]
        if len(names) == 2:
            yield (), {name: _least(service, shape["members"][name]) for name in names}
    for name, member in shape["members"].items():
        inner = model(service)["shapes"][member["shape"]]
        for steps, value in violations(service, inner, member["shape"] in NAMED_HERE):
            yield (name, *steps), {name: value} if shape.get("union") else {**right, name: value}


def _wrong_texts(shape: dict[str, Any], named: bool) -> list[Any]:
    wrong: list[Any] = [5, ["x"]]
    if shape.get("min"):
        wrong.append("")
    if 0 < shape.get("max", 0) < 100_000:
        wrong.append("a" * (shape["max"] + 1))
    if "enum" in shape:
        wrong.append("warp")
    if "pattern" in shape and not named and not regex.fullmatch(shape["pattern"], NEVER):
        wrong.append(NEVER)
    return wrong
