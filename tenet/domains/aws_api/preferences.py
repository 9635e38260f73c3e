"""Preference pairs with exact labels: an operation's own description against that of another operation of its
service."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Sequence
from difflib import SequenceMatcher

from tenet.domains.aws_api import phrases
from tenet.domains.aws_api.facts import Row, ask, by_service, describe_answer, order_key, provenance
from tenet.domains.aws_api.service_models import Operation


@functools.lru_cache(maxsize=65_536)
def _words(name: str) -> frozenset[str]:
    return frozenset(re.findall(r"[A-Z][a-z]+|[A-Z]+(?![a-z])|[a-z]+", name))


def _closest(operation: Operation, candidates: Sequence[Operation]) -> Operation:
    """The sibling with the most similar name: words in common first, then letters in common."""
    own = _words(operation.name)
    shortlist = sorted(candidates, key=lambda o: (-len(own & _words(o.name)) / max(len(own | _words(o.name)), 1), o.name))[:5]
    return max(shortlist, key=lambda o: (SequenceMatcher(None, operation.name, o.name).ratio(), o.name))


def preference_rows(operations: Sequence[Operation], seed: int, most: int | None = None) -> list[Row]:
    """Pairs: an operation's own description against one of the same service that describes something else.

    A coin says whether the wrong answer must be the longer or the shorter one, and the two outcomes are trimmed to the
    same number of rows, so that length alone is right half of the time.
    """
    longer: list[Row] = []
    shorter: list[Row] = []
    answers = {o.id: answer for o in operations if (answer := describe_answer(o))}
    usable = sorted((o for o in operations if o.id in answers), key=lambda o: order_key(seed, o.id))
    siblings = by_service(usable)
    for operation in usable:
        if most is not None and min(len(longer), len(shorter)) >= (most + 1) // 2:
            break
        pick = random.Random(f"{seed} preference {operation.id}")
        chosen_longer, kind = pick.random() < 0.5, pick.choice(("closest", "random"))
        answer = answers[operation.id]
        candidates = [
            other for other in siblings[operation.service]
            if len(answers[other.id]) != len(answer) and (len(answers[other.id]) < len(answer)) == chosen_longer
        ]  # fmt: skip
        if candidates:
            other = _closest(operation, candidates) if kind == "closest" else pick.choice(candidates)
            (longer if chosen_longer else shorter).append(_preference(operation, other, kind, pick))
    half = min(len(longer), len(shorter), len(longer) if most is None else (most + 1) // 2)
    rows = sorted(longer[:half] + shorter[:half], key=lambda row: order_key(seed + 2, row["id"]))
    return rows[:most]


def _preference(operation: Operation, other: Operation, kind: str, pick: random.Random) -> Row:
    return {
        "prompt": [{"role": "user", "content": ask(phrases.DESCRIBE, operation, pick)}],
        "chosen": [{"role": "assistant", "content": describe_answer(operation)}],
        "rejected": [{"role": "assistant", "content": describe_answer(other)}],
        "kind": kind,
        "id": f"preference/{operation.id}",
        **provenance(operation),
    }
