"""A verifier of mathematical expressions: 1/2 is 0.5 and \\frac{1}{2}, x + x is 2x.

Reading and comparing are those of the package math-verify, over SymPy.

    {"kind": "math", "answer": "\\\\frac{1}{2}"}
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from tenet.verifiers.verifier import Calls, Row, Verdict, options, with_answer

#: Seconds for reading, and for comparing. The package keeps them by a signal, which only a main thread can take.
SECONDS = 5
#: Characters at the end of an answer that are read: the result stands there, and reading takes longer than in
#: proportion.
TAIL = 4000


class Mathematics:
    """The answer is an expression equal to the right one.

    Spec: `answer`, in LaTeX or as plain text. Parts: expression (one was given), right. What holds no expression could
    not be read.
    """

    def read(self, spec: Row, row: Row, folder: Path | None) -> Row:
        spec = with_answer(spec, row)
        options(spec, {"answer": (str, int, float)})
        answer = str(spec["answer"])
        if not _wanted(answer):
            raise ValueError(f"math: there is no expression in the answer {answer!r}")
        return {**spec, "answer": answer}

    def verify(self, spec: Row, row: Row, text: str, calls: Calls) -> Verdict:
        from math_verify import parse, verify

        said = parse(text[-TAIL:], parsing_timeout=_seconds())
        if not said:
            return Verdict(0.0, {"expression": 0.0, "right": 0.0}, ["there is no expression in the answer"], unread=True)
        right = float(verify(_wanted(spec["answer"]), said, timeout_seconds=_seconds()))
        return Verdict(right, {"expression": 1.0, "right": right}, [] if right else [f"{said[-1]} is not {spec['answer']}"])


def _wanted(answer: str) -> list[Any]:
    """The right expression. Without dollar signs "2x" would be read as the number 2."""
    from math_verify import parse

    found: list[Any] = parse(answer if "$" in answer else f"${answer}$", parsing_timeout=_seconds())
    return found or parse(answer, parsing_timeout=_seconds())


def _seconds() -> int | None:
    return SECONDS if threading.current_thread() is threading.main_thread() else None
