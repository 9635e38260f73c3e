"""What counts as right, for each kind of task: pure functions from an answer to its scores. Generated answers are
judged by verifiers.

Every part is kept, so that a figure can be taken apart without running a model again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tenet.assistant.assistant import Reply
from tenet.verifiers import VERIFIERS, Row, ToolCall, Verifier, verify
from tenet.verifiers.structured import differences, same

Scores = dict[str, float]


def judge_choice(logliks: Sequence[float], choices: Sequence[str], gold: int) -> tuple[int, int, Scores]:
    """The likeliest choice, plain and by character, as lm-eval takes them.

    Characters are those of the choice without the separator; among equals the first one wins.

    Returns:
        the two predictions and their scores, acc and acc_norm.
    """
    plain = _argmax(logliks)
    normed = _argmax([loglik / max(1, len(choice)) for loglik, choice in zip(logliks, choices, strict=True)])
    return plain, normed, {"acc": float(plain == gold), "acc_norm": float(normed == gold)}


def _argmax(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda i: (values[i], -i))


def judge_text(reply: Reply, row: Row, known: Mapping[str, Verifier] = VERIFIERS) -> tuple[Scores, list[str]]:
    """What the row's verifier says of an answer, part by part; `score` is added where no part of it is an exact match.

    Returns:
        the scores, and what is wrong in words.
    """
    verdict = verify(row, reply.text, reply.tool_calls, known)
    scores = dict(verdict.parts) if "exact_match" in verdict.parts else {"score": verdict.score, **verdict.parts}
    return scores, verdict.errors


def judge_call(reply: Reply, row: Row, known: Mapping[str, Verifier] = VERIFIERS) -> tuple[Scores, list[str]]:
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
        return {"called": 0.0, "name": 0.0, "valid": 0.0, "values": 0.0, "exact": 0.0}, ["no tool call that can be read"]
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
    return scores, errors + wrong
