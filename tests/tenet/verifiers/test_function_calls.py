"""Tool calls as the leaderboard judges them: each rule by hand, and its own checker's verdicts on mutated calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenet.evaluate.bfcl import CATEGORIES, read_bfcl
from tenet.verifiers import read_verifier, verify
from tests.tenet.verifiers.mutated_calls import calls_for

#: What bfcl-eval's checker said of mutated calls, made once with it (see docs/abilities.md), one digit for each.
REFERENCE = json.loads(Path(__file__).with_name("reference_verdicts.json").read_text(encoding="utf-8"))["bfcl"]
PROPERTIES = {
    "city": {"type": "string"},
    "days": {"type": "integer"},
    "limit": {"type": "number"},
    "wind": {"type": "boolean"},
    "hours": {"type": "array", "items": {"type": "integer"}},
    "tags": {"type": "array", "items": {"type": "string"}},
    "place": {"type": "object"},
    "places": {"type": "array", "items": {"type": "object"}},
}
WEATHER = {"name": "weather", "parameters": {"type": "object", "properties": PROPERTIES, "required": ["city"]}}
TOOLS = [{"type": "function", "function": WEATHER}, {"type": "function", "function": {"name": "time", "parameters": {}}}]
PLACE = {"lat": [1.5], "name": ["Old Mill", ""]}


def judged(answer: Any, *calls: tuple[str, dict[str, Any]]) -> Any:
    row = {"tools": TOOLS, "answer": answer}
    made = [{"name": name, "arguments": arguments} for name, arguments in calls]
    return verify({**row, "verifier": read_verifier("function_calls", row)}, "", made)


@pytest.mark.parametrize(
    ("key", "right", "value", "valid"),
    [
        ("city", ["Paris", "Paris, France"], "paris FRANCE", True),     # blanks, capitals, commas
        ("city", ["it's"], 'it"s', True),
        ("city", ["Paris"], "Pari", False),
        ("city", ["Paris"], ["Paris"], False),
        ("days", [3], 3, True), ("days", [3], 3.0, False), ("days", [3], "3", False), ("days", [1], True, False),
        ("days", ["count"], "count", True),                              # a variable stands for a value
        ("days", ["count"], "Count", False),
        ("limit", [5.0], 5, True), ("limit", [5.0], 5.0, True), ("limit", [5], 5, True), ("limit", [5.0], 5.1, False),
        ("wind", [True], True, True), ("wind", [True], 1, False),
        ("hours", [[1, 2]], [1, 2], True), ("hours", [[1, 2]], [2, 1], False), ("hours", [[1, 2]], [1, "2"], False),
        ("hours", [[1.0, 2.0]], [1.0, 2.0], True),                       # elements of the right list's own type
        ("hours", [[1, 2], ""], [], True),                               # an empty list passes for one left out
        ("hours", [[1, 2]], [], False),
        ("tags", [["New York"]], ["new-york"], True), ("tags", [["a", "b"]], ["a"], False),
        ("place", [PLACE], {"lat": 1.5}, True), ("place", [PLACE], {"lat": 1.5, "name": "old mill"}, True),
        ("place", [PLACE], {"name": "Old Mill"}, False), ("place", [PLACE], {"lat": 1.5, "x": 1}, False),
        ("places", [[PLACE, PLACE]], [{"lat": 1.5}, {"lat": 1.5}], True), ("places", [[PLACE]], [], False),
        ("places", [[PLACE]], [{"lat": 2}], False), ("places", [[PLACE]], ["x"], False),
    ],
)  # fmt: skip
def test_values(key: str, right: list[Any], value: Any, valid: bool) -> None:
    wanted = {"weather": {"city": ["Rome"], key: right}}
    verdict = judged([wanted], ("weather", {"city": "Rome", key: value}))
    assert verdict.score == float(valid) and bool(verdict.errors) != valid
    assert valid or key in verdict.errors[0]


@pytest.mark.parametrize(
    ("calls", "score", "why"),
    [
        ([("weather", {"city": "Rome", "days": 2})], 1, ""),
        ([("weather", {"city": "Rome"})], 1, ""),
        ([("weather", {"days": 2})], 0, "city: not given, and required"),
        ([("weather", {"city": "Rome", "hour": 2})], 0, "hour: was not asked for"),
        ([("weather", {"city": "Rome", "wind": True})], 0, "wind: was not asked for"),
        ([("time", {"city": "Rome"})], 0, "no call is the wanted weather"),
        ([("weather", {"city": "Rome"}), ("weather", {"city": "Rome"})], 0, "2 tool calls, 1 wanted"),
        ([], 0, "0 tool calls, 1 wanted"),
        ([("weather", "Rome")], 0, "not an object"),
    ],
)
def test_one_call(calls: list[tuple[str, Any]], score: float, why: str) -> None:
    verdict = judged([{"weather": {"city": ["Rome"], "days": [2, ""]}}], *calls)
    assert verdict.score == score and why in "; ".join(verdict.errors)


def test_a_parameter_that_may_not_be_left_out() -> None:
    assert judged([{"weather": {"city": ["Rome"], "days": [2]}}], ("weather", {"city": "Rome"})).errors == [
        "no call is the wanted weather: days: not given, 2 was asked for"
    ]


def test_several_calls_in_any_order_and_their_parts() -> None:
    wanted = [{"weather": {"city": ["Rome"]}}, {"weather": {"city": ["Oslo"]}}, {"time": {}}]
    rome, oslo, time = ("weather", {"city": "Rome"}), ("weather", {"city": "Oslo"}), ("time", {})
    assert judged(wanted, time, oslo, rome).score == 1
    twice = judged(wanted, rome, rome, time)
    assert twice.parts == {"called": 1, "count": 1, "names": 1, "matched": pytest.approx(2 / 3), "valid": 0}
    assert judged(wanted, rome, oslo).parts == {
        "called": 1, "count": 0, "names": pytest.approx(2 / 3), "matched": pytest.approx(2 / 3), "valid": 0,
    }  # fmt: skip


def test_where_no_call_or_some_call_is_right() -> None:
    call = ("weather", {"city": "Rome"})
    assert (judged("none").score, judged("none", call).score) == (1, 0)
    assert (judged("any").score, judged("any", call).score) == (0, 1)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("some", "give a list of calls, none or any"),
        ([], "empty list"),
        ([{"rain": {}}], "'rain' is not among the row's tools (weather, time)"),
        ([{"weather": {"city": "Rome"}}], "an object of lists"),
        ([{"weather": {}, "time": {}}], "is not one"),
        (None, "answer is None"),
    ],
)
def test_what_is_refused(answer: Any, problem: str) -> None:
    with pytest.raises(ValueError, match="function_calls:") as error:
        judged(answer)
    assert problem in str(error.value)


@pytest.mark.parametrize("category", [name for name, right in CATEGORIES.items() if not right])
def test_verdicts_equal_the_leaderboards_checker_on_mutated_calls(shared_data: Path, category: str) -> None:
    rows, found = read_bfcl(shared_data / "bfcl", category), ""
    for number in range(len(REFERENCE["verdicts"][category])):
        row = rows[number % len(rows)]
        calls = calls_for(row, f"{REFERENCE['key']} {category} {number}")
        found += str(int(verify({**row, "verifier": read_verifier("function_calls", row)}, "", calls).score))
    assert found == REFERENCE["verdicts"][category]
    assert 0.2 < found.count("1") / len(found) < 0.8, "mutations that are all right or all wrong would show nothing"
