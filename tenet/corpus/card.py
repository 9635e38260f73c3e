"""The data card: what went in, what came out of every filter and why, with examples, licences and hashes.

`removed.jsonl` names every removed document; `card.json` counts them and quotes a few, so that a reader can judge a filter by
what it threw away.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from tenet.corpus.selection import Document, size

Removed = tuple[str, str, Document]
EXAMPLES, EXCERPT = 3, 240


def removed_row(entry: Removed) -> dict[str, Any]:
    """One line of `removed.jsonl`."""
    name, reason, document = entry
    return {
        "id": document["id"],
        "filter": name,
        "reason": reason,
        "source": document["metadata"]["source"],
        "bytes": size(document),
    }


def filter_rows(removed: Sequence[Removed], order: Sequence[str], documents: int, total: int) -> list[dict[str, Any]]:
    """For each filter in order: documents and bytes in and out, reasons with counts, and a few examples.

    Args:
        removed: of all filters.
        order: names of the filters as they ran.
        documents, total: documents and bytes that went into the first one.
    """
    groups: dict[str, list[Removed]] = defaultdict(list)
    for entry in removed:
        groups[entry[0]].append(entry)
    rows = []
    for name in order:
        gone = groups[name]
        lost = sum(size(document) for _, _, document in gone)
        rows.append(
            {
                "filter": name,
                "documents_in": documents,
                "documents_out": documents - len(gone),
                "bytes_in": total,
                "bytes_out": total - lost,
                "reasons": dict(
                    sorted(Counter(_kind(reason) for _, reason, _ in gone).items(), key=lambda item: (-item[1], item[0]))
                ),
                "examples": [_example(entry) for entry in _spread(gone)],
            }
        )
        documents, total = documents - len(gone), total - lost
    return rows


def _kind(reason: str) -> str:
    """Reasons that name one document or number are counted together."""
    for kind in ("same as", "like", "covered", "beyond"):
        if reason.startswith(kind + " "):
            return kind
    return reason.split(" has ")[0] if " already" in reason else reason


def _spread(entries: Sequence[Removed]) -> list[Removed]:
    """The first, the middle and the last one by id: not three of the same service."""
    ordered = sorted(entries, key=lambda entry: entry[2]["id"])
    if len(ordered) <= EXAMPLES:
        return ordered
    return [ordered[round(i * (len(ordered) - 1) / (EXAMPLES - 1))] for i in range(EXAMPLES)]


def _example(entry: Removed) -> dict[str, str]:
    _, reason, document = entry
    text = " ".join(document["text"].split())
    return {"id": document["id"], "reason": reason, "text": text[:EXCERPT] + (" ..." if len(text) > EXCERPT else "")}


def licence_rows(documents: Sequence[Document]) -> list[dict[str, Any]]:
    """Documents and bytes for each licence and source."""
    found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for document in documents:
        entry = found[document["metadata"]["licence"], document["metadata"]["source"]]
        entry[0] += 1
        entry[1] += size(document)
    return [
        {"licence": licence, "source": source, "documents": n, "bytes": b} for (licence, source), (n, b) in sorted(found.items())
    ]


def source_rows(documents: Sequence[Document]) -> list[dict[str, Any]]:
    """For each source the SHA-256 of all its text, in the order of ids: the text that was read, whatever wheel or file it
    came from."""
    found: dict[str, list[Document]] = defaultdict(list)
    for document in documents:
        found[document["metadata"]["source"]].append(document)
    rows = []
    for source, items in sorted(found.items()):
        digest = hashlib.sha256()
        for document in sorted(items, key=lambda item: item["id"]):
            digest.update(f"{document['id']}\n{document['text']}\n".encode())
        rows.append({"source": source, "documents": len(items), "bytes": sum(map(size, items)), "sha256": digest.hexdigest()})
    return rows
