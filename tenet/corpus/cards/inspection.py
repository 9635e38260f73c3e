"""What became of a text in a finished corpus: where it went, and what a filter threw away."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError
from tenet.files import read_json

#: Where documents lie in the stage's folder: what happened to them -> file.
PLACES = {
    "train": "documents/train.jsonl.gz",
    "valid": "heldout/valid.jsonl",
    "test": "heldout/test.jsonl",
    "removed": "documents/removed.jsonl.gz",
}
#: Characters shown around what was looked for.
AROUND = 120


@dataclass(frozen=True)
class Hit:
    """A document that holds what was looked for.

    Args:
        place: train, valid, test or removed.
        why: filter and reason, of a removed one.
        excerpt: text around the place, in one line.
    """

    id: str
    place: str
    why: str
    source: str
    licence: str
    excerpt: str


def corpus_folder(run: Path) -> Path:
    """The folder of the corpus stage in a run.

    Raises:
        ConfigError: there is none that is finished.
    """
    folder = run / "corpus" if (run / "corpus").is_dir() else run
    if not (folder / "card.json").is_file():
        raise ConfigError(f"{run}: no finished corpus stage there; name a run folder (`tenet corpus --run {run}` makes one)")
    return folder


def documents(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, document) of all that the run kept the text of."""
    for place, name in PLACES.items():
        path = folder / name
        if not path.is_file():
            continue
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as lines:
            for line in lines:
                yield place, json.loads(line)


def find(folder: Path, wanted: str, most: int = 20) -> tuple[list[Hit], int]:
    """Documents whose id is `wanted` or holds it, or whose text does: blanks and case do not matter.

    Returns:
        the first of them, and how many there are.
    """
    needle, total = " ".join(wanted.lower().split()), 0
    found: list[Hit] = []
    if not needle:
        raise ConfigError("--find is empty; give an id or some words of the text")
    for place, item in documents(folder):
        text = " ".join(item["text"].split())
        at = text.lower().find(needle)
        if at < 0 and needle not in item["id"].lower():
            continue
        total += 1
        if len(found) < most:
            found.append(_hit(place, item, text, max(at, 0), len(needle)))
    return found, total


def _hit(place: str, item: dict[str, Any], text: str, at: int, length: int) -> Hit:
    begin, end = max(0, at - AROUND), at + length + AROUND
    shown = f"{'... ' if begin else ''}{text[begin:end]}{' ...' if end < len(text) else ''}"
    why = f"{item['filter']}: {item['reason']}" if place == "removed" else ""
    metadata = item["metadata"]
    return Hit(item["id"], place, why, str(metadata["source"]), str(metadata["licence"]), shown)


def samples(folder: Path, place: str, filter_name: str = "", reason: str = "", count: int = 5, seed: int = 0) -> list[Hit]:
    """Some documents of a place, drawn evenly (reservoir sampling, so one pass over files of any size).

    Args:
        folder: of the stage.
        place: train, valid, test or removed.
        filter_name, reason: of removed ones; the reason's beginning is enough.

    Raises:
        ConfigError: there is no such place, or no such filter in the card.
    """
    names = [row["filter"] for row in read_json(folder / "card.json")["filters"]]
    if place not in PLACES:
        raise ConfigError(f"--of {place!r}: there are {', '.join(PLACES)}")
    if filter_name and filter_name not in names:
        raise ConfigError(f"--filter {filter_name!r}: there are {', '.join(names)}")
    if place == "removed" and not (folder / PLACES["removed"]).is_file():
        raise ConfigError(f"{folder} kept no text of removed documents (corpus.keep_removed); removed.jsonl names them")
    chosen: list[Hit] = []
    pick, seen = random.Random(seed), 0
    for where, item in documents(folder):
        if where != place or (filter_name and item["filter"] != filter_name):
            continue
        if reason and not str(item["reason"]).startswith(reason):
            continue
        seen += 1
        slot = len(chosen) if len(chosen) < count else pick.randrange(seen)
        if slot < count:
            hit = _hit(where, item, " ".join(item["text"].split()), 0, AROUND)
            chosen[slot : slot + 1] = [hit]
    return chosen
