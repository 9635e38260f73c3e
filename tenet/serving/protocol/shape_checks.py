"""From a shape of a service model to a function that checks a value: what it may be stands in the shape, and nowhere else.

Functions are nested as shapes are and made once; a value that is right costs little more than looking at its parts.
"""

from __future__ import annotations

import difflib
import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import regex

from tenet.serving.protocol.limits import kind_of

Check = Callable[[Any], None]
#: Shapes whose names the operator of this endpoint gives; one that is unknown is ResourceNotFoundException.
_NAMED_HERE = ("GuardrailIdentifier", "GuardrailVersion")
#: Some of the model's patterns backtrack without end on hostile text; seconds.
_TIMEOUT = 0.05


class Wrong(Exception):
    """A value is not what its shape says; each holder on the way up puts its own step before the path."""

    def __init__(self, problem: str, step: str | int | None = None) -> None:
        self.problem = problem
        self.steps: list[str | int] = [] if step is None else [step]


class Checks:
    """Makes the functions of one model's shapes.

    Args:
        shapes: of the model.
    """

    def __init__(self, shapes: Mapping[str, Any]) -> None:
        self._shapes = shapes
        self._made: dict[str, Check] = {}

    def of(self, name: str) -> Check:
        """The function that checks a shape; it raises `Wrong`."""
        if name not in self._made:
            self._made[name] = lambda value: self._made[name](value)  # for a shape that holds itself
            self._made[name] = self._make(name, self._shapes[name])
        return self._made[name]

    def _make(self, name: str, shape: dict[str, Any]) -> Check:
        kind = shape["type"]
        if shape.get("document"):
            return _anything
        if kind == "structure":
            members = {key: self.of(member["shape"]) for key, member in shape["members"].items()}
            return _union(members) if shape.get("union") else structure(members, shape.get("required", ()))
        if kind == "list":
            return _list(self.of(shape["member"]["shape"]), shape)
        if kind == "map":
            return _map(self.of(shape["key"]["shape"]), self.of(shape["value"]["shape"]), shape)
        if kind in ("integer", "long", "float", "double"):
            return _number(shape, whole=kind in ("integer", "long"))
        if kind == "boolean":
            return _boolean
        return _text({**shape, "pattern": None} if name in _NAMED_HERE else shape)


def _anything(value: Any) -> None:
    """A document: whatever JSON can say."""


def structure(members: dict[str, Check], required: Sequence[str]) -> Check:
    """Checks an object. Members that are null count as absent and are taken out."""

    def check(value: Any) -> None:
        if type(value) is not dict:
            raise Wrong(f"must be an object, not {kind_of(value)}.")
        absent = None
        for key, item in value.items():
            if item is None:
                absent = [key, *(absent or ())]
                continue
            try:
                members[key](item)
            except KeyError:
                raise _unknown(key, members) from None
            except Wrong as wrong:
                wrong.steps.insert(0, key)
                raise
        for key in absent or ():
            del value[key]
        for key in required:
            if key not in value:
                raise Wrong("this member is required.", key)

    return check


def _union(members: dict[str, Check]) -> Check:
    inside = structure(members, ())

    def check(value: Any) -> None:
        if type(value) is dict and len(value) == 1:  # as it should be, and most of what there is to check
            for key, item in value.items():
                if item is not None and (one := members.get(key)) is not None:
                    try:
                        one(item)
                    except Wrong as wrong:
                        wrong.steps.insert(0, key)
                        raise
                    return
        inside(value)
        if len(value) != 1:
            raise Wrong(f"must have exactly one of the members {', '.join(members)}, not {len(value)}.")

    return check


def _unknown(key: str, members: Mapping[str, Any]) -> Wrong:
    near = difflib.get_close_matches(key, members, 1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(members) or 'none'}."
    return Wrong(f"there is no such member; {hint}", key[:64])


def _list(item: Check, shape: dict[str, Any]) -> Check:
    low, high = shape.get("min", 0), shape.get("max")

    def check(value: Any) -> None:
        if type(value) is not list:
            raise Wrong(f"must be an array, not {kind_of(value)}.")
        if len(value) < low or (high is not None and len(value) > high):
            raise Wrong(f"has {len(value)} entries; {_span(low, high)} are allowed.")
        for place, each in enumerate(value):
            try:
                item(each)
            except Wrong as wrong:
                wrong.steps.insert(0, place)
                raise

    return check


def _map(key: Check, item: Check, shape: dict[str, Any]) -> Check:
    low, high = shape.get("min", 0), shape.get("max")

    def check(value: Any) -> None:
        if type(value) is not dict:
            raise Wrong(f"must be an object, not {kind_of(value)}.")
        if len(value) < low or (high is not None and len(value) > high):
            raise Wrong(f"has {len(value)} entries; {_span(low, high)} are allowed.")
        for name, each in value.items():
            try:
                key(name)
                item(each)
            except Wrong as wrong:
                wrong.steps.insert(0, name[:64])
                raise

    return check


def _number(shape: dict[str, Any], whole: bool) -> Check:
    low, high = shape.get("min"), shape.get("max", 2**31 - 1 if whole else None)
    kinds = (int,) if whole else (int, float)
    wanted = "an integer" if whole else "a number"

    def check(value: Any) -> None:
        if type(value) not in kinds:
            raise Wrong(f"must be {wanted}, not {kind_of(value)}.")
        if (low is not None and value < low) or (high is not None and value > high):
            raise Wrong(f"is {_shown(value)}; it must be {_span(low, high)}.")

    return check


def _boolean(value: Any) -> None:
    if type(value) is not bool:
        raise Wrong(f"must be a boolean, not {kind_of(value)}.")


def _text(shape: dict[str, Any]) -> Check:
    low, high, known = shape.get("min", 0), shape.get("max", sys.maxsize), frozenset(shape.get("enum", ()))
    pattern = regex.compile(shape["pattern"], regex.ASCII) if shape.get("pattern") else None
    if known:
        return _word(known, ", ".join(shape["enum"]))
    if not (low or pattern or "max" in shape):
        return _any_text

    def check(value: Any) -> None:
        if type(value) is not str:
            raise Wrong(f"must be a string, not {kind_of(value)}.")
        if not low <= len(value) <= high:
            raise Wrong(f"has {len(value)} characters; {_span(low, shape.get('max'))} are allowed.")
        if pattern and not _fits(pattern, value):
            raise Wrong(f"is {_shown(value)}; it must fit the pattern {shape['pattern'][:120]}")

    return check


def _word(known: frozenset[str], shown: str) -> Check:
    def check(value: Any) -> None:
        if type(value) is not str:
            raise Wrong(f"must be a string, not {kind_of(value)}.")
        if value not in known:
            raise Wrong(f"is {_shown(value)}; it must be one of {shown}.")

    return check


def _any_text(value: Any) -> None:
    if type(value) is not str:
        raise Wrong(f"must be a string, not {kind_of(value)}.")


@functools.lru_cache(maxsize=1024)
def _fits(pattern: Any, value: str) -> bool:
    try:
        return pattern.fullmatch(value, timeout=_TIMEOUT) is not None
    except TimeoutError:
        return False


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _span(low: Any, high: Any) -> str:
    if high is None:
        return f"at least {low:g}"
    return f"{low:g} to {high:g}" if low is not None else f"at most {high:g}"
