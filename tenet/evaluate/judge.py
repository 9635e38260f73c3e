"""What counts as right, for each kind of task: pure functions from an answer to its scores.

Every part is kept, so that a figure can be taken apart without running a model again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tenet.assistant.protocol import Reply

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


def judge_text(reply: Reply, gold: str) -> Scores:
    """Exact match of the text, blanks and a closing full stop aside; `contains` says whether the gold text is in it at all."""
    said, wanted = (text.strip().removesuffix(".") for text in (reply.text, gold))
    return {"exact_match": float(said == wanted), "contains": float(wanted in said)}


def judge_call(reply: Reply, gold: dict[str, Any]) -> tuple[Scores, list[str]]:
    """A tool call, part by part.

    Returns:
        called (there is a call that can be read), name (the first one is of the right tool), valid (botocore accepts its
        arguments), values (share of the values asked for that are there), exact (one call, right in all of it); and what is
        wrong, in words.
    """
    from tenet.domains.aws_api.validator import verify_request

    if not reply.tool_calls:
        return {"called": 0.0, "name": 0.0, "valid": 0.0, "values": 0.0, "exact": 0.0}, ["no tool call that can be read"]
    call, expected = reply.tool_calls[0], gold["arguments"]
    name, arguments = call["name"], call["arguments"]
    right_name = name == gold["operation"]
    errors = [] if right_name else [f"called {name}, not {gold['operation']}"]
    errors += ["more than one call"] if len(reply.tool_calls) > 1 else []
    invalid = verify_request(gold["service"], gold["operation"], arguments)
    wrong = verify_request(gold["service"], gold["operation"], arguments, expected)
    there = [arguments.get(key) == asked and type(arguments.get(key)) is type(asked) for key, asked in expected.items()]
    scores = {
        "called": 1.0,
        "name": float(right_name),
        "valid": float(right_name and not invalid),
        "values": sum(there) / len(there) if there and right_name else float(right_name and not there),
        "exact": float(not errors and not wrong),
    }
    return scores, errors + wrong
