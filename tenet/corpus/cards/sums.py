"""Do the numbers of a card add up? What was read is what is kept and what was removed, by step, by reason and by source;
the stage asks before it writes a card, and a card that does not add up is an error of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from tenet.errors import StageError

Card = Mapping[str, Any]


def check(card: Card) -> None:
    """Stop where a number contradicts another.

    Raises:
        StageError: the first few contradictions.
    """
    if found := faults(card):
        raise StageError(
            f"corpus: {len(found)} sums of the card do not add up ({'; '.join(found[:3])}); this is a mistake of the program, please report it"
        )


def faults(card: Card) -> list[str]:
    """Every sum that does not come out, in words; none is right."""
    return [f"{what}: {one:,} and {other:,}" for what, one, other in _sums(card) if one != other]


def _sums(card: Card) -> Iterator[tuple[str, int, int]]:
    """(what, one way of counting it, another way)."""
    documents, size, filters, sources = card["documents"], card["bytes"], card["filters"], card["sources"]
    yield "documents kept and those of the splits", documents["kept"], sum(documents[s] for s in ("train", "valid", "test"))
    for unit, total in (("documents", documents), ("bytes", size)):
        yield f"{unit} read and those into the first filter", total["read"], filters[0][f"{unit}_in"]
        yield f"{unit} kept and those out of the last filter", total["kept"], filters[-1][f"{unit}_out"]
        for one, following in pairwise(filters):
            yield f"{unit} from {one['filter']} to {following['filter']}", one[f"{unit}_out"], following[f"{unit}_in"]
        yield f"{unit} read and those of the sources", total["read"], sum(row[unit] for row in sources)
        yield f"{unit} kept and those of the licences", total["kept"], sum(row[unit] for row in card["licences"])
        yield f"{unit} kept and those of the sources", total["kept"], sum(row[f"{unit}_kept"] for row in sources)
    for row in filters:
        gone = row["documents_in"] - row["documents_out"]
        yield f"removed by {row['filter']} and its reasons", gone, sum(row["reasons"].values())
        yield f"removed by {row['filter']} and by source", gone, sum(s["removed"].get(row["filter"], 0) for s in sources)
    for row in sources:
        yield (
            f"documents of {row['source']}, and kept and removed",
            row["documents"],
            row["documents_kept"] + sum(row["removed"].values()),
        )
