"""What compares documents with each other: duplicates, overlap with held-out text, shares of groups, the size of the
whole.

Held-out documents go first in every step. So they never change because training text was added, and where two documents
are alike it is the training one that goes. Documents are told apart by their place in the list: ids of other people's
rows repeat.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from tenet.corpus.dedup.across import ORDER, across
from tenet.corpus.dedup.alike import Rule
from tenet.corpus.dedup.budget import MEMORY
from tenet.corpus.dedup.cutting import cut
from tenet.corpus.dedup.earlier import EarlierRuns
from tenet.corpus.dedup.exact import ExactDuplicates
from tenet.corpus.dedup.near import near_duplicates
from tenet.corpus.dedup.overlap import HeldoutOverlap
from tenet.corpus.dedup.spans import RepeatedSpans
from tenet.corpus.documents import Held, size
from tenet.corpus.ngrams import Hashes
from tenet.corpus.split import Holdout, Split, hold_out, order_key
from tenet.corpus.storage.stored import Stored

#: A training document is a copy of held-out text when this share of its words lies in 13-grams that held-out text has
#: too. Below it the documents share boilerplate (headers, licences, the words of a form), which is what a new document
#: is written with too.
OVERLAP = 0.5
#: An n-gram that more training documents than this have is no evidence of a copy, but how such documents are written
#: (GPT-3, arXiv:2005.14165, appendix C): forty pages of one form, twenty sentence patterns of a textbook. Its words
#: count on neither side.
COMMON = 10
Placed = tuple[Split, Stored]
_RANK: dict[Split, int] = {"test": 0, "valid": 1, "train": 2}


@dataclass
class Selection:
    """What is left, and what went why: (filter, reason, document)."""

    splits: dict[Split, list[Stored]] = field(default_factory=dict)
    removed: list[tuple[str, str, Stored]] = field(default_factory=list)
    #: Documents and bytes that went into each filter.
    entered: dict[str, tuple[int, int]] = field(default_factory=dict)
    heldout_overlap: float = 0.0
    #: Documents of which passages were cut, and characters.
    cut: tuple[int, int] = (0, 0)
    #: Of the check behind the split: near duplicates across it, shares that are not as asked.
    notes: list[str] = field(default_factory=list)
    #: What was held out, and how it was found.
    holdout: Holdout = field(default_factory=lambda: Holdout([]))


def select(
    documents: Sequence[Stored],
    *,
    seed: int,
    heldout: tuple[float, float],
    near_duplicate: float,
    ngram: int,
    edited_copy: float = 0.0,
    passages: int = 0,
    seen_in: Sequence[Path] = (),
    memory: int = MEMORY,
    scratch: Path | None = None,
    remember: Callable[[bytes, Hashes], None] = lambda digest, words: None,
    group_cap: float | Literal["source"],
    max_bytes: int | Literal["all"],
    step: Callable[[str], None] = lambda name: None,
) -> Selection:
    """Duplicates out, copies of held-out text out, no group above its share, at most `max_bytes` in all.

    No text is held: what the steps look at are ids, sizes and groups in memory, and word hashes that stream from the disk.

    Args:
        documents: what passed the filters, in any order: the result depends on their ids and texts alone.
        seed: of the order in which documents are taken until there are enough.
        heldout: shares for validation and for test.
        near_duplicate: Jaccard similarity of word 5-grams.
        edited_copy: of prose, share of the words in common 5-grams (see `dedup.alike`); 0 switches it off.
        passages: least words of a passage that is cut from all documents but the first; 0 cuts none.
        seen_in: earlier runs whose documents are left out.
        memory: most bytes for each step beside the table of documents; scratch: its folder, deleted at the end.
        remember: called with digest and word hashes of each document that is kept, for later runs.
        ngram: words in a row that count as copied from held-out text.
        group_cap: largest share of the bytes for one group; "source": what its reader says.
        max_bytes: most of all together.
        step: called with the name of each filter before it runs.

    Raises:
        StageError: there are too few documents to hold some out.
    """
    result = Selection(holdout=hold_out(documents, heldout))
    work = _Work(result, _in_order(documents, result.holdout.splits, seed), Rule(near_duplicate, edited_copy), seed, memory)
    with _scratch(scratch) as folder:
        step("exact duplicates")
        work.apply("exact duplicate", _named("same as", work.rest, _exact(work.rest, folder / "exact", memory)))
        step("near duplicates")
        work.apply("near duplicate", _named("like", work.rest, work.near(folder / "near")))
        if seen_in:
            step("documents of earlier runs")
            work.apply("seen before", _seen(work.rest, seen_in, folder / "seen", near_duplicate, memory))
        if passages:
            step("repeated passages")
            result.cut = cut_passages([item for _, item in work.rest], folder / "passages", passages, memory)
            work.apply("repeated passages", ["" if _has_text(item) else "nothing left" for _, item in work.rest])
        step("overlap with held-out text")
        with contextlib.closing(HeldoutOverlap(folder / "overlap", ngram, memory)) as overlap:
            train = work.overlapping(overlap)
            step("shares and size")
            work.shares(group_cap, max_bytes)
            for _, item in work.rest:
                remember(item.digest, item.words())
            left = {item.number for item in result.splits["train"]}
            still = np.fromiter((item.number in left for item in train), dtype=np.bool_, count=len(train))
            result.heldout_overlap = overlap.covered_share(_words(work.rest, "test"), still)
        result.notes = work.across(folder / "across", heldout)
    return result


@contextlib.contextmanager
def _scratch(folder: Path | None) -> Iterator[Path]:
    """A folder of its own for what the searches put down; what a killed run left goes first."""
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="duplicates-", dir=folder) as held:
        yield Path(held)


@dataclass
class _Work:
    """The documents that are left, in their order, and the steps that need more of them than reasons.

    Args:
        result: what the steps fill.
        rest: documents with their splits.
        rule, seed, memory: of the searches for near duplicates.
    """

    result: Selection
    rest: list[Placed]
    rule: Rule
    seed: int
    memory: int

    def apply(self, name: str, reasons: Iterable[str]) -> None:
        """One filter: every document with a reason goes."""
        self.result.entered[name] = (len(self.rest), sum(item.size for _, item in self.rest))
        told = list(zip(reasons, self.rest, strict=True))
        self.result.removed += [(name, reason, item) for reason, (_, item) in told if reason]
        self.rest = [placed for reason, placed in told if not reason]

    def near(self, folder: Path) -> npt.NDArray[np.int64]:
        """For each document the place of an earlier one that is alike, or -1."""
        rest = self.rest
        return near_duplicates(
            (item.words() for _, item in rest), folder, self.rule, self.seed, self.memory,
            (_is_prose(item) for _, item in rest), lambda number: rest[number][1].words(),
        )  # fmt: skip

    def overlapping(self, overlap: HeldoutOverlap) -> list[Stored]:
        """Training documents that are copies of held-out text go; all that were looked through are returned."""
        train = [item for split, item in self.rest if split == "train"]
        overlap.search(_words(self.rest, "valid", "test"), _words(self.rest, "train"), COMMON)
        copied = iter(overlap.copied_shares().tolist())
        shares = [next(copied) if split == "train" else 0.0 for split, _ in self.rest]
        self.apply("held-out overlap", [f"covered {share:.2f}" if share > OVERLAP else "" for share in shares])
        return train

    def shares(self, group_cap: float | Literal["source"], max_bytes: int | Literal["all"]) -> None:
        """No group above its share, and no more than there may be; what is left is the corpus."""
        self.apply("group cap", over_share([item for _, item in self.rest], group_cap, max_bytes))
        splits, items = [split for split, _ in self.rest], [item for _, item in self.rest]
        self.apply("size", over_size(items, splits, self.seed, max_bytes))
        for name in _RANK:
            self.result.splits[name] = [item for split, item in self.rest if split == name]

    def across(self, folder: Path, heldout: tuple[float, float]) -> list[str]:
        """Notes of the check behind the split."""
        made = self.result.splits
        ordered = [item for name in ORDER for item in made[name]]
        sides = {name: ((item.words(), _is_prose(item)) for item in made[name]) for name in ORDER}
        sizes = {name: sum(item.size for item in items) for name, items in made.items()}
        how = self.result.holdout.how
        return across(sides, sizes, heldout, folder, self.memory, self.rule, how, lambda number: ordered[number].words()).notes


def _is_prose(item: Stored) -> bool:
    return bool(item.metadata["kind"] == "prose")


def _has_text(item: Stored) -> bool:
    return item.size >= 100 or bool(item["text"].strip())


def _in_order(documents: Sequence[Stored], splits: Sequence[Split], seed: int) -> list[Placed]:
    """Held-out documents before the others, each side in a seeded order; what has one id goes by its text."""
    placed = list(zip(splits, documents, strict=True))
    return sorted(placed, key=lambda pair: (_RANK[pair[0]], order_key(seed, pair[1].id), pair[1].id, pair[1].key))


def _words(rest: Sequence[Placed], *splits: Split) -> Callable[[], Iterator[Hashes]]:
    """The word hashes of some splits, as often as they are asked for."""
    chosen = [item for split, item in rest if split in splits]
    return lambda: (item.words() for item in chosen)


def _named(how: str, rest: Sequence[Placed], twins: npt.NDArray[np.int64]) -> list[str]:
    return [f"{how} {rest[twin][1].id}" if twin >= 0 else "" for twin in twins.tolist()]


def _exact(rest: Sequence[Placed], folder: Path, memory: int) -> npt.NDArray[np.int64]:
    search = ExactDuplicates(folder, memory)
    for _, item in rest:
        search.add(item.digest)
    twins = search.twins()
    search.close()
    return twins


def _seen(rest: Sequence[Placed], runs: Sequence[Path], folder: Path, threshold: float, memory: int) -> list[str]:
    earlier = EarlierRuns(runs, folder, threshold, memory)
    for _, item in rest:
        earlier.add(item.digest, item.words())
    before = earlier.found()
    earlier.close()
    return [before[number].reason() if number in before else "" for number in range(len(rest))]


def cut_passages(documents: Sequence[Stored], folder: Path, least: int, memory: int) -> tuple[int, int]:
    """Cut passages of at least `least` words from every document but the first that has them; code is left as it is,
    since licences and interfaces repeat there by right.

    Returns:
        documents that were cut, characters that went.
    """
    search = RepeatedSpans(folder, memory, least)
    for document in documents:
        found = document.words()
        search.add(found if document.metadata["kind"] != "source" else found[:0])
    cut_documents = characters = 0
    for number, spans in search.spans().items():
        made = cut(documents[number]["text"], spans)
        if made.removed:
            documents[number].store.replace(documents[number], made.text)
            cut_documents, characters = cut_documents + 1, characters + sum(map(len, made.removed))
    search.close()
    return cut_documents, characters


def over_share(documents: Sequence[Held], share: float | Literal["source"], max_bytes: int | Literal["all"]) -> list[str]:
    """Documents of a group beyond its share of the bytes, the last ones of the order."""
    total = sum(map(size, documents))
    total = total if max_bytes == "all" else min(total, max_bytes)
    taken: dict[str, int] = defaultdict(int)
    found = []
    for document in documents:
        metadata = document["metadata"]
        group = metadata.get("_cap") or metadata["group"]
        most = metadata.get("_cap_share", 1.0) if share == "source" else share
        over = bool(group) and most < 1 and taken[group] + size(document) > most * total
        taken[group] += 0 if over else size(document)
        found.append(f"{group} has {most:.0%} already" if over else "")
    return found


def over_size(documents: Sequence[Held], splits: Sequence[Split], seed: int, max_bytes: int | Literal["all"]) -> list[str]:
    """Documents beyond `max_bytes` in a seeded order that mixes splits and groups; the first of each split goes before
    all others."""
    if max_bytes == "all":
        return [""] * len(documents)
    order = sorted(range(len(documents)), key=lambda i: (order_key(seed, documents[i]["id"]), i))
    first = {split: i for i in reversed(order) for split in (splits[i],)}
    room, found = max_bytes, [""] * len(documents)
    for i in sorted(order, key=lambda i: first[splits[i]] != i):
        room -= size(documents[i])
        if room < 0:
            found[i] = f"beyond {max_bytes} bytes"
    return found
