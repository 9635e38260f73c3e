"""What each verifier accepts, in scores and parts, and that nothing that an answer or a function does ends a
training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tenet.verifiers import VERIFIERS, read_verifier, registry, verify
from tenet.verifiers.text import last_number

TOOL = {
    "function": {
        "name": "find",
        "parameters": {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]},
    }
}


def judged(spec: Any, text: str = "", calls: tuple[dict[str, Any], ...] = (), folder: Path | None = None, **row: Any) -> Any:
    whole = {**row, "verifier": read_verifier(spec, row, VERIFIERS, folder)}
    return verify(whole, text, calls)


@pytest.mark.parametrize(
    ("options", "said", "score", "contains"),
    [
        ({}, "Paris", 1, 1),
        ({}, " Paris\n", 1, 1),
        ({}, "paris", 0, 0),
        ({}, "Paris.", 0, 1),
        ({"strip": False}, "Paris ", 0, 1),
        ({"case": False}, "PARIS", 1, 1),
        ({"punctuation": "full_stop"}, "Paris.", 1, 1),
        ({"punctuation": "full_stop"}, "Paris!", 0, 1),
        ({"punctuation": "drop"}, "«Paris!»", 1, 1),
        ({"punctuation": "drop", "case": False}, "It is paris.", 0, 1),
        ({}, "", 0, 0),
    ],
)
def test_exact(options: dict[str, Any], said: str, score: float, contains: float) -> None:
    verdict = judged({"kind": "exact", "answer": "Paris", **options}, said)
    assert (verdict.score, verdict.parts) == (score, {"exact_match": score, "contains": contains})


def test_exact_takes_several_answers_and_the_rows_own() -> None:
    assert judged("exact", "two", answer=["2", "two"]).score == 1
    assert judged("exact", "2", answer=2).score == 1


def test_what_is_extracted_counts_and_what_is_not_there_could_not_be_read() -> None:
    spec = {"kind": "exact", "answer": "(B)", "extract": r"([(][A-Z][)])"}
    row = {"verifier": read_verifier(spec, {})}
    assert (verify(row, "not (A), so (B).").score, verify(row, "(B), or rather (C)").score) == (1.0, 0.0)
    unread = verify(row, "the second one")
    assert unread.unread and unread.score == 0.0 and not verify(row, "(C)").unread
    number = {"verifier": read_verifier({"kind": "number", "answer": 4}, {})}
    assert verify(number, "four").unread and not verify(number, "5").unread
    with pytest.raises(ValueError, match="exactly one group"):
        read_verifier({**spec, "extract": "[A-Z]"}, {})
    with pytest.raises(ValueError, match="is none"):
        read_verifier({**spec, "extract": "("}, {})


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so it is 18.", 18), ("#### 1,018", 1018), ("$9 * 2 = $18", 18), ("5-3", 3), ("5 - 3 = -2", -2), ("\u22124", -4), ("1.5e3", 1500),
        ("between 1,2,3", 3), (".5", 0.5), ("**18**", 18), ("none", None), ("GPT4", None), ("1e999", None), ("3.0 kg", 3),
    ],
)  # fmt: skip
def test_the_last_number(text: str, number: float | None) -> None:
    assert last_number(text) == number


def test_number() -> None:
    spec = {"kind": "number", "answer": "x\n#### 18"}
    assert judged(spec, "It is 18.0").score == 1 and judged(spec, "It is 17 or 18, no, 19").score == 0
    assert judged(spec, "eighteen").parts == {"number": 0.0, "right": 0.0}
    assert judged({**spec, "tolerance": 0.5}, "18.5").score == 1 and judged({**spec, "tolerance": 0.5}, "18.6").score == 0


def test_regex_and_its_limit() -> None:
    assert judged({"kind": "regex", "pattern": r"\b\d{4}\b"}, "in 1999, yes").score == 1
    assert judged({"kind": "regex", "pattern": r"\d{4}", "whole": True}, "in 1999").score == 0
    assert judged({"kind": "regex", "pattern": "paris", "case": False}, "PARIS").score == 1
    assert judged("regex", "ab", answer="^a").score == 1
    slow = judged({"kind": "regex", "pattern": r"^(a|a?)+$"}, "a" * 40 + "b")
    assert slow.score == 0 and ("longer than" in slow.errors[0] or "does not fit" in slow.errors[0])


def test_json_schema() -> None:
    spec = {"kind": "json_schema", "schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}
    assert judged(spec, ' {"n": 3}').parts == {"json": 1, "valid": 1}
    wrong = judged(spec, '{"n": "3"}')
    assert wrong.score == 0 and wrong.parts == {"json": 1, "valid": 0} and wrong.errors == ["n: '3' is not of type 'integer'"]
    assert judged(spec, "n is 3").parts == {"json": 0, "valid": 0}


@pytest.mark.parametrize(
    ("calls", "text", "parts"),
    [
        ([("find", {"what": "lamp"})], "", {"formed": 1, "tool": 1, "names": 1, "values": 1, "verified": 1}),
        ([("find", {"what": "door"})], "", {"formed": 1, "tool": 1, "names": 1, "values": 0, "verified": 1}),
        ([("find", {"what": 3})], "", {"formed": 1, "tool": 1, "names": 1, "values": 0, "verified": 0}),
        ([("find", {"what": "lamp", "x": 1})], "", {"formed": 1, "tool": 1, "names": 0.5, "values": 0.5, "verified": 1}),
        ([("find", {})], "", {"formed": 1, "tool": 1, "names": 0, "values": 0, "verified": 0}),
        ([("open", {"what": "lamp"})], "", {"formed": 1, "tool": 0, "names": 1, "values": 1, "verified": 0}),
        ([("find", {"what": "lamp"})], "Sure.", {"formed": 0, "tool": 1, "names": 1, "values": 1, "verified": 0}),
        ([("find", {"what": "lamp"})] * 2, "", {"formed": 0, "tool": 0, "names": 0, "values": 0, "verified": 0}),
        ([], "Upstairs.", {"formed": 0, "tool": 0, "names": 0, "values": 0, "verified": 0}),
    ],
)
def test_a_tool_call_by_its_parts(calls: list[tuple[str, dict[str, Any]]], text: str, parts: dict[str, float]) -> None:
    spec = {"kind": "tool_call", "name": "find", "arguments": {"what": "lamp"}}
    made = tuple({"name": name, "arguments": arguments} for name, arguments in calls)
    verdict = judged(spec, text, made, tools=[TOOL])
    weights = {"formed": 0.1, "tool": 0.2, "names": 0.2, "values": 0.2, "verified": 0.3}
    assert verdict.parts == parts and verdict.score == pytest.approx(sum(weights[name] * part for name, part in parts.items()))
    assert bool(verdict.errors) == (verdict.score < 1)


def test_a_tool_without_a_schema_is_verified_by_what_was_asked() -> None:
    right = judged("tool_call", "", ({"name": "find", "arguments": {"n": 1}},), answer={"name": "find", "arguments": {"n": 1}})
    wrong = judged("tool_call", "", ({"name": "find", "arguments": {"n": True}},), answer={"name": "find", "arguments": {"n": 1}})
    assert right.score == pytest.approx(1) and wrong.parts["verified"] == 0 and wrong.parts["values"] == 0


CODE = """
def good(row, text, tool_calls):
    return {"score": 0.5, "length": len(text) / 10}
