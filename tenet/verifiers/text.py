"""Verifiers of text: the one right string, strings that must be in it, the last number, a pattern.

{"kind": "exact", "answer": "Paris", "case": false, "punctuation": "drop"}
{"kind": "contains", "answer": ["4821937", "5510284"], "which": "all"}
{"kind": "number", "answer": "#### 18", "tolerance": 0.01}
{"kind": "regex", "pattern": "^\\\\d{4}$", "case": false, "whole": true}
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import regex

from tenet.verifiers.verifier import Calls, Row, Verdict, options, with_answer

#: Thousands in groups of three, a sign only where no digit or letter stands before it: "5-3" ends with 3.
_NUMBER = re.compile(r"(?<![\w.])[-+\u2212]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)?(?:\.\d+|(?<=\d))(?:[eE][-+]?\d+)?")
#: A pattern that backtracks without end must not hold up training.
_SECONDS = 1.0


class Exact:
    """The answer is one string, or one of several.

    Spec: `answer`; `strip` (default true): blanks around do not count; `case` (default true): capitals count;
    `punctuation`: keep | full_stop (a closing one does not count) | drop; `extract`: a pattern with one group, whose
    last fit is the answer that was given (no fit: it could not be read). Parts: exact_match, contains (the answer is in
    what was said).
    """

    def read(self, spec: Row, row: Row, folder: Path | None) -> Row:
        known: dict[str, type | tuple[type, ...]] = {
            "answer": (str, list, int, float),
            "strip": bool,
            "case": bool,
            "punctuation": str,
            "extract": str,
        }
        spec = with_answer(spec, row)
        options(spec, known)
        if spec.get("punctuation", "keep") not in ("keep", "full_stop", "drop"):
            raise ValueError(f"exact: punctuation is {spec['punctuation']!r}; there are keep, full_stop and drop")
        if "extract" in spec and _pattern("exact", spec["extract"]).groups != 1:
            raise ValueError(f"exact: extract is {spec['extract']!r}; it needs exactly one group, for the answer")
        answers = spec["answer"] if isinstance(spec["answer"], list) else [spec["answer"]]
        if not all(_normal(str(answer), spec) for answer in answers):
            raise ValueError(f"exact: nothing is left of the answer {spec['answer']!r} after strip and punctuation")
        return {**spec, "answer": [str(answer) for answer in answers]}

    def verify(self, spec: Row, row: Row, text: str, calls: Calls) -> Verdict:
        if "extract" in spec:
            try:
                found = [match[1] for match in regex.finditer(spec["extract"], text, timeout=_SECONDS) if match[1] is not None]
            except TimeoutError:
                found = []
            if not found:
                return Verdict(0.0, {"exact_match": 0.0, "contains": 0.0}, [f"{spec['extract']!r} does not fit"], unread=True)
            text = found[-1]
        said = _normal(text, spec)
        wanted = [_normal(answer, spec) for answer in spec["answer"]]
        right = float(said in wanted)
        return Verdict(right, {"exact_match": right, "contains": float(any(answer in said for answer in wanted))})


def _normal(text: str, spec: Row) -> str:
    if spec.get("strip", True):
        text = text.strip()
    if spec.get("punctuation", "keep") == "full_stop":
        text = text.removesuffix(".")
    elif spec.get("punctuation") == "drop":
        text = regex.sub(r"\p{P}", "", text)
        text = " ".join(text.split()) if spec.get("strip", True) else text
    return text if spec.get("case", True) else text.casefold()


class Contains:
    """Strings are somewhere in the text.

    Spec: `answer`, one string or several; `which`: all (the score is the share that is found) | any (one is enough);
    `case` (default false): capitals count; `words` (default false): no letter or digit may stand beside the string.
    Parts: found (share), every, some. RULER's two metrics (Hsieh et al. 2024) are `all` and `any`.
    """

    def read(self, spec: Row, row: Row, folder: Path | None) -> Row:
        spec = with_answer(spec, row)
        options(spec, {"answer": (str, list, int, float), "which": str, "case": bool, "words": bool})
        if spec.get("which", "all") not in ("all", "any"):
            raise ValueError(f"contains: which is {spec['which']!r}; there are all and any")
        if "extract" in spec and _pattern("exact", spec["extract"]).groups != 1:
            raise ValueError(f"exact: extract is {spec['extract']!r}; it needs exactly one group, for the answer")
        answers = spec["answer"] if isinstance(spec["answer"], list) else [spec["answer"]]
        if not all(str(answer).strip() for answer in answers):
            raise ValueError(f"contains: an answer of {spec['answer']!r} is empty; every text contains it")
        return {**spec, "answer": list(dict.fromkeys(map(str, answers)))}

    def verify(self, spec: Row, row: Row, text: str, calls: Calls) -> Verdict:
        there = [_contained(answer, text, spec) for answer in spec["answer"]]
        parts = {"found": sum(there) / len(there), "every": float(all(there)), "some": float(any(there))}
        missing = [f"{answer!r} is not in it" for answer, found in zip(spec["answer"], there, strict=True) if not found]
        either = spec.get("which") == "any"
        return Verdict(parts["some" if either else "found"], parts, [] if either and any(there) else missing)


def _contained(answer: str, text: str, spec: Row) -> bool:
    if not spec.get("case", False):
        answer, text = answer.casefold(), text.casefold()
    if spec.get("words", False):
        return re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text) is not None
    return answer in text


class Number:
    """The last number in the text is the answer's last number ("#### 18" is 18).

    Spec: `answer`; `tolerance`: largest difference (default: what rounding leaves). Parts: number (one was given),
    right.
    """

    def read(self, spec: Row, row: Row, folder: Path | None) -> Row:
        spec = with_answer(spec, row)
        options(spec, {"answer": (int, float, str), "tolerance": (int, float)})
        if last_number(str(spec["answer"])) is None:
            raise ValueError(f"number: there is no number in the answer {spec['answer']!r}")
        tolerance = spec.get("tolerance", 0)
        if not (math.isfinite(tolerance) and tolerance >= 0):
            raise ValueError(f"number: tolerance is {tolerance!r}; it must be 0 or more")
        return spec

    def verify(self, spec: Row, row: Row, text: str, calls: Calls) -> Verdict:
        wanted, said = last_number(str(spec["answer"])), last_number(text)
        if said is None or wanted is None:
            return Verdict(0.0, {"number": 0.0, "right": 0.0}, ["there is no number in the answer"], unread=True)
        allowed = spec.get("tolerance", 0) or 1e-9 * max(1.0, abs(wanted))
        right = float(abs(said - wanted) <= allowed)
        return Verdict(right, {"number": 1.0, "right": right}, [] if right else [f"{said:g} is not {wanted:g}"])


def last_number(text: str) -> float | None:
    """The last number in a text, or None; commas may group its digits."""
    found = [match.group() for match in _NUMBER.finditer(text) if any(c.isdigit() for c in match.group())]
    value = float(found[-1].replace(",", "").replace("\u2212", "-")) if found else None
    return value if value is not None and math.isfinite(value) else None


class Regex:
    """A pattern is found in the text.

    Spec: `pattern`, or `answer`; `case` (default true): capitals count; `whole` (default false): the pattern must fit
    all of the text. Part: match.
    """

    def read(self, spec: Row, row: Row, folder: Path | None) -> Row:
        spec = dict(spec)
        if "pattern" not in spec:
            spec["pattern"] = with_answer(spec, row)["answer"]
        spec.pop("answer", None)
        options(spec, {"pattern": str, "case": bool, "whole": bool})
        _pattern("regex", spec["pattern"])
        return spec

    def verify(self, spec: Row, row: Row, text: str, calls: Calls) -> Verdict:
        pattern = _compiled(spec)
        try:
            found = (pattern.fullmatch if spec.get("whole") else pattern.search)(text.strip(), timeout=_SECONDS)
        except TimeoutError:
            return Verdict(
                0.0, {"match": 0.0}, [f"the pattern {spec['pattern']!r} took longer than {_SECONDS:g} s; write it simpler"]
            )
        right = float(found is not None)
        return Verdict(right, {"match": right}, [] if right else [f"{spec['pattern']!r} does not fit"])


def _pattern(kind: str, pattern: str) -> Any:
    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"{kind}: the pattern {pattern!r} is none ({error})") from None


def _compiled(spec: Row) -> Any:
    return regex.compile(spec["pattern"], 0 if spec.get("case", True) else regex.IGNORECASE)
