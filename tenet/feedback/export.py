"""Judgements as preference rows, in the format of docs/rows.md.

One row a pair: the verdict that more than half of its annotators gave names the chosen answer, and `margin` says by how
much of their votes it won (1: all; a tie counts as a vote for neither). What names no winner makes no row: ties, both
bad and pairs without a majority are counted instead, because the reader of preferences refuses a tie.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError
from tenet.feedback.ledger import Item, Judgement, Ledger
from tenet.feedback.tally import by_item
from tenet.files import write_jsonl
from tenet.rows import Row

KIND = "human feedback"


@dataclass(frozen=True)
class Exported:
    """What an export holds and what it leaves out: pairs by reason."""

    rows: list[Row]
    left_out: dict[str, int]
    disagreed: int

    @property
    def missing(self) -> str:
        """What is left out, in words."""
        return "; ".join(f"{count} {reason}" for reason, count in self.left_out.items()) or "none"

    def text(self, to: Path) -> str:
        """In words."""
        return (
            f"{len(self.rows)} preference rows: {to}\n"
            f"  left out: {self.missing}\n"
            f"  annotators disagreed on {self.disagreed} of the judged pairs; the verdict of more than half decides"
        )


def export(ledger: Ledger, to: Path) -> Exported:
    """Write the rows.

    Raises:
        ConfigError: the file is there, or there is nothing to write.
    """
    if to.exists():
        raise ConfigError(f"--to {to}: is there already and is not overwritten; name another file")
    made = preference_rows(ledger.items(), ledger.judgements(), str(ledger.meta("source") or ""))
    if not made.rows:
        raise ConfigError(f"{ledger.path}: no pair has a winner yet ({made.missing}); judge some, then export")
    write_jsonl(to, made.rows)
    return made


def preference_rows(items: Mapping[int, Item], judgements: Sequence[Judgement], source: str = "") -> Exported:
    """Rows of the pairs that have a winner.

    Args:
        source: where prompts come from, for rows that do not say it.
    """
    rows: list[Row] = []
    left: Counter[str] = Counter()
    disagreed = 0
    judged = by_item(judgements)
    for number, item in items.items():
        votes = Counter(one.verdict for one in judged.get(number, ()))
        disagreed += len(votes) > 1
        winner = majority(votes)
        if winner in ("a", "b") and not (item.a.whole.strip() and item.b.whole.strip()):
            left["with an empty answer, which no row may hold"] += 1
        elif winner in ("a", "b"):
            rows.append(_row(item, winner, votes, judged[number], source))
        else:
            left[{"tie": "ties", "bad": "both bad", None: "without a majority", "": "not judged"}[winner]] += 1
    return Exported(rows, dict(left), disagreed)


def majority(votes: Mapping[str, int]) -> str | None:
    """The verdict of more than half of the votes; None where there is none, "" where nobody voted."""
    total = sum(votes.values())
    if not total:
        return ""
    return next((verdict for verdict, count in votes.items() if 2 * count > total), None)


def _row(item: Item, winner: str, votes: Counter[str], verdicts: Sequence[Judgement], source: str) -> Row:
    chosen, rejected = (item.a, item.b) if winner == "a" else (item.b, item.a)
    loser = "b" if winner == "a" else "a"
    prompt: dict[str, Any] = item.prompt
    row: Row = {
        "prompt": prompt["prompt"],
        "chosen": [chosen.turn()],
        "rejected": [rejected.turn()],
        "kind": prompt.get("kind") or KIND,
        "margin": round((votes[winner] - votes[loser]) / votes.total(), 4),
        "votes": dict(votes),
        "annotators": [one.annotator for one in verdicts],
        "reasons": [one.reason for one in verdicts if one.reason],
        "id": prompt["id"],
        "source": prompt.get("source") or source,
        "licence": prompt.get("licence", ""),
        "group": prompt.get("group", ""),
    }
    return {**row, "tools": prompt["tools"]} if prompt.get("tools") else row
