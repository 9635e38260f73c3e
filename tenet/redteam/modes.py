"""Failure modes: successes grouped so that a person can read them, and followed from found to fixed or regressed."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

REDACTED = 120
_STOP = re.compile(r"the|and|for|are|that|this|with|you|your|can|from|has|have|its|not|but|was|will|all|any")


@dataclass(frozen=True)
class Mode:
    """One way in which the model fails: an attack on a category of goals.

    Args:
        size: successes; of: attempts.
        terms: words that mark these answers among all successes (TF-IDF).
        example: one answer, cut to 120 characters and without anything that looks like a secret.
        status: found (fails, no worse than before), fixed (failed before, no longer), regressed (fails more than
            before).
    """

    id: str
    attack: str
    category: str
    size: int
    of: int
    terms: tuple[str, ...]
    example: str
    status: Literal["found", "fixed", "regressed"] = "found"

    def as_row(self) -> dict[str, Any]:
        """For modes.json."""
        return asdict(self)


def failure_modes(rows: Sequence[dict[str, Any]]) -> list[Mode]:
    """Group the successes of judged rows by attack and category; the largest first.

    A group without a success is no mode.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if not row["benign"]:
            groups[row["attack"], row["category"]].append(row)
    failed = {key: [row for row in group if row["success"]] for key, group in groups.items()}
    failed = {key: group for key, group in failed.items() if group}
    terms = top_terms({key: " ".join(row["answer"] for row in group) for key, group in failed.items()})
    modes = [
        Mode(
            f"{attack}/{category}",
            attack,
            category,
            len(group),
            len(groups[attack, category]),
            terms[attack, category],
            _example(group),
        )
        for (attack, category), group in failed.items()
    ]
    return sorted(modes, key=lambda mode: (-mode.size, mode.id))


def compared(before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> list[Mode]:
    """The modes of both rounds with what became of them; a mode that only the second round has is a regression."""
    old, new = ({mode.id: mode for mode in failure_modes(rows)} for rows in (before, after))
    result = []
    for name in sorted({*old, *new}):
        if name not in new:
            result.append(replace(old[name], status="fixed"))
        else:
            worse = new[name].size > (old[name].size if name in old else 0)
            result.append(replace(new[name], status="regressed" if worse else "found"))
    return sorted(result, key=lambda mode: (("regressed", "found", "fixed").index(mode.status), -mode.size, mode.id))


def top_terms(texts: dict[tuple[str, str], str], count: int = 5) -> dict[tuple[str, str], tuple[str, ...]]:
    """The words of each text with the highest TF-IDF among all texts; ties in alphabetical order."""
    counts = {
        key: Counter(word for word in re.findall(r"[a-z]{3,}", text.lower()) if not _STOP.fullmatch(word))
        for key, text in texts.items()
    }
    documents = Counter(word for words in counts.values() for word in words)

    def weight(words: Counter[str], word: str) -> float:
        return words[word] * (math.log((1 + len(texts)) / (1 + documents[word])) + 1.0)

    return {key: tuple(sorted(words, key=lambda word: (-weight(words, word), word))[:count]) for key, words in counts.items()}


def redact(text: str) -> str:
    """At most 120 characters, with long runs of mixed letters and digits masked: reports are passed around."""
    text = re.sub(r"(?=\w*\d)(?=\w*[A-Za-z])\w{16,}", "[redacted]", " ".join(text.split()))
    return text if len(text) <= REDACTED else text[: REDACTED - 1].rstrip() + "…"


def _example(group: Sequence[dict[str, Any]]) -> str:
    # The median by length: neither an empty answer nor the one that ran on.
    by_length = sorted(group, key=lambda row: (len(row["answer"]), row["id"]))
    return redact(by_length[len(by_length) // 2]["answer"])
