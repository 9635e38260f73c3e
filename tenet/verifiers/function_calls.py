"""Verifier of one or several tool calls where more than one value may be right, as the Berkeley Function-Calling
Leaderboard (BFCL v4, Patil et al. 2025) judges them.

{"kind": "function_calls", "answer": [{"weather": {"city": ["Paris", "Paris, France"], "unit": ["celsius", ""]}}]}
{"kind": "function_calls", "answer": "none"}       no call is right (irrelevance); "any": some call is (relevance)

An answer lists, for each call that is wanted, the values of each parameter that are right; "" among them says that the
parameter may be left out. Types come from the row's `tools`. The rules are those of the leaderboard's own checker,
`ast_checker.py` of `bfcl-eval` 2026.3.23, quirks included, so that figures can be held against published ones: text is
compared without blanks, capitals and the marks , . / - _ * ^; a whole number passes for a number, never the other way
round; the wanted calls take the first call that fits them, in their own order, so the order of the calls does not
matter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tenet.verifiers.verifier import Calls, Row, Verdict, options

#: What a JSON schema's type is read as. A missing type, "any" among them, is text: so the leaderboard has it.
TYPES: dict[str, type] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list,
    "object": dict,
}
#: The value that says "may be left out".
ABSENT = ""
_MARKS = re.compile(r"[ ,./\-_*^]")


class FunctionCalls:
    """The calls are those that are wanted, in any order.

    Spec: `answer`, or the row's. Parts: called (there is a call), count (as many as wanted), names (share of the wanted
    functions that are called), matched (share of the wanted calls that are there), valid (all of it: the score). With
    "none" or "any" as the answer: called and valid alone.
    """

    def read(self, spec: Row, row: Row, folder: Path | None) -> Row:
        answer = spec.get("answer", row.get("answer"))
        options({**spec, "answer": answer}, {"answer": (list, str)})
        if isinstance(answer, str):
            if answer not in ("none", "any"):
                raise ValueError(f"function_calls: answer is {answer!r}; give a list of calls, none or any")
            return {**spec, "answer": answer}
        if not answer:
            raise ValueError('function_calls: answer is an empty list; where no call is right write "none"')
        functions = _functions(row)
        for wanted in answer:
            _check_wanted(wanted, functions)
        return {**spec, "answer": answer}

    def verify(self, spec: Row, row: Row, text: str, calls: Calls) -> Verdict:
        answer, called = spec["answer"], float(bool(calls))
        if isinstance(answer, str):
            valid = called if answer == "any" else 1 - called
            errors = [] if valid else ["a tool call where none is right" if calls else "no tool call that can be read"]
            return Verdict(valid, {"called": called, "valid": valid}, errors)
        functions = _functions(row)
        left = list(calls)
        matched, errors = 0, []
        for wanted in answer:
            found = [call_errors(functions, wanted, call) for call in left]
            place = next((i for i, problems in enumerate(found) if not problems), None)
            if place is None:
                errors.append(f"no call is the wanted {next(iter(wanted))}" + _nearest(wanted, left, found))
            else:
                matched += 1
                del left[place]
        count = len(calls) == len(answer)
        errors += [] if count else [f"{len(calls)} tool calls, {len(answer)} wanted"]
        valid = float(count and matched == len(answer))
        parts = {"called": called, "count": float(count), "names": _named(answer, calls), "matched": matched / len(answer)}
        return Verdict(valid, {**parts, "valid": valid}, errors)


def _named(answer: Sequence[Row], calls: Calls) -> float:
    left = [call["name"] for call in calls]
    found = 0
    for wanted in answer:
        if (name := next(iter(wanted))) in left:
            left.remove(name)
            found += 1
    return found / len(answer)


def _nearest(wanted: Row, calls: Calls, found: Sequence[list[str]]) -> str:
    """Why the first call of the right function is not the wanted one."""
    name = next(iter(wanted))
    return next((f": {problems[0]}" for call, problems in zip(calls, found, strict=True) if call["name"] == name), "")


def call_errors(functions: dict[str, Row], wanted: Row, call: Row) -> list[str]:
    """What is wrong with a call, in words; the first thing that is found.

    Args:
        functions: by name, each with `parameters`.
        wanted: `{name: {parameter: [right values]}}`.
        call: `{"name", "arguments"}`.
    """
    ((name, right),) = wanted.items()
    given = call["arguments"]
    if call["name"] != name:
        return [f"called {call['name']}, not {name}"]
    if not isinstance(given, dict):
        return [f"the arguments are {given!r}, not an object"]
    schema = functions[name].get("parameters") or {}
    properties = schema.get("properties") or {}
    missing = [key for key in schema.get("required") or () if key not in given]
    if missing:
        return [f"{missing[0]}: not given, and required"]
    for key, value in given.items():
        if key not in properties or key not in right:
            return [f"{key}: was not asked for"]
        if problem := _value_error(properties[key], value, right[key]):
            return [f"{key}: {problem}"]
    return [f"{key}: not given, {_asked(right[key])}" for key in right if key not in given and ABSENT not in right[key]]


def _asked(right: Sequence[Any]) -> str:
    """The first right value in words. (Two rows of the leaderboard list none for a parameter: no answer is right.)"""
    return f"{next((one for one in right if one != ABSENT), ABSENT)!r} was asked for" if right else "and no value is right"


def _value_error(schema: Row, value: Any, right: Sequence[Any]) -> str:
    """Why a value is none of the right ones, or "".

    A right value of another type than the schema's stands for the name of something (a variable): then nothing but
    equality counts.
    """
    wanted = _type(schema)
    inner = _type(schema["items"]) if wanted is list and schema.get("items") else None
    if wanted is float and type(value) is int:
        value = float(value)
    stated = next((type(one) for one in right if one != ABSENT), None)
    typed = type(value) is wanted
    if (typed and inner and not any(_elements_fit(value, one, inner) for one in right)) or (
        not typed and type(value) is not stated
    ):
        return f"{value!r} is not of type {wanted.__name__}" + (f" with {inner.__name__} in it" if inner else "")
    fits = _is_right(value, right, wanted, inner) if typed and stated in (None, wanted) else value in right
    return "" if fits else f"is {value!r}, {_asked(right)}"


def _elements_fit(value: list[Any], right: Any, inner: type) -> bool:
    """Whether each element has the schema's type, or that of a right list's first one. (A right value that is no list
    lets every type pass.)"""
    if not isinstance(right, list):
        return True
    stated = next((type(one) for one in right if one != ABSENT), None)
    return all(type(element) in (inner, stated) for element in value)


def _is_right(value: Any, right: Sequence[Any], wanted: type, inner: type | None) -> bool:
    if wanted is dict:
        return any(_entries_right(value, one) for one in right)
    if wanted is str:
        return plain(value) in [plain(one) for one in right if isinstance(one, str)]
    if inner is dict:
        return any(len(value) == len(one) and all(map(_entries_right, value, one)) for one in right)
    if wanted is list:
        # "" read as a list is the empty one: an empty list passes for what may be left out.
        return [plain(element) for element in value] in [[plain(element) for element in one] for one in right]
    return value in right


def _entries_right(value: Any, right: Any) -> bool:
    """Whether an object has entries that are right, and all that it must have; one level deep."""
    if not isinstance(right, dict) or not isinstance(value, dict):
        return False
    named = all(key in right and plain(one) in [plain(option) for option in right[key]] for key, one in value.items())
    return named and all(key in value or ABSENT in options_of for key, options_of in right.items())


def plain(value: Any) -> Any:
    """Text without blanks, capitals and marks, with one kind of quotes; anything else as it is."""
    return _MARKS.sub("", value).lower().replace("'", '"') if isinstance(value, str) else value


def _type(schema: Row) -> type:
    stated = schema.get("type")
    stated = next((one for one in stated if one != "null"), None) if isinstance(stated, list) else stated
    return TYPES.get(str(stated), str)


def _functions(row: Row) -> dict[str, Row]:
    functions = [tool.get("function", tool) for tool in row.get("tools") or ()]
    return {function["name"]: function for function in functions}


def _check_wanted(wanted: Any, functions: dict[str, Row]) -> None:
    if not isinstance(wanted, dict) or len(wanted) != 1:
        raise ValueError(f"function_calls: {wanted!r} in answer is not one {{name: {{parameter: [values]}}}}")
    ((name, right),) = wanted.items()
    if name not in functions:
        raise ValueError(f"function_calls: {name!r} is not among the row's tools ({', '.join(functions) or 'there are none'})")
    if not isinstance(right, dict) or not all(isinstance(values, list) for values in right.values()):
        raise ValueError(f"function_calls: {name} in answer must be an object of lists, the right values of each parameter")