def wrong(row, text, tool_calls):
    return row["nothing"]
def large(row, text, tool_calls):
    return 7
def flag(row, text, tool_calls):
    return text == "x"
"""


def test_python_functions_and_their_errors(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)

    def run(name: str) -> Any:
        return judged(f"python:mine.py:{name}", "x", folder=tmp_path)

    assert (run("good").score, run("good").parts) == (0.5, {"length": 0.1}) and not run("good").failed
    assert run("flag").score == 1
    broken = run("wrong")
    assert broken.failed and broken.score == 0 and broken.errors == ["mine.py:5: KeyError: 'nothing'"]
    assert run("large").failed and "7.0, not from 0 to 1" in run("large").errors[0]
    (tmp_path / "typo.py").write_text("x = 1\ndef f(:\n")
    with pytest.raises(ValueError, match=r"typo.py:2: SyntaxError"):
        read_verifier("python:typo.py:f", {}, VERIFIERS, tmp_path)
    with pytest.raises(ValueError, match="hub may not name code"):
        read_verifier("python:os:getcwd", {})


def test_a_domain_adds_kinds_as_verifiers_or_functions() -> None:
    known = registry({"loud": lambda row, text, tool_calls: text.isupper()})
    row = {"verifier": read_verifier("loud", {}, known)}
    assert verify(row, "YES", (), known).score == 1 and verify(row, "yes", (), known).score == 0 and set(VERIFIERS) < set(known)


@pytest.mark.parametrize(
    ("options", "said", "score"),
    [
        ({}, "oslo, then ROME", 1),
        ({}, "Rome", 0.5),
        ({}, "Romeo", 0.5),
        ({"words": True}, "Romeo and Oslo", 0.5),
        ({"case": True}, "rome, Oslo", 0.5),
        ({"which": "any"}, "Rome", 1),
        ({"which": "any"}, "Paris", 0),
    ],
)
def test_contains(options: dict[str, Any], said: str, score: float) -> None:
    verdict = judged({"kind": "contains", "answer": ["Rome", "Oslo"], **options}, said)
    assert verdict.score == score and bool(verdict.errors) == (score < 1)
    assert verdict.parts["every"] <= verdict.parts["found"] <= verdict.parts["some"]


def test_contains_refuses_what_every_text_contains() -> None:
    for spec, problem in (({"answer": ["a", " "]}, "every text contains it"), ({"answer": "a", "which": "one"}, "all and any")):
        with pytest.raises(ValueError, match=problem):
            judged({"kind": "contains", **spec})
