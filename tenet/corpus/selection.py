"""What compares documents with each other: duplicates, overlap with held-out text, shares of groups, the size of the
whole.

Held-out documents go first in every step. So they never change because training text was added, and where two documents
are alike it is the training one that goes. Documents are told apart by their place in the list: ids of other people's
rows repeat.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from tenet.corpus.dedup.across import across
from tenet.corpus.dedup.alike import Rule
from tenet.corpus.dedup.budget import MEMORY
from tenet.corpus.dedup.cutting import cut
from tenet.corpus.dedup.earlier import EarlierRuns
from tenet.corpus.dedup.exact import digest, exact_duplicates
from tenet.corpus.dedup.near import near_duplicates
from tenet.corpus.dedup.spans import RepeatedSpans
from tenet.corpus.documents import Document, size
from tenet.corpus.ngrams import GramIndex, Hashes, WordHasher
from tenet.corpus.split import Holdout, Split, hold_out, order_key

#: A training document is a copy of held-out text when this share of its words lies in 13-grams that held-out text has
#: too. Below it the documents share boilerplate (headers, licences, the words of a form), which is what a new document
#: is written with too.
OVERLAP = 0.5
#: An n-gram that more training documents than this have is no evidence of a copy, but how such documents are written
#: (GPT-3, arXiv:2005.14165, appendix C): forty pages of one form, twenty sentence patterns of a textbook. Its words
#: count on neither side.
COMMON = 10
_RANK: dict[Split, int] = {"test": 0, "valid": 1, "train": 2}


@dataclass
class Selection:
    """What is left, and what went why: (filter, reason, document)."""

    splits: dict[Split, list[Document]] = field(default_factory=dict)
    removed: list[tuple[str, str, Document]] = field(default_factory=list)
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
    documents: Iterable[Document],
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

    Args:
        documents: what passed the filters, in any order: the result depends on their ids and texts alone.
        seed: of the order in which documents are taken until there are enough.
        heldout: shares for validation and for test.
        near_duplicate: Jaccard similarity of word 5-grams.
        edited_copy: of prose, share of the words in common 5-grams (see `dedup.alike`); 0 switches it off.
        passages: least words of a passage that is cut from all documents but the first; 0 cuts none.
        seen_in: earlier runs whose documents are left out.
        memory: most bytes for the search for duplicates; scratch: its folder, deleted at the end.
        remember: called with digest and word hashes of each document that is kept, for later runs.
        ngram: words in a row that count as copied from held-out text.
        group_cap: largest share of the bytes for one group; "source": what its reader says.
        max_bytes: most of all together.
        step: called with the name of each filter before it runs.

    Raises:
        StageError: there are too few documents to hold some out.
    """
    everything = list(documents)
    result = Selection(holdout=hold_out(everything, heldout))
    placed = sorted(
        zip(result.holdout.splits, everything, strict=True),
        key=lambda pair: (_RANK[pair[0]], order_key(seed, pair[1]["id"]), pair[1]["id"], pair[1]["text"]),
    )
    where, texts = [split for split, _ in placed], [document for _, document in placed]
    rest = list(range(len(texts)))
    words = WordHasher()

    def apply(name: str, reasons: list[str]) -> None:
        nonlocal rest
        result.entered[name] = (len(rest), sum(size(texts[i]) for i in rest))
        result.removed += [(name, reason, texts[i]) for reason, i in zip(reasons, rest, strict=True) if reason]
        rest = [i for reason, i in zip(reasons, rest, strict=True) if not reason]

    def named(how: str, twins: npt.NDArray[np.int64]) -> list[str]:
        return [f"{how} {texts[rest[twin]]['id']}" if twin >= 0 else "" for twin in twins]

    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="duplicates-", dir=scratch) as held:
        folder = Path(held)
        step("exact duplicates")
        twins = exact_duplicates((texts[i]["text"] for i in rest), folder / "exact", memory)
        apply("exact duplicate", named("same as", twins))
        step("near duplicates")
        hashed = {i: words(texts[i]["text"]) for i in rest}
        prose = [texts[i]["metadata"]["kind"] == "prose" for i in rest]
        rule = Rule(near_duplicate, edited_copy)
        twins = near_duplicates((hashed[i] for i in rest), folder / "near", rule, seed, memory, prose)
        apply("near duplicate", named("like", twins))
        if seen_in:
            step("documents of earlier runs")
            earlier = EarlierRuns(seen_in, folder / "seen", near_duplicate, memory)
            for i in rest:
                earlier.add(digest(texts[i]["text"]), hashed[i])
            before = earlier.found()
            earlier.close()
            apply("seen before", [before[n].reason() if n in before else "" for n in range(len(rest))])
        if passages:
            step("repeated passages")
            result.cut = cut_passages([texts[i] for i in rest], [hashed[i] for i in rest], folder / "passages", passages, memory)
            hashed = {i: words(texts[i]["text"]) for i in rest}
            apply("repeated passages", ["" if texts[i]["text"].strip() else "nothing left" for i in rest])
    step("overlap with held-out text")
    index = GramIndex.of_words([hashed[i] for i in rest if where[i] != "train"], ngram)
    indexes = index.split_common((hashed[i] for i in rest if where[i] == "train"), COMMON)
    copied = [copied_share(hashed[i], *indexes) if where[i] == "train" else 0.0 for i in rest]
    apply("held-out overlap", [f"covered {share:.2f}" if share > OVERLAP else "" for share in copied])
    step("shares and size")
    apply("group cap", over_share([texts[i] for i in rest], group_cap, max_bytes))
    apply("size", over_size([texts[i] for i in rest], [where[i] for i in rest], seed, max_bytes))
    for i in rest:
        remember(digest(texts[i]["text"]), hashed[i])
    for split in _RANK:
        result.splits[split] = [texts[i] for i in rest if where[i] == split]
    with tempfile.TemporaryDirectory(prefix="duplicates-", dir=scratch) as held:
        sides = {
            split: [(hashed[i], texts[i]["metadata"]["kind"] == "prose") for i in rest if where[i] == split] for split in _RANK
        }
        sizes = {split: sum(size(texts[i]) for i in rest if where[i] == split) for split in _RANK}
        result.notes = across(sides, sizes, heldout, Path(held) / "across", memory, rule, result.holdout.how).notes
    left = GramIndex.of_words([hashed[i] for i in rest if where[i] == "train"], ngram)
    shares = [left.coverage(hashed[i]) for i in rest if where[i] == "test"]
    result.heldout_overlap = float(np.mean(shares)) if shares else 0.0
    return result


