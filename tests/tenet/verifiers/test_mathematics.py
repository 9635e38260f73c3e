"""Expressions are compared as mathematics, and what holds none is told apart from a wrong one."""

from __future__ import annotations

import threading

import pytest

from tenet.verifiers import read_verifier, verify

pytest.importorskip("math_verify", reason="math-verify is not installed (make install)")


def judge(answer: str, text: str) -> tuple[float, bool]:
    verdict = verify({"verifier": read_verifier({"kind": "math", "answer": answer}, {})}, text)
    return verdict.score, verdict.unread


@pytest.mark.parametrize(
    "answer, text, right",
    [
        ("1/2", "so it is $\\frac{1}{2}$", True),
        ("1/2", "The answer is 0.5.", True),
        ("1/2", "1/3", False),
        ("2x", "thus $x+x$", True),
        ("2x", "thus $x+2$", False),
        ("x^2-1", "$(x-1)(x+1)$", True),
        ("\\{1,2\\}", "$\\{2,1\\}$", True),
        ("18", "18 - 3 = 15, so\n#### 15", False),
        ("1,000", "1000", True),
    ],
)
def test_equal_expressions(answer: str, text: str, right: bool) -> None:
    assert judge(answer, text) == (float(right), False)


@pytest.mark.parametrize("text", ["", "I do not know.", "Ask me later"])
def test_what_holds_no_expression_could_not_be_read(text: str) -> None:
    assert judge("1/2", text) == (0.0, True)


def test_away_from_the_main_thread() -> None:
    """The package keeps its time limit by a signal, which only a main thread can take."""
    found: list[tuple[float, bool]] = []
    worker = threading.Thread(target=lambda: found.append(judge("2x", "$x+x$")))
    worker.start()
    worker.join(60)
    assert found == [(1.0, False)]


def test_an_answer_without_an_expression_is_refused() -> None:
    with pytest.raises(ValueError, match="math: there is no `answer`"):
        read_verifier({"kind": "math", "answer": ""}, {})
    with pytest.raises(ValueError, match="key 'tolerance' is unknown"):
        read_verifier({"kind": "math", "answer": "1", "tolerance": 1}, {})
