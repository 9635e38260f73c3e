"""The data card: which files were read, what came out of every filter and why, with examples, licences and hashes.

`removed.jsonl` names every removed document; `card.json` counts them and quotes a few, so that a reader can judge a
filter by what it threw away.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from tenet.corpus.documents import Held, size, text_key
from tenet.corpus.sources import LIMIT

Removed = tuple[str, str, Held]
EXAMPLES, EXCERPT = 3, 240
#: Most files or groups that the card names; all are in the other files.
MOST_NAMED = 200
#: Gopher's rules that are about English: stop words, the length of words, the share of words with a letter.
ENGLISH = ("gopher_enough_stop_words", "gopher_below_avg_threshold", "gopher_above_avg_threshold", "gopher_below_alpha_threshold")
#: Most sources and files that are named in the headline as not being English.
NAMED_DOUBTS = 3
#: Share of a source beyond which what the limits for English took is a doubt.
SOME = 0.05
#: Filter -> setting that loosens it.
WAYS_OUT = {
    "quality": "set corpus.filters.language: any, or corpus.filters.gopher: reference, source or off, if that is wrong",
    "repetition": "set corpus.filters.gopher: reference, source or off, if that is wrong",
    "contamination": "see corpus.evaluation and corpus.decontaminate",
    "language": "see corpus.filters.languages",
    "near duplicate": "raise corpus.near_duplicate (1.1 is off) if that is wrong",
    "group cap": "raise corpus.group_cap",
}


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
    """The first, the middle and the last one by id: not three of the same group."""
    ordered = sorted(entries, key=lambda entry: (entry[2]["id"], text_key(entry[2])))
    if len(ordered) <= EXAMPLES:
        return ordered
    return [ordered[round(i * (len(ordered) - 1) / (EXAMPLES - 1))] for i in range(EXAMPLES)]


def _example(entry: Removed) -> dict[str, str]:
    _, reason, document = entry
    text = " ".join(document["text"].split())
    return {"id": document["id"], "reason": reason, "text": text[:EXCERPT] + (" ..." if len(text) > EXCERPT else "")}


def licence_rows(documents: Sequence[Held]) -> list[dict[str, Any]]:
    """Documents and bytes for each licence and source."""
    found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for document in documents:
        entry = found[document["metadata"]["licence"], document["metadata"]["source"]]
        entry[0] += 1
        entry[1] += size(document)
    return [
        {"licence": licence, "source": source, "documents": n, "bytes": b} for (licence, source), (n, b) in sorted(found.items())
    ]


def source_rows(documents: Sequence[Held]) -> list[dict[str, Any]]:
    """For each source the SHA-256 of all its text, in the order of ids: the text that was read, whatever wheel or file
    it came from."""
    found: dict[str, list[Held]] = defaultdict(list)
    for document in documents:
        found[document["metadata"]["source"]].append(document)
    rows = []
    for source, items in sorted(found.items()):
        digest = hashlib.sha256()
        for document in sorted(items, key=lambda item: (item["id"], text_key(item))):
            digest.update(f"{document['id']}\n{document['text']}\n".encode())
        rows.append({"source": source, "documents": len(items), "bytes": sum(map(size, items)), "sha256": digest.hexdigest()})
    return rows


def with_fates(rows: Sequence[dict[str, Any]], kept: Sequence[Held], removed: Sequence[Removed]) -> list[dict[str, Any]]:
    """Rows of `source_rows`, each with what became of it: kept documents and bytes, and documents removed by each
    filter."""
    there: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for document in kept:
        entry = there[document["metadata"]["source"]]
        entry[0] += 1
        entry[1] += size(document)
    gone = Counter((document["metadata"]["source"], name) for name, _, document in removed)
    return [
        {
            **row,
            "documents_kept": there[row["source"]][0],
            "bytes_kept": there[row["source"]][1],
            "removed": {name: count for (source, name), count in sorted(gone.items()) if source == row["source"]},
        }
        for row in rows
    ]


# --- files -----------------------------------------------------------------------------------------------------------


def file_rows(notes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How many files were read as what, how many were skipped why, rows that were refused, and encodings that were
    guessed."""
    read = [note for note in notes if not note["reason"] and note["kind"] != LIMIT]
    skipped = [note for note in notes if note["reason"]]
    guessed = [{"file": note["file"], "encoding": note["encoding"]} for note in read if note["encoding"]]
    return {
        "read": _counted(note["kind"] for note in read),
        "skipped": _counted(note["reason"] for note in skipped),
        "skipped_bytes": sum(note["bytes"] for note in skipped),
        "rows_refused": sum(note["refused"] for note in read),
        "rows_empty": sum(note["empty"] for note in read),
        "unused": dict(sum((Counter(note.get("unused", {})) for note in read), Counter()).most_common()),
        "encodings_guessed": guessed[:MOST_NAMED],
        "stopped_at_max_bytes": [note["file"] for note in notes if note["kind"] == LIMIT],
    }


def skipped_rows(notes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines of `skipped.jsonl`: files that were not read, and rows that could not be, by number."""
    rows: list[dict[str, Any]] = []
    for note in notes:
        if note["reason"]:
            rows.append({"file": note["file"], "reason": note["reason"], "bytes": note["bytes"]})
        else:
            rows += [{"file": note["file"], "row": number, "reason": reason} for number, reason in note["rows"]]
            rows += [
                {"file": note["file"], "reason": f"{count:,} x {reason}"} for reason, count in note.get("unused", {}).items()
            ]
            if (more := note["refused"] - len(note["rows"])) > 0:
                rows.append({"file": note["file"], "reason": f"{more:,} further rows"})
    return rows


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))


# --- doubts ----------------------------------------------------------------------------------------------------------


def doubts(
    removed: Sequence[Removed],
    documents: Sequence[Held],
    sources: Sequence[str],
    foreign: dict[tuple[int, str], tuple[int, int]],
) -> list[str]:
    """What a reader must know before the figures: a rule that took most of a source, and sources that are not English.

    Args:
        removed: of all filters.
        documents: all that were read.
        sources: names of the sources by place.
        foreign: (place, file or "") -> documents read, and how many the rules for English would have taken.
    """
    found = []
    for (place, file), (total, marked) in sorted(foreign.items())[:NAMED_DOUBTS]:
        found.append(
            f"{file or sources[place]} is not taken as English: the rules for it would remove {marked:,} of {total:,} documents, so they are off "
            "there, and those on repeated word n-grams too (corpus.filters.language: en switches them on)"
        )
    if len(foreign) > NAMED_DOUBTS:
        found.append(f"{len(foreign) - NAMED_DOUBTS} further files are not taken as English either")
    read = Counter(document["metadata"].get("_source", 0) for document in documents)
    gone = Counter((document["metadata"].get("_source", 0), name, _kind(reason)) for name, reason, document in removed)
    for place, total in sorted(read.items()):
        english = sum(count for (source, _, reason), count in gone.items() if source == place and reason in ENGLISH)
        if SOME * total < english <= total / 2:
            found.append(
                f"the limits for English removed {english:,} of {total:,} documents of {sources[place]}; corpus.filters.language: any keeps them"
            )
    for (place, name, reason), count in sorted(gone.items()):
        if count > read[place] / 2 and name in WAYS_OUT:
            found.append(
                f"{name} ({reason.replace('_', ' ')}) removed {count:,} of {read[place]:,} documents of {sources[place]}; {WAYS_OUT[name]}"
            )
    return found
