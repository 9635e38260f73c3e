"""What compares documents with each other: duplicates, overlap with held-out text, shares of services, the size of the whole.

Held-out documents go first in every step. So they never change because training text was added, and where two documents are
alike it is the training one that goes.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rensa

from tenet.corpus.ngrams import GramIndex, Hashes, WordHasher, grams
from tenet.domains.aws_api.facts import order_key
from tenet.domains.aws_api.service_models import Split, family, place

Document = dict[str, Any]
#: Bands and rows of the signature: a pair of Jaccard similarity 0.8 meets in at least one band with probability 0.99995, one
#: of 0.5 with 0.55; every meeting is then checked by the exact similarity, so the number of bands costs time and nothing
#: else.
BANDS, ROWS = 25, 5
SHINGLE = 5
#: A training document is a copy of held-out text when this share of its words lies in 13-grams that held-out text has too.
#: Below it the documents share boilerplate (paging, tags, the name of the service), which is what a new service is written with.
OVERLAP = 0.5
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


def split_of_document(document: Document, heldout: tuple[float, float]) -> Split:
    """By the hash of the group; a document without a group is training text."""
    group = document["metadata"]["group"]
    if not group:
        return "train"
    where = place(group)
    return "test" if where < heldout[1] else "valid" if where < heldout[0] + heldout[1] else "train"


def size(document: Document) -> int:
    """UTF-8 bytes of the text."""
    return len(document["text"].encode())


def select(
    documents: Iterable[Document],
    *,
    seed: int,
    heldout: tuple[float, float],
    near_duplicate: float,
    ngram: int,
    service_cap: float,
    max_bytes: int,
    step: Callable[[str], None] = lambda name: None,
) -> Selection:
    """Duplicates out, copies of held-out text out, no service above its share, at most `max_bytes` in all.

    Args:
        documents: what passed the filters, in any order: the result depends on their ids alone.
        seed: of the order in which documents are taken until there are enough.
        heldout: shares of groups for validation and for test.
        near_duplicate: Jaccard similarity of word 5-grams.
        ngram: words in a row that count as copied from held-out text.
        service_cap: largest share of the bytes for one service.
        max_bytes: 0 takes all.
        step: called with the name of each filter before it runs.
    """
    result = Selection()
    placed = [(split_of_document(document, heldout), document) for document in documents]
    placed.sort(key=lambda pair: (_RANK[pair[0]], order_key(seed, pair[1]["id"])))
    splits, rest = [split for split, _ in placed], [document for _, document in placed]
    where = {document["id"]: split for split, document in zip(splits, rest, strict=True)}
    words = WordHasher()

    def apply(name: str, reasons: list[str]) -> None:
        nonlocal rest
        result.entered[name] = (len(rest), sum(map(size, rest)))
        result.removed += [(name, reason, document) for reason, document in zip(reasons, rest, strict=True) if reason]
        rest = [document for reason, document in zip(reasons, rest, strict=True) if not reason]

    step("exact duplicates")
    apply("exact duplicate", exact_duplicates(rest))
    step("near duplicates")
    hashed = {document["id"]: words(document["text"]) for document in rest}
    apply("near duplicate", near_duplicates([hashed[d["id"]] for d in rest], [d["id"] for d in rest], near_duplicate, seed))
    step("overlap with held-out text")
    held = [hashed[d["id"]] for d in rest if where[d["id"]] != "train"]
    trained = [d["id"] for d in rest if where[d["id"]] == "train"]
    index = GramIndex.of_words(held, ngram)
    copied = {name: index.coverage(hashed[name]) for name in trained}
    apply("held-out overlap", [f"covered {copied[d['id']]:.2f}" if copied.get(d["id"], 0) > OVERLAP else "" for d in rest])
    step("shares and size")
    apply("service cap", over_share(rest, service_cap, max_bytes))
    apply("size", over_size(rest, seed, max_bytes))
    for split in _RANK:
        result.splits[split] = [document for document in rest if where[document["id"]] == split]
    left = GramIndex.of_words([hashed[d["id"]] for d in result.splits["train"]], ngram)
    shares = [left.coverage(hashed[d["id"]]) for d in result.splits["test"]]
    result.heldout_overlap = float(np.mean(shares)) if shares else 0.0
    return result


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


def over_share(documents: list[Document], share: float, max_bytes: int) -> list[str]:
    """Documents of a service beyond its share of the bytes, the last ones of the order."""
    total = sum(map(size, documents))
    limit = share * (min(total, max_bytes) if max_bytes else total)
    taken: dict[str, int] = defaultdict(int)
    found = []
    for document in documents:
        service = document["metadata"]["service"]
        over = bool(service) and share < 1 and taken[service] + size(document) > limit
        taken[service] += 0 if over else size(document)
        found.append(f"{service} has {share:.0%} already" if over else "")
    return found


def over_size(documents: list[Document], seed: int, max_bytes: int) -> list[str]:
    """Documents beyond `max_bytes` in a seeded order that mixes splits and services."""
    room, out = max_bytes, set()
    for document in sorted(documents, key=lambda d: order_key(seed, d["id"])):
        room -= size(document)
        if max_bytes and room < 0:
            out.add(document["id"])
    return [f"beyond {max_bytes} bytes" if document["id"] in out else "" for document in documents]


def heldout_services(names: Iterable[str], heldout: tuple[float, float]) -> dict[str, list[str]]:
    """Services of the validation and of the test split."""
    found: dict[str, list[str]] = {"valid": [], "test": []}
    for name in sorted(set(names)):
        where = place(family(name))
        if where < sum(heldout):
            found["test" if where < heldout[1] else "valid"].append(name)
    return found
