"""After the split: is anything on one side also on the other, and has each side the share that was asked for?

Duplicates are searched for before this, over all splits together, so nothing should be found. But that search goes by
signatures, rules are switched off, and shares move when duplicates and what is above the size go. A check that draws its
own signatures costs little beside a test score that is too good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tenet.corpus.dedup.alike import Rule
from tenet.corpus.dedup.near import NearDuplicates
from tenet.corpus.ngrams import Hashes
from tenet.corpus.split import HELD, Split

#: A share is doubted when it is less than half or more than twice what was asked.
FACTOR = 2.0
#: The check's own signatures: another draw than the search's, so that both must miss a pair.
SEED = 7_919
ORDER: tuple[Split, ...] = ("test", "valid", "train")


@dataclass(frozen=True)
class Leak:
    """Document `number` of a split, which is like document `other` of a split that is held out."""

    split: Split
    number: int
    other_split: Split
    other: int


@dataclass
class Across:
    """What the check found.

    Args:
        leaks: near duplicates on two sides.
        shares: of the bytes, by split.
        notes: for the screen and the card; empty when all is well.
    """

    leaks: list[Leak] = field(default_factory=list)
    shares: dict[Split, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def across(
    splits: Mapping[Split, Iterable[tuple[Hashes, bool]]],
    sizes: Mapping[Split, int],
    asked: tuple[float, float],
    folder: Path,
    memory: int,
    rule: Rule | None = None,
    how: str = "",
    words: Callable[[int], Hashes] | None = None,
) -> Across:
    """Check a finished split.

    Args:
        splits: word hashes of the documents of each, and whether one is prose (see `alike.Text`).
        sizes: UTF-8 bytes of each.
        asked: shares for validation and for test.
        folder, memory: of the search; see `near.NearDuplicates`.
        rule: what counts as a near duplicate.
        how: of `split.Holdout`, for the note.
        words: number -> word hashes, where they lie on disk already; test documents come first, then those for
            validation, then the others.
    """
    found = Across(_leaks(splits, folder, memory, rule or Rule(), words), *shares(sizes, asked, how))
    if found.leaks:
        first = found.leaks[0]
        found.notes.append(
            f"{len(found.leaks):,} documents are near duplicates of held-out ones, e.g. {first.split} {first.number} of "
            f"{first.other_split} {first.other}: scores on held-out text are too good; lower corpus.near_duplicate, "
            "or hold their groups out together"
        )
    return found


def shares(sizes: Mapping[Split, int], asked: tuple[float, float], how: str = "") -> tuple[dict[Split, float], list[str]]:
    """Share of the bytes of each split, and a note for each held-out one that is not within `FACTOR` of what was
    asked."""
    total = sum(sizes.values())
    wanted: dict[Split, float] = {"valid": asked[0], "test": asked[1]}
    found: dict[Split, float] = {split: sizes.get(split, 0) / total if total else 0.0 for split in ORDER}
    notes = []
    for split in HELD:
        if not wanted[split] / FACTOR <= found[split] <= wanted[split] * FACTOR:
            notes.append(
                f"{split} has {found[split]:.1%} of the text, {wanted[split]:.1%} was asked for "
                f"({_cause(how, found[split] > wanted[split])})"
            )
    return found, notes


def _cause(how: str, more: bool) -> str:
    if how == "within":
        return "documents are held out whole, and few are long; shorter pieces or more text bring it nearer"
    if more:
        return "groups are held out whole, and one of them is this large; smaller groups or more of them bring it nearer"
    return "what was removed after the split was mostly of this one; corpus.heldout can ask for more"


def _leaks(
    splits: Mapping[Split, Iterable[tuple[Hashes, bool]]],
    folder: Path,
    memory: int,
    rule: Rule,
    words_of: Callable[[int], Hashes] | None,
) -> list[Leak]:
    search = NearDuplicates(folder, rule, SEED, memory, words_of)
    try:
        ends: list[int] = []
        for split in ORDER:
            for words, prose in splits.get(split, ()):
                search.add(words, prose)
            ends.append(len(search))
        begins = [0, *ends]

        def place(number: int) -> tuple[Split, int]:
            where = next(i for i, end in enumerate(ends) if number < end)
            return ORDER[where], number - begins[where]

        pairs = ((place(i), place(int(j))) for i, j in enumerate(search.twins()) if j >= 0)
        return [Leak(*one, *other) for one, other in pairs if one[0] != other[0]]
    finally:
        search.close()
