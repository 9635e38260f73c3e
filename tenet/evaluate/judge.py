"""What counts as right, for each kind of task: pure functions from an answer to its scores. Generated answers are
judged by verifiers.

Every part is kept, so that a figure can be taken apart without running a model again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenet.assistant.assistant import Reply
from tenet.verifiers import VERIFIERS, Row, ToolCall, Verifier, verify
from tenet.verifiers.structured import differences, same

Scores = dict[str, float]


def judge_choice(
    logliks: Sequence[float], greedy: Sequence[bool], choices: Sequence[str], gold: int | Sequence[int]
) -> tuple[int, int, Scores]:
    """The likeliest choice, plain and by character, as lm-eval takes them.

    Characters are those of the choice without the separator; among equals the first one wins.

    Args:
        logliks, greedy: of each choice.
        gold: place of the right one, or of all that are right.

    Returns:
        the two predictions and the scores: acc, acc_norm, greedy (a right choice is what greedy decoding would write)
        and mass (the right ones' share of the probability of all, TruthfulQA's mc2).
    """
    right = (gold,) if isinstance(gold, int) else tuple(gold)
    plain = _argmax(logliks)
    normed = _argmax([loglik / max(1, len(choice)) for loglik, choice in zip(logliks, choices, strict=True)])
    top = max(logliks)
    shares = [math.exp(loglik - top) for loglik in logliks]
    return (
        plain,
        normed,
        {
            "acc": float(plain in right),
            "acc_norm": float(normed in right),
            "greedy": float(any(greedy[place] for place in right)),
            "mass": sum(shares[place] for place in right) / sum(shares),
        },
    )


def _argmax(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda i: (values[i], -i))


@dataclass(frozen=True)
class Judged:
    """What a verifier says of a generated answer.

    Args:
        scores: by name, each from 0 to 1.
        errors: what is wrong, in words.
        read: an answer could be found in what was said.
    """

    scores: Scores
    errors: list[str]
    read: bool = True


def judge_text(reply: Reply, row: Row, known: Mapping[str, Verifier] = VERIFIERS) -> Judged:
    """What the row's verifier says of an answer, part by part; `score` is added where no part of it is an exact match."""
    verdict = verify(row, reply.text, reply.tool_calls, known)
    scores = dict(verdict.parts) if "exact_match" in verdict.parts else {"score": verdict.score, **verdict.parts}
    return Judged(scores, verdict.errors, not verdict.unread)


def judge_call(reply: Reply, row: Row, known: Mapping[str, Verifier] = VERIFIERS) -> Judged:
    """A tool call, part by part.

    Returns:
        called (there is a call that can be read), name (the first one is of the right tool), valid (the row's verifier
        accepts its arguments), values (share of the values asked for that are there), exact (one call, right in all of
        it); and what is wrong, in words.
    """
    spec = row["verifier"]
    verifier = known[spec["kind"]]
    if not isinstance(verifier, ToolCall):
        return judge_text(reply, row, known)
    if not reply.tool_calls:
        none = {"called": 0.0, "name": 0.0, "valid": 0.0, "values": 0.0, "exact": 0.0}
        return Judged(none, ["no tool call that can be read"])
    wanted, expected = verifier.expected(spec, row)
    name, arguments = reply.tool_calls[0]["name"], reply.tool_calls[0]["arguments"]
    right_name = name == wanted
    errors = [] if right_name else [f"called {name}, not {wanted}"]
    errors += ["more than one call"] if len(reply.tool_calls) > 1 else []
    invalid = verifier.invalid(spec, row, arguments)
    wrong = list(dict.fromkeys([*invalid, *differences(expected, arguments)]))
    there = [same(arguments, key, value) for key, value in expected.items()]
    scores = {
        "called": 1.0,
        "name": float(right_name),
        "valid": float(right_name and not invalid),
        "values": sum(there) / len(there) if there and right_name else float(right_name and not there),
        "exact": float(not errors and not wrong),
    }
    return Judged(scores, errors + wrong)
