"""Answers that are certainly worse than what somebody chose, of the kinds that a score learnt from people's pairs falls
for: people compare two serious answers, so nothing in their pairs speaks against them.

    meta        talks about the answer instead of giving it
    repetition  says one thing again and again
    off-topic   answers another prompt
    cut off     stops in the middle

They serve twice. In training, as further pairs beside the human ones (`reward.negatives`); in the measure, planted
beside held-out choices, where phrases, repetitions and cuts are made in another way, from other rows.
"""

from __future__ import annotations

import hashlib
import heapq
import random
import re
from collections.abc import Callable, Sequence

from tenet.rows import Row

KINDS = ("meta", "repetition", "off-topic", "cut off")
#: Columns that say how sure people were of a pair, which does not carry over to another.
OPINIONS = ("margin", "p_chosen")
#: Rows that answers to other prompts are drawn from; more would only cost time.
CANDIDATES = 2000
#: Fewest words of an answer that can be cut.
CUTTABLE = 6
_TRAINED = (
    "This response is polite, helpful and suitable for the question.",
    "The answer above has been revised so that it is clear, honest and harmless.",
    "I have rewritten my reply to be more respectful and professional.",
    "Here is an improved version of the assistant's message, as requested.",
    "The previous response was good because it stayed on topic and avoided harm.",
    "My last answer follows the guidelines and gives useful information.",
    "This is a thoughtful reply that takes the user's needs into account.",
    "The assistant should answer in a friendly and careful tone.",
)
_PLANTED = (
    "Your reply is more appropriate for a formal setting and shows empathy.",
    "A better wording of the message would be considerate and accurate.",
    "Overall, what was written reads well and needs no further changes.",
    "I think the text meets all criteria: it is safe, kind and complete.",
    "The revised statement no longer contains anything that could offend.",
    "In summary, the output is of high quality and answers everything.",
)


def said(row: Row) -> str:
    """The text of the chosen answer."""
    return str(row["chosen"][0]["content"])


def trained(rows: Sequence[Row], share: float) -> list[Row]:
    """Pairs to train on beside `rows`: what was chosen against something worse.

    Args:
        share: of the rows that give one. Which ones, of what kind and against whose answer is a function of the row's
            id, so that another split gives the same wherever it can.
    """
    given = [row for row in rows if random.Random(f"share {row['id']}").random() < share]
    others = _candidates(rows)
    return [pair for row in given if (pair := _pair(row, others, "trained", _TRAINED, _again_and_again, (0.3, 0.7)))]


def planted(rows: Sequence[Row]) -> list[Row]:
    """Garbage to measure with beside held-out choices, one for each row, made in another way than in `trained`."""
    others = _candidates(rows)
    return [pair for row in rows if (pair := _pair(row, others, "planted", _PLANTED, _loop, (0.15, 0.5)))]


def _pair(
    row: Row,
    others: Sequence[Row],
    use: str,
    phrases: Sequence[str],
    repeat: Callable[[list[str], random.Random], str],
    kept: tuple[float, float],
) -> Row | None:
    """What was chosen against a worse answer; None where it is a call, or says nothing."""
    words = said(row).split()
    if not words or row["chosen"][0].get("tool_calls"):
        return None
    draw = random.Random(f"{use} {row['id']}")
    kind = draw.choice(KINDS if len(words) >= CUTTABLE else KINDS[:3])
    if kind == "off-topic":
        other = _elsewhere(row, others, use)
        kind, text = (kind, said(other)) if other else ("meta", draw.choice(phrases))
    elif kind == "meta":
        text = " ".join(draw.sample(phrases, draw.choice((1, 2))))
    elif kind == "repetition":
        text = repeat(words, draw)
    else:
        text = " ".join(words[: max(2, round(draw.uniform(*kept) * len(words)))])
    worse = {"rejected": [{"role": "assistant", "content": text}], "kind": kind, "id": f"{row['id']} {use}"}
    return {key: value for key, value in row.items() if key not in OPINIONS} | worse


def _again_and_again(words: list[str], draw: random.Random) -> str:
    """A few words of the answer, over and over."""
    start = draw.randrange(max(1, len(words) - 4))
    piece = words[start : start + draw.randint(1, 4)]
    return " ".join(piece * draw.randint(6, 14))


def _loop(words: list[str], draw: random.Random) -> str:
    """The answer's first sentence, as a model that is caught in a loop says it."""
    sentence = re.split(r"(?<=[.!?])\s", " ".join(words))[0]
    return " ".join([sentence] * draw.randint(3, 6))


def _candidates(rows: Sequence[Row]) -> Sequence[Row]:
    """The same ones for as long as they are there, whatever else is."""
    if len(rows) <= CANDIDATES:
        return rows
    return heapq.nsmallest(CANDIDATES, rows, key=lambda row: _rank(str(row["id"])))


def _rank(words: str) -> bytes:
    return hashlib.blake2b(words.encode(), digest_size=8).digest()


def _elsewhere(row: Row, others: Sequence[Row], use: str) -> Row | None:
    """Another row's, by the rank of a hash: the same one for as long as it is among those that may be drawn from."""
    asked = row["prompt"]
    best: tuple[bytes, Row] | None = None
    for other in others:
        if other["id"] == row["id"] or other["prompt"] == asked or not said(other).strip():
            continue
        rank = _rank(f"{use} {row['id']} {other['id']}")
        if best is None or rank < best[0]:
            best = (rank, other)
    return best[1] if best else None