def copied_share(words: Hashes, rare: GramIndex, common: GramIndex) -> float:
    """Of a document's words, leaving those of its form aside, the share that held-out text has in the same order."""
    copied = rare.covered(words)
    form = common.covered(words) & ~copied
    return float(copied.sum() / max(1, len(words) - form.sum()))


def cut_passages(
    documents: Sequence[Document], hashed: Sequence[Hashes], folder: Path, least: int, memory: int
) -> tuple[int, int]:
    """Cut passages of at least `least` words from every document but the first that has them, in place; code is left as
    it is, since licences and interfaces repeat there by right.

    Returns:
        documents that were cut, characters that went.
    """
    search = RepeatedSpans(folder, memory, least)
    for document, found in zip(documents, hashed, strict=True):
        search.add(found if document["metadata"]["kind"] != "source" else found[:0])
    cut_documents = characters = 0
    for number, spans in search.spans().items():
        made = cut(documents[number]["text"], spans)
        if made.removed:
            documents[number]["text"] = made.text
            cut_documents, characters = cut_documents + 1, characters + sum(map(len, made.removed))
    search.close()
    return cut_documents, characters


def over_share(documents: list[Document], share: float | Literal["source"], max_bytes: int | Literal["all"]) -> list[str]:
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


def over_size(documents: list[Document], splits: list[Split], seed: int, max_bytes: int | Literal["all"]) -> list[str]:
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
