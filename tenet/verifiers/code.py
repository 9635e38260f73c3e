"""A verifier of code: the answer's program runs in the sandbox, and its tests in a process apart (tenet/sandbox).

    {"kind": "code", "tests": ["assert twice(2) == 4"], "reference": "def twice(x): ..."}          one verdict a test
    {"kind": "code", "test": "def check(candidate): ...", "entry_point": "twice", "prefix": "..."}   as HumanEval has it
    {"kind": "code", "cases": [{"input": "3\\n", "output": "6"}]}                                     what it prints

An answer passes by what its functions return, or by what it prints for an input, and by nothing else: leaving early, patching
`assert`, objects that are equal to everything and looking for the tests in memory lead nowhere, since the tests are never in
the same process.
"""

from __future__ import annotations

import ast
import math
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tenet.sandbox.client import judge, require, run_python
from tenet.sandbox.limits import MIB, Limits
from tenet.verifiers.verifier import Calls, Row, Verdict, options

_KEYS: Mapping[str, type | tuple[type, ...]] = {
    "tests": (list, str),
    "test": str,
    "cases": list,
    "entry_point": str,
    "setup": str,
    "prefix": str,
    "reference": str,
    "names": list,
    "form": str,
    "stop": list,
    "seconds": (int, float),
    "memory": int,
}
#: Taken from the row where the verifier does not say them.
_OF_THE_ROW = ("tests", "test", "cases", "entry_point", "setup", "reference")
#: A fence of Markdown, closed or cut off, and what it says of its language.
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:^[ \t]*(?:```|~~~)[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_PYTHON = ("", "python", "python3", "py")
#: Where a base model that goes on after a function has begun something else; those of arXiv:2107.03374, and a fence.
STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint", "\n```")
SECONDS = 5
#: Letters of a reason that are kept.
_LONGEST = 300


class Code:
    """The program in an answer passes its tests.

    Spec: `tests`: asserts, one test each; or `test`: defines `check(candidate)`, which is called with `entry_point`; or
    `cases`: what is printed for an input. `setup`: runs before the tests. `prefix`: trusted code before the answer.
    `reference`: a right answer; what it defines is what tests may call of an answer, even by a name that Python has.
    `form`: program (the default: a fenced block that defines what is tested, or the whole text) | completion (the text goes
    on where `prefix` ends, up to one of `stop`). `seconds` (5, of processor time), `memory` (512, in MiB). Parts: runs, passed (share of tests).
    """

    def read(self, spec: Row, row: Row, folder: Path | None) -> Row:
        spec = {**{key: row[key] for key in _OF_THE_ROW if row.get(key) and not _has_tests(spec, key)}, **spec}
        options(spec, _KEYS)
        if sum(bool(spec.get(key)) for key in ("tests", "test", "cases")) != 1:
            raise ValueError("code: give exactly one of tests, test and cases, in the verifier or in the row")
        if spec.get("form", "program") not in ("program", "completion"):
            raise ValueError(f"code: form is {spec['form']!r}; there are program and completion")
        if isinstance(spec.get("tests"), str):
            spec["tests"] = [spec["tests"]]
        _check_cases(spec.get("cases", []))
        for key in ("setup", "prefix", "reference", "test", "tests"):
            for source in spec.get(key, "") if isinstance(spec.get(key), list) else [spec.get(key, "")]:
                _parsed(source, key)
        _limits(spec)
        if folder is None and os.environ.get("TENET_SANDBOX") == "none":
            raise ValueError("code: tests of rows from a hub are code too, and TENET_SANDBOX is none; save them as a file first")
        require()
        names = {*spec.get("names", ()), *_defined(spec.pop("reference", "")), *filter(None, [spec.get("entry_point")])}
        return {**spec, "names": sorted(names)}

    def verify(self, spec: Row, row: Row, text: str, calls: Calls) -> Verdict:
        program = program_of(text, spec)
        if spec.get("form") != "completion" and not _FENCE.search(text) and not _compiles(program):
            return Verdict(0.0, {"runs": 0.0, "passed": 0.0}, ["there is no code in the answer"], unread=True)
        if "cases" in spec:
            return _printed(program, spec["cases"], _limits(spec))
        said = judge(
            program,
            asserts=spec.get("tests", ()),
            **{key: spec.get(key, "") for key in ("test", "entry_point", "setup", "prefix")},
            names=spec["names"],
            limits=_limits(spec),
        )
        return _verdict(said.passed, said.of, said.runs, said.reason)


def program_of(text: str, spec: Row) -> str:
    """The program that an answer makes, the prefix before it."""
    prefix = spec.get("prefix", "")
    if spec.get("form") == "completion":
        ends = [place for stop in spec.get("stop", STOPS) if (place := text.find(stop)) >= 0]
        return f"{prefix}{text[: min(ends, default=len(text))]}\n"
    return f"{prefix}\n\n{fenced(text, spec.get('names', ()))}\n" if prefix else fenced(text, spec.get("names", ()))


def fenced(text: str, names: Any = ()) -> str:
    """The code of an answer: of its blocks of Python the last that defines one of the names, else the last; without a block
    the whole text."""
    blocks: list[str] = [body for language, body in _FENCE.findall(text) if language.lower() in _PYTHON]
    if not blocks:
        return text
    wanted = re.compile(rf"^[ \t]*(?:async[ \t]+def|def|class)[ \t]+(?:{'|'.join(map(re.escape, names))})\b", re.MULTILINE)
    defining = [block for block in blocks if names and wanted.search(block)]
    return (defining or blocks)[-1]


def _verdict(passed: int, of: int, runs: bool, reason: str) -> Verdict:
    right = passed == of
    many = f"{passed} of {of} tests passed: " if of > 1 else ""
    errors = [] if right else [f"{many}{reason}"[:_LONGEST]]
    return Verdict(float(right), {"runs": float(runs), "passed": passed / of}, errors)


def _printed(program: str, cases: list[Row], limits: Limits) -> Verdict:
    """Every case in a process of its own; blanks at the ends of lines and of the whole do not count."""
    passed, reasons = 0, []
    for number, case in enumerate(cases, 1):
        outcome = run_python(program, stdin=case["input"], limits=limits)
        right = outcome.status == "passed" and _lines(outcome.stdout) == _lines(case["output"])
        passed += right
        if not right:
            reasons.append(f"case {number}: {outcome.reason or 'it printed something else'}")
    return _verdict(passed, len(cases), True, "".join(reasons[:1]))


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


def _has_tests(spec: Row, key: str) -> bool:
    """The row's own tests are not added to those of the verifier."""
    return key in ("tests", "test", "cases") and any(spec.get(kind) for kind in ("tests", "test", "cases"))


def _limits(spec: Row) -> Limits:
    """A verdict should not depend on what else the machine does, so it is processor time that counts; wall time is six times
    as much, for what sleeps."""
    seconds = spec.get("seconds", SECONDS)
    if not 0 < seconds < 3600:
        raise ValueError(f"code: seconds is {seconds!r}; it must be above 0 and below 3600")
    return Limits(seconds=6.0 * seconds, cpu_seconds=math.ceil(seconds), memory=spec.get("memory", 512) * MIB)


def _check_cases(cases: list[Any]) -> None:
    for number, case in enumerate(cases, 1):
        if not isinstance(case, dict) or not all(isinstance(case.get(key), str) for key in ("input", "output")):
            raise ValueError(f"code: case {number} is {case!r}, not {{'input': text, 'output': text}}")


def _parsed(source: Any, key: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that mean nothing: many programs of benchmarks have them
            tree: ast.Module = ast.parse(source)
            return tree
    except (SyntaxError, TypeError, ValueError) as error:
        raise ValueError(f"code: {key} is no Python ({error})") from None


def _compiles(program: str) -> bool:
    try:
        _parsed(program, "answer")
    except (ValueError, RecursionError, MemoryError):
        return False
    return True


def _defined(source: str) -> set[str]:
    """What a program defines at its top: functions, classes and names."""
    found = set[str]()
    for node in _parsed(source, "reference").body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found
