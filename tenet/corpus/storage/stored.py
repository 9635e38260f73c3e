"""What the pipeline kept and removed, as it lies in the files of its tasks: a corpus larger than memory can be
compared, sorted and written from them.

In memory is of each document its id, its size, the metadata that decisions look at, and in one table where it lies:
about 700 bytes. Text, word hashes and all other metadata are read when they are asked for.

    kept/00000.jsonl           documents of a task       words/00000     their word hashes, 8 bytes each
    removed/FILTER/00000.jsonl                           replaced        texts that were changed afterwards
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from tenet.corpus.dedup.hashing import BoundedHasher
from tenet.corpus.documents import LANGUAGE, MASKED, REPAIRED, Document, key_of
from tenet.corpus.ngrams import Hashes
from tenet.errors import StageError

#: Metadata that stay in memory where a document has them.
LIGHT = (
    "source", "licence", "url", "kind", "group", "_source", "_file", "_fixed", "_at", "_cap", "_cap_share", "_english", "_ngrams",
    LANGUAGE, REPAIRED, MASKED,
)  # fmt: skip
#: Metadata of a kept document in its task's file: `exact.digest`, and how many word hashes it has.
DIGEST, WORDS = "_digest", "_words"
#: Why a filter removed it.
REASON = "filter_reason"
#: Where a document lies: its file, bytes of its line, where its word hashes begin and how many there are.
_PLACE = np.dtype(
    [("part", "<u2"), ("at", "<i8"), ("length", "<i8"), ("words", "<i8"), ("count", "<i8"), ("key", "V16"), ("digest", "V16")]
)


class Stored:
    """A document on disk: `["id"]` and `["metadata"]` (those of `LIGHT`) are in memory, `["text"]` is read."""

    __slots__ = ("id", "metadata", "number", "size", "store")

    def __init__(self, store: Store, number: int, name: str, size: int, metadata: dict[str, Any]) -> None:
        self.store, self.number, self.id, self.size, self.metadata = store, number, name, size, metadata

    def __getitem__(self, key: str, /) -> Any:
        return self.store.text(self) if key == "text" else getattr(self, key)

    def __repr__(self) -> str:
        return f"Stored({self.id!r}, {self.size} bytes)"

    def whole(self) -> Document:
        """Text and all metadata."""
        return self.store.whole(self)

    def words(self) -> Hashes:
        """Word hashes; of kept documents only."""
        return self.store.words(self)

    @property
    def key(self) -> bytes:
        """`documents.text_key` of the text that was read."""
        return bytes(self.store.places["key"][self.number])

    @property
    def digest(self) -> bytes:
        """`exact.digest` of its text; of kept documents only."""
        return bytes(self.store.places["digest"][self.number])


class Store:
    """The documents in a folder of the pipeline.

    Args:
        folder: with `kept/` and `removed/`; texts that are replaced go into it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places = np.zeros(1024, dtype=_PLACE)
        self._count = 0
        #: Of each file of documents its path and that of its word hashes.
        self._files: list[tuple[str, str]] = []
        self._open: dict[str, io.FileIO] = {}
        self._replaced: dict[int, tuple[int, int]] = {}
        self._hasher = BoundedHasher()
        #: Equal values of metadata are held once.
        self._known: dict[Any, Any] = {}

    def kept(self) -> Iterator[Stored]:
        """What passed, in the order of the tasks."""
        for path in sorted((self.folder / "kept").glob("*.jsonl")):
            at = 0
            for stored, metadata in self._read(path):
                if WORDS not in metadata:
                    raise StageError(f"{path}: it was written by an earlier version; run `tenet corpus --fresh`")
                place = self.places[stored.number]
                place["words"], place["count"] = at, metadata[WORDS]
                place["digest"] = np.void(bytes.fromhex(metadata[DIGEST]))
                at += metadata[WORDS]
                yield stored

    def removed(self, filters: Iterable[str]) -> Iterator[tuple[str, str, Stored]]:
        """(filter, reason, document) of what was dropped, by filter and task."""
        for name in filters:
            for path in sorted((self.folder / "removed" / name).glob("*.jsonl")):
                for stored, metadata in self._read(path):
                    yield name, self._known.setdefault(*[metadata.get(REASON, "")] * 2), stored

    def _read(self, path: Path) -> Iterator[tuple[Stored, dict[str, Any]]]:
        """Documents of a file, and all their metadata."""
        self._files.append((str(path), str(self.folder / "words" / path.stem)))
        at = 0
        with open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    content = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    raise StageError(f"{path}:{number}: not valid JSON ({error})") from None
                text, metadata = content["text"].encode(), content["metadata"]
                place = self._next()
                place["part"], place["at"], place["length"] = len(self._files) - 1, at, len(line)
                place["key"] = np.void(key_of(text))
                light = {key: self._once(metadata[key]) for key in LIGHT if key in metadata}
                yield Stored(self, self._count - 1, content["id"], len(text), light), metadata
                at += len(line)

    def _once(self, value: Any) -> Any:
        return self._known.setdefault(value, value) if isinstance(value, str) else value

    def _next(self) -> np.void:
        if self._count == len(self.places):
            self.places = np.resize(self.places, self._count + max(1024, self._count // 8))
        self._count += 1
        place: np.void = self.places[self._count - 1]
        return place

    # --- one document ------------------------------------------------------------------------------------------------

    def whole(self, item: Stored) -> Document:
        """Text and all metadata, with what was changed since; the marks of the pipeline are not among them."""
        place = self.places[item.number]
        content: Document = orjson.loads(self._bytes(self._files[place["part"]][0], int(place["at"]), int(place["length"])))
        metadata = content["metadata"]
        for key in (DIGEST, WORDS, REASON):
            metadata.pop(key, None)
        for key in ("_english", "_ngrams"):  # settled since
            if key not in item.metadata:
                metadata.pop(key, None)
        metadata.update(item.metadata)
        if item.number in self._replaced:
            content["text"] = self._replacement(item)
        return content

    def text(self, item: Stored) -> str:
        """The text alone."""
        if item.number in self._replaced:
            return self._replacement(item)
        text: str = self.whole(item)["text"]
        return text

    def words(self, item: Stored) -> Hashes:
        """Word hashes of the text as it is now."""
        if item.number in self._replaced:
            return self._hasher(self._replacement(item))
        place = self.places[item.number]
        data = self._bytes(self._files[place["part"]][1], 8 * int(place["words"]), 8 * int(place["count"]))
        return np.frombuffer(data, dtype="<u8")

    def replace(self, item: Stored, text: str) -> None:
        """Give a document another text; the folder keeps the one that it had.

        Raises:
            StageError: the disk is full.
        """
        data, path = text.encode(), self.folder / "replaced"
        if not self._replaced:
            path.unlink(missing_ok=True)  # of a killed run
        try:
            with open(path, "ab") as file:
                self._replaced[item.number] = (file.tell(), len(data))
                file.write(data)
        except OSError as error:
            raise StageError(f"{path}: {error.strerror}; free space and run again") from error
        item.size = len(data)
        self.places[item.number]["digest"] = np.void(self._hasher.with_digest(text)[1])

    def _replacement(self, item: Stored) -> str:
        return self._bytes(str(self.folder / "replaced"), *self._replaced[item.number]).decode()

    def _bytes(self, path: str, at: int, length: int) -> bytes:
        if path not in self._open:
            self._open[path] = open(path, "rb", buffering=0)  # noqa: SIM115, closed by close()
        data = os.pread(self._open[path].fileno(), length, at)
        if len(data) != length:
            raise StageError(f"{path}: it ends before byte {at + length}; delete the stage's folder and run it again")
        return data

    def close(self) -> None:
        """Close the files."""
        for file in self._open.values():
            file.close()
        self._open.clear()


class Texts(Sequence[str]):
    """The texts of some documents, each read when it is asked for."""

    def __init__(self, documents: Sequence[Stored]) -> None:
        self.documents = documents

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [document["text"] for document in self.documents[place]]
        return self.documents[place]["text"]


# --- writing ---------------------------------------------------------------------------------------------------------


class Writer:
    """Writes the kept documents of a task, and their word hashes.

    Args:
        folder: of the pipeline. rank: of the task.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        for name in ("kept", "words"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        # Not gzipped: a gzip header holds the time, and an orphan of a killed run may still write the same file.
        self._lines = open(folder / "kept" / f"{rank:05}.jsonl", "wb")  # noqa: SIM115, closed by close()
        self._words = open(folder / "words" / f"{rank:05}", "wb")  # noqa: SIM115, closed by close()

    def add(self, text: str, name: str, metadata: dict[str, Any], words: Hashes, digest: bytes) -> None:
        """The next document."""
        told = {**metadata, DIGEST: digest.hex(), WORDS: len(words)}
        self._lines.write(orjson.dumps({"text": text, "id": name, "metadata": told}, option=orjson.OPT_APPEND_NEWLINE))
        self._words.write(words.tobytes())

    def close(self) -> None:
        """All of it is on its way to the disk."""
        self._lines.close()
        self._words.close()


def stored(documents: Iterable[Document], folder: Path) -> list[Stored]:
    """Documents at hand, put on disk as a task of the pipeline does."""
    writer, hasher = Writer(folder, 0), BoundedHasher()
    for item in documents:
        writer.add(item["text"], item["id"], item["metadata"], *hasher.with_digest(item["text"]))
    writer.close()
    return list(Store(folder).kept())
