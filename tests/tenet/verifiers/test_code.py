"""The verifier of code: right answers pass, wrong ones fail with the reason, and what only looks right does not pass."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tenet.errors import ConfigError
from tenet.evaluate.tasks import load_task
from tenet.rows.messages import Unusable
from tenet.rows.prompts import prompt_rows
from tenet.sandbox.client import require
from tenet.verifiers import VERIFIERS, Verdict, read_verifier, verify
from tenet.verifiers.code import fenced, program_of


@pytest.fixture(scope="module", autouse=True)
def able() -> None:
    try:
        require()
    except ConfigError as error:
        pytest.skip(str(error))


def judged(text: str, spec: dict[str, Any], **row: Any) -> Verdict:
    return verify({**row, "verifier": read_verifier({"kind": "code", **spec}, row, VERIFIERS, None)}, text)


TWICE = {"tests": ["assert twice(2) == 4", "assert twice(-3) == -6", "assert twice('ab') == 'abab'"]}
HIDDEN = {
    "prefix": "import math\n\ndef helper(x):\n    return x + 1\n\ndef area(radius: float) -> float:\n    \"\"\"Of a circle.\"\"\"\n",
    "test": "def check(candidate):\n    assert abs(candidate(2.0) - 12.566370614359172) < 1e-9\n    assert helper(candidate(0.0)) == 1\n",
    "entry_point": "area",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "score", "passed", "runs", "reason"),
    [
        ("def twice(x): return 2 * x", 1, 1, 1, ""),
        ("Here:\n```python\ndef twice(x):\n    return x + x\n```\nIt adds.", 1, 1, 1, ""),
        ("def twice(x): return x * x", 0, 1 / 3, 1, "1 of 3 tests passed: AssertionError in `assert twice(-3) == -6`"),
        ("def twice(x): return abs(x) * 2", 0, 1 / 3, 1, "1 of 3 tests passed: AssertionError in"),
        ("def double(x): return 2 * x", 0, 0, 1, "NameError: name 'twice' is not defined"),
        ("```\ndef twice(x) return\n```", 0, 0, 0, "SyntaxError"),
        ("1 / 0", 0, 0, 0, "ZeroDivisionError: division by zero (line 1 of the answer)"),
        ("def twice(x):\n    raise KeyError(x)", 0, 0, 1, "KeyError: 2 (line 2 of the answer)"),
        ("I do not know.", 0, 0, 0, "there is no code in the answer"),
        ("", 0, 0, 1, "NameError"),
        ("def twice(x):\n    while True: pass", 0, 0, 1, "more time than it may"),
        ("def twice(x): return bytearray(1 << 40)", 0, 0, 1, "MemoryError"),
    ],
)
def test_asserts(text: str, score: float, passed: float, runs: float, reason: str) -> None:
    verdict = judged(text, {**TWICE, "seconds": 1})
    assert (verdict.score, verdict.parts) == (score, {"runs": runs, "passed": passed})
    assert reason in "".join(verdict.errors) and bool(verdict.errors) == (score == 0)
    assert verdict.unread == (text == "I do not know.")


@pytest.mark.parametrize(
    ("text", "form", "score"),
    [
        ("    return math.pi * radius ** 2\n", "completion", 1),
        ("    return math.pi * radius ** 2\n\nprint(area(1))\nraise ValueError", "completion", 1),
        ("    return math.pi * radius\n", "completion", 0),
        ("```python\ndef area(radius):\n    return math.pi * radius ** 2\n```", "program", 1),
        ("```\ndef area(r):\n    return helper(r)\n```", "program", 0),
    ],
)
def test_hidden_tests(text: str, form: str, score: float) -> None:
    assert judged(text, {**HIDDEN, "form": form}).score == score


def test_printed_output() -> None:
    cases = [{"input": "3\n", "output": "6"}, {"input": "5\n", "output": "10\n"}]
    assert judged("print(int(input()) * 2)", {"cases": cases}).score == 1
    wrong = judged("print(6)", {"cases": cases})
    assert (wrong.score, wrong.parts["passed"]) == (0, 0.5)
    assert wrong.errors == ["1 of 2 tests passed: case 2: it printed something else"]


#: Answers that do not solve anything. Each would pass, or hide that it did not, were it run beside its tests.
CHEATS = {
    "early exit": "import sys\nsys.exit(0)",
    "os._exit": "import os\nos._exit(0)",
    "exit when called": "def twice(x):\n    import os\n    os._exit(0)",
    "sys.exit when called": "def twice(x):\n    raise SystemExit(0)",
    "exit at import by a thread": "import threading, os\nthreading.Thread(target=lambda: os._exit(0)).start()\ndef twice(x): return 0",
    "equal to everything": """
