"""What compares documents with each other: duplicates, overlap with held-out text, shares of groups, the size of the
whole.

Held-out documents go first in every step. So they never change because training text was added, and where two documents
are alike it is the training one that goes. Documents are told apart by their place in the list: ids of other people's
rows repeat.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import rensa

from tenet.corpus.documents import Document, size
from tenet.corpus.ngrams import GramIndex, Hashes, WordHasher, grams
from tenet.corpus.split import Holdout, Split, hold_out, order_key

#: Bands and rows of the signature: a pair of Jaccard similarity 0.8 meets in at least one band with probability
#: 0.99995, one of 0.5 with 0.55; every meeting is then checked by the exact similarity, so the number of bands costs
#: time and nothing else.
BANDS, ROWS = 25, 5
SHINGLE = 5
#: A training document is a copy of held-out text when this share of its words lies in 13-grams that held-out text has
#: too. Below it the documents share boilerplate (headers, licences, the words of a form), which is what a new document
#: is written with too.
OVERLAP = 0.5
#: An n-gram that more training documents than this have is no evidence of a copy, but how such documents are written
#: (GPT-3, arXiv:2005.14165, appendix C): forty pages of one form, twenty sentence patterns of a textbook. Its words
#: count on neither side.
COMMON = 10
_RANK: dict[Split, int] = {"test": 0, "valid": 1, "train": 2}
_BLANK = re.compile(r"\W+")


@dataclass
class Selection:
    """What is left, and what went why: (filter, reason, document)."""

    splits: dict[Split, list[Document]] = field(default_factory=dict)
    removed: list[tuple[str, str, Document]] = field(default_factory=list)
    #: Documents and bytes that went into each filter.
    entered: dict[str, tuple[int, int]] = field(default_factory=dict)
    heldout_overlap: float = 0.0
    #: What was held out, and how it was found.
    holdout: Holdout = field(default_factory=lambda: Holdout([]))


def select(
    documents: Iterable[Document],
    *,
    seed: int,
    heldout: tuple[float, float],
    near_duplicate: float,
    ngram: int,
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

    step("exact duplicates")
    apply("exact duplicate", exact_duplicates(texts[i] for i in rest))
    step("near duplicates")
    hashed = {i: words(texts[i]["text"]) for i in rest}
    apply("near duplicate", near_duplicates([hashed[i] for i in rest], [texts[i]["id"] for i in rest], near_duplicate, seed))
    step("overlap with held-out text")
    index = GramIndex.of_words([hashed[i] for i in rest if where[i] != "train"], ngram)
    indexes = index.split_common((hashed[i] for i in rest if where[i] == "train"), COMMON)
    copied = [copied_share(hashed[i], *indexes) if where[i] == "train" else 0.0 for i in rest]
    apply("held-out overlap", [f"covered {share:.2f}" if share > OVERLAP else "" for share in copied])
    step("shares and size")
    apply("group cap", over_share([texts[i] for i in rest], group_cap, max_bytes))
    apply("size", over_size([texts[i] for i in rest], [where[i] for i in rest], seed, max_bytes))
    for split in _RANK:
        result.splits[split] = [texts[i] for i in rest if where[i] == split]
    left = GramIndex.of_words([hashed[i] for i in rest if where[i] == "train"], ngram)
    shares = [left.coverage(hashed[i]) for i in rest if where[i] == "test"]
    result.heldout_overlap = float(np.mean(shares)) if shares else 0.0
    return result


def copied_share(words: Hashes, rare: GramIndex, common: GramIndex) -> float:
    """Of a document's words, leaving those of its form aside, the share that held-out text has in the same order."""
    copied = rare.covered(words)
    form = common.covered(words) & ~copied
    return float(copied.sum() / max(1, len(words) - form.sum()))


def exact_duplicates(documents: Iterable[Document]) -> list[str]:
    """For each document the id of an earlier one with the same letters and digits, or ""."""
    first: dict[bytes, str] = {}
    found = []
    for document in documents:
        digest = hashlib.sha256(_BLANK.sub(" ", document["text"].lower()).strip().encode()).digest()
        found.append(f"same as {first[digest]}" if digest in first else "")
        first.setdefault(digest, document["id"])
    return found


def near_duplicates(words: list[Hashes], names: list[str], threshold: float, seed: int) -> list[str]:
    """For each text the name of an earlier, kept one that is alike, or "".

    MinHash signatures (rensa) propose pairs, the exact Jaccard similarity of the word 5-grams decides.

    Args:
        words: word hashes of each text; earlier ones win.
        names: for the reasons.
        threshold: Jaccard similarity from which a text is a near duplicate; above 1 switches the search off.
        seed: of the signature.
    """
    if threshold > 1 or not words:
        return [""] * len(words)
    shingles = [np.unique(grams(text, SHINGLE)) for text in words]
    offsets = np.concatenate(([0], np.cumsum([len(s) for s in shingles]))).astype(np.uint64)
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(shingles), offsets, BANDS * ROWS, seed % 2**32)
    signatures = np.array(matrix.to_rows(), dtype=np.uint32).reshape(len(words), BANDS, ROWS)
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    found = []
    for i, signature in enumerate(signatures):
        keys = [(band, signature[band].tobytes()) for band in range(BANDS)]
        twin = next(
            (j for j in sorted({j for key in keys for j in buckets[key]}) if _jaccard(shingles[i], shingles[j]) >= threshold),
            None,
        )
        if twin is None:  # only kept texts are compared with, so a chain of small changes does not eat a whole family
            for key in keys:
                buckets[key].append(i)
        found.append("" if twin is None else f"like {names[twin]}")
    return found


def _jaccard(a: Hashes, b: Hashes) -> float:
    if min(len(a), len(b)) < 0.5 * max(len(a), len(b)):
        return min(len(a), len(b)) / max(len(a), len(b), 1)  # cannot be more alike than this
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / max(len(a) + len(b) - common, 1)


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
