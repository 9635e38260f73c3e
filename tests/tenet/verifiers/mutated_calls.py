"""Tool calls that are right for a row of BFCL, and mutations of them: the same ones on every machine."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from tests.tenet.verifiers.mutated import Draw

Row = dict[str, Any]
#: In the place of a value.
WRONG = ("", "paris", 0, 1, -3, 2.5, True, None, [], ["a"], [1.0, 2], {}, {"a": 1}, [{}])


def calls_for(row: Row, key: str) -> list[Row]:
    """Calls for a row: those wanted with values drawn from the right ones, and up to two mutations."""
    draw = Draw(key)
    calls = [_call(wanted, draw) for wanted in copy.deepcopy(row["answer"])]
    for _ in range(draw.below(3)):
        calls = _mutated(calls, row, draw)
    return calls


class Whole(Draw):
    """Draws the first value, and leaves nothing out."""

    def __init__(self) -> None:
        self.random = lambda: 0.999

    def one(self, values: Sequence[Any]) -> Any:
        return values[0]


def whole_calls(row: Row) -> list[Row]:
    """The calls that are wanted, with all that may be given and the first right values."""
    return [_call(wanted, Whole()) for wanted in copy.deepcopy(row["answer"])]


def _call(wanted: Row, draw: Draw) -> Row:
    ((name, right),) = wanted.items()
    return {"name": name, "arguments": _chosen(right, draw)}


def _chosen(right: Row, draw: Draw, entries: bool = False) -> Row:
    """Values of parameters, or of an object's entries; what may be left out is, half of the time."""
    arguments = {}
    for key, values in right.items():
        given = [value for value in values if value != ""]
        if not given or ("" in values and draw.random() < 0.5):
            continue
        value = draw.one(given)
        arguments[key] = value if entries else _value(value, draw)
    return arguments


def _value(value: Any, draw: Draw) -> Any:
    """A right value; in an object each entry has its own list of right ones, one level deep."""
    if isinstance(value, dict):
        return _chosen(value, draw, entries=True)
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return [_chosen(one, draw, entries=True) for one in value]
    return value


def _mutated(calls: list[Row], row: Row, draw: Draw) -> list[Row]:
    calls = copy.deepcopy(calls)
    if not calls:
        return calls
    call = draw.one(calls)
    arguments = call["arguments"]
    kind = draw.below(10)
    if kind == 0:
        return [one for one in calls if one is not call]
    if kind == 1:
        return [*calls, copy.deepcopy(call)]
    if kind == 2:
        return calls[::-1]
    if kind == 3:
        call["name"] = draw.one([tool["function"]["name"] for tool in row["tools"]] + ["other"])
    elif kind == 4:
        arguments[draw.one(["extra", "unit", *_parameters(row, call["name"])])] = draw.one(WRONG)
    elif arguments:
        key = draw.one(sorted(arguments))
        if kind == 5:
            del arguments[key]
        elif kind == 6:
            arguments[key] = draw.one(WRONG)
        else:
            arguments[key] = _near(arguments[key], draw)
    return calls


def _parameters(row: Row, name: str) -> list[str]:
    functions = [tool["function"] for tool in row["tools"]]
    return sorted(key for one in functions if one["name"] == name for key in one["parameters"]["properties"])


def _near(value: Any, draw: Draw) -> Any:
    """What may pass for the value, or nearly."""
    if isinstance(value, bool):
        return draw.one((not value, int(value), str(value)))
    if isinstance(value, int):
        return draw.one((float(value), str(value), value + 1, -value))
    if isinstance(value, float):
        return draw.one((int(value), value + 0.5, str(value)))
    if isinstance(value, str):
        return draw.one(
            (value.upper(), value + " ", value.replace(" ", "_"), value.replace("'", '"'), value + "x", value[1:], [value])
        )
    if isinstance(value, list):
        inner = [_near(one, draw) if draw.random() < 0.5 else one for one in value]
        return draw.one((value[::-1], value[:-1], inner, [*value, 1], str(value)))
    if isinstance(value, dict) and value:
        key = draw.one(sorted(value))
        return {
            **{name: one for name, one in value.items() if name != key},
            **draw.one(({}, {key: _near(value[key], draw)}, {"extra": 1, key: value[key]})),
        }
    return draw.one(WRONG)