class Same:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __sub__(self, other): return self
    def __abs__(self): return 0
    def __lt__(self, other): return True
def twice(x): return Same()""",
    "an integer that is equal to everything": """
class Same(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
    def __class__(self): return int
def twice(x): return Same(0)""",
    "patched built-ins": """
import builtins
class Never(AssertionError): pass
builtins.AssertionError = Never
for name in ("abs", "len", "isinstance", "sorted", "all", "any", "sum", "type"): setattr(builtins, name, lambda *a, **k: True)
__builtins__["abs"] = lambda x: 0 if isinstance(__builtins__, dict) else 0
def twice(x): return None""",
    "an exception hook": "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\ndef twice(x): raise ValueError",
    "a trace function": "import sys\ndef hook(frame, event, arg):\n    frame.f_lineno = 1\n    return hook\nsys.settrace(hook)\ndef twice(x): return 0",
    "prints what a judge may wait for": 'print(\'passed\\nOK\\n{"passed": 3, "of": 3, "runs": true}\')\ndef twice(x): return 0',
    "looks for the tests": """
import gc, sys, os
#: Put together here, so that it is not found among the constants of this program.
word, words = "".join(["as", "serts"]), "".join(["= ", "= 4"]).replace(" =", "=")
def twice(x):
    frame = sys._getframe()
    while frame:
        for name, value in frame.f_locals.items():
            if isinstance(value, dict) and word in value: return 2 * x
        frame = frame.f_back
    for thing in gc.get_objects():
        try:
            if isinstance(thing, (list, tuple, dict)) and thing is not globals() and words in repr(thing)[:5000]: return 2 * x
        except Exception: pass
    for number in range(3, 64):
        try:
            if word[:6].encode() in os.pread(number, 1 << 16, 0): return 2 * x
        except OSError: pass
    return 0""",
    "writes the verdict": """
import os, json
for number in range(3, 64):
    for text in (b'{"passed": 3, "of": 3, "runs": true, "left": false, "reason": ""}\\n', b'{"value": null}\\n' * 9, b'{"value": {"o": 0}}\\n'):
        try: os.pwrite(number, text, 0)
        except OSError: pass
        try: os.write(number, text)
        except OSError: pass
def twice(x): return 0""",
    "answers before it is asked": """
import gc, socket
for thing in gc.get_objects():
    if isinstance(thing, socket.socket):
        thing.sendall(b'{"value": {"o": 0}}\\n{"value": true}\\n' * 50)
def twice(x): return 0""",
    "asks instead of answering": """
import gc, socket
for thing in gc.get_objects():
    if isinstance(thing, socket.socket):
        thing.sendall(b'{"ask": "callback", "number": -1, "with": [[], {"d": []}]}\\n{"ask": "getattr", "with": [1, 2]}\\n')
def twice(x): return 0""",
    "sends garbage": """
import gc, socket
for thing in gc.get_objects():
    if isinstance(thing, socket.socket):
        thing.sendall(b'{"raised": [1]}\\n{"value": {"zz": 0}}\\n[1]\\n\\xff\\n' + b'[' * 100000 + b'\\n')
def twice(x): return 0""",
    "changes the expected values": "def twice(x, _seen=[]):\n    _seen.append(x)\n    return _seen",
}


@pytest.mark.parametrize("name", CHEATS)
def test_what_only_looks_right_does_not_pass(name: str) -> None:
    for spec in (
        {**TWICE, "seconds": 2},
        {"test": "def check(f):\n    for x in (1, 2, 7):\n        assert abs(f(x) - 2 * x) < 0.5", "entry_point": "twice"},
    ):
        verdict = judged(CHEATS[name], spec)
        assert verdict.score == 0 and verdict.errors, name
        assert verdict.parts["passed"] == 0


def test_a_test_that_catches_everything_is_not_passed_by_leaving() -> None:
    for caught in ("", " Exception", " BaseException"):
        tests = [f"try:\n    twice(2)\nexcept{caught}:\n    pass"]
        assert judged("def twice(x):\n    raise ValueError", {"tests": tests}).score == 1
        assert judged("def twice(x):\n    import os; os._exit(0)", {"tests": tests}).score == 0
        assert judged("def twice(x):\n    raise SystemExit", {"tests": tests}).score == 0


def test_a_name_of_pythons_own_is_the_answers_where_the_reference_defines_it() -> None:
    """MBPP 126 asks for a function `sum` of two numbers."""
    spec = {"tests": ["assert sum(10, 15) == 6"], "reference": "def sum(a, b): ..."}
    assert judged("def sum(a, b): return 6", spec).score == 1
    assert judged("def sum(a, b): return 6\ndef other(a): return 0", {"tests": ["assert sum([other(2), 1]) == 1"]}).score == 1
    assert (
        "not callable" not in judged("sum = 6\ndef other(a): return 0", {"tests": ["assert sum([other(2), 1]) == 2"]}).errors[0]
    )


@pytest.mark.parametrize(
    ("text", "names", "code"),
    [
        ("```python\na = 1\n```", (), "a = 1\n"),
        ("```py\na = 1", (), "a = 1"),
        ("~~~\na = 1\n~~~", (), "a = 1\n"),
        ("```bash\nls\n```\n```python\na = 1\n```", (), "a = 1\n"),
        ("```python\ndef f(): 1\n```\nUse:\n```python\nf()\n```", ("f",), "def f(): 1\n"),
        ("```python\ndef f(): 1\n```\nBetter:\n```python\ndef f(): 2\n```", ("f",), "def f(): 2\n"),
        ("```\r\na = 1\r\n```", (), "a = 1\r\n"),
        ("a = 1", ("f",), "a = 1"),
    ],
)
def test_code_in_an_answer(text: str, names: tuple[str, ...], code: str) -> None:
    assert fenced(text, names) == code


def test_a_completion_ends_where_something_else_begins() -> None:
    spec = {"form": "completion", "prefix": "def f():\n"}
    assert program_of("    return 1\n\ndef g(): pass", spec) == "def f():\n    return 1\n\n"
    assert program_of("    return 1\nEND", {**spec, "stop": ["END"]}) == "def f():\n    return 1\n\n"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "exactly one of tests, test and cases"),
        ({"tests": ["assert f()"], "cases": [{"input": "", "output": ""}]}, "exactly one"),
        ({"tests": ["assert f("]}, "tests is no Python"),
        ({"tests": ["assert f()"], "form": "whole"}, "form is 'whole'"),
        ({"tests": ["assert f()"], "seconds": "1"}, "seconds is '1', not int or float"),
        ({"tests": ["assert f()"], "memory": 1}, "memory is 1048576; it must be"),
        ({"cases": [{"input": 1}]}, "case 1 is"),
        ({"testz": []}, "key 'testz' is unknown"),
    ],
)
def test_what_is_refused(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_verifier({"kind": "code", **spec}, {}, VERIFIERS, None)


def test_rows_of_a_hub_are_not_run_without_isolation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TENET_SANDBOX", "none")
    with pytest.raises(ValueError, match="save them as a file first"):
        read_verifier({"kind": "code", "tests": ["assert f()"]}, {}, VERIFIERS, None)


def test_a_row_of_policy_optimisation() -> None:
    """The verifier is complete when the table is read; what the row said beside it is not needed any more."""
    record = {"prompt": "Write twice(x).", "tests": TWICE["tests"], "verifier": "code"}
    _, (row,) = prompt_rows(record, Counter(), VERIFIERS, None)
    del row["_used"]
    assert verify(row, "```python\ndef twice(x): return 2 * x\n```").score == 1
    with pytest.raises(Unusable, match="verifier: code: give exactly one of tests"):
        prompt_rows({"prompt": "Write twice(x).", "verifier": "code"}, Counter(), VERIFIERS, None)


def benchmark_rows(shared: Path, name: str) -> list[dict[str, Any]]:
    task = load_task(name)
    with gzip.open(shared / task.data.removeprefix("data:"), "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize(("name", "answer", "every"), [("humaneval", "canonical_solution", 20), ("humaneval_completion", "canonical_solution", 40), ("mbpp", "code", 80)])  # fmt: skip
def test_reference_answers_of_the_benchmarks(shared_data: Path, name: str, answer: str, every: int) -> None:
    """Through the task's own expressions; benchmarks/sandbox.py takes all of them."""
    from tenet.evaluate.filling import value

    task = load_task(name)
    for row in benchmark_rows(shared_data, name)[::every]:
        spec = read_verifier(value(task, "verifier", row), row, VERIFIERS, None)
        text = row[answer] if name != "humaneval" else f"Sure.\n```python\n{row['prompt']}{row[answer]}\n```"
        verdict = verify({**row, "verifier": spec}, text)
        assert verdict.score == 1, (value(task, "id", row), verdict.errors)
        assert verify({**row, "verifier": spec}, "    return 'nothing'\n").score == 0
