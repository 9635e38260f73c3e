"""What an earlier run has already: a finished run leaves `seen.parquet`, a later one names the runs it follows.

A document is two columns: its digest (`exact`, 16 bytes) and the lowest bytes of a MinHash signature (125 bytes), 141 MB
for a million documents. That is too little to decide a pair as `alike` does, but enough to find it: a document was seen
when its digest was, or when one signature estimates a Jaccard similarity from the threshold on (standard error 0.036 at
0.8; edited copies of less than that are not found across runs).

Signatures can only be compared when they were made alike. So they have a seed of their own, whatever the run's is, and
the file says how they were made; another version is refused.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tenet.corpus.dedup.alike import SHINGLE
from tenet.corpus.dedup.budget import check_memory
from tenet.corpus.dedup.exact import DIGEST
from tenet.corpus.dedup.signature import EXACT, band_keys, estimates, signatures_of
from tenet.corpus.dedup.spill import Column
from tenet.corpus.ngrams import Hashes, WordHasher
from tenet.errors import ConfigError

FILE = "seen.parquet"
#: Goes up with any change to the digest, the words, the 5-grams or the signature.
VERSION = 1
SEED = 20_260
_HEADER = b"tenet.seen"
_BATCH, _BATCH_WORDS = 4096, 1 << 20
#: Bytes in memory for each new document of a chunk: digest, signature, and the sorted keys of 25 bands.
_CHUNK_BYTES = DIGEST + EXACT.size + EXACT.bands * 12
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Seen:
    """Where a document was seen: the run, the number of the document in its file, and how alike they are (1.0: the same
    text)."""

    run: str
    document: int
    similarity: float

    def reason(self) -> str:
        """For the list of what was removed."""
        how = "" if self.similarity == 1 else f", about {self.similarity:.2f} alike"
        return f"seen in run {self.run} (document {self.document}{how})"


def _made_by() -> dict[str, Any]:
    """How signatures are made; the probe catches a change of the hash functions below us."""
    probe = signatures_of([WordHasher()("the quick brown fox jumps over the lazy dog")], EXACT, SEED)[1]
    return {
        "version": VERSION, "seed": SEED, "bands": EXACT.bands, "rows": EXACT.rows, "shingle": SHINGLE, "digest": DIGEST,
        "probe": probe[0, :8].tolist(),
    }  # fmt: skip


class _Signed:
    """Documents as (digest, signature), in batches of a fixed size."""

    def __init__(self) -> None:
        self._digests: list[bytes] = []
        self._words: list[Hashes] = []
        self._held = 0

    def add(self, digest: bytes, words: Hashes) -> bool:
        """Whether a batch is full."""
        self._digests.append(digest)
        self._words.append(words)
        self._held += len(words)
        return len(self._digests) == _BATCH or self._held > _BATCH_WORDS

    def take(self) -> tuple[Bytes, Bytes]:
        """The batch: (documents, 16) and (documents, 125)."""
        digests = np.frombuffer(b"".join(self._digests), dtype=np.uint8).reshape(-1, DIGEST)
        low = signatures_of(self._words, EXACT, SEED)[1]
        self._digests, self._words, self._held = [], [], 0
        return digests, low


class SeenWriter:
    """Writes `seen.parquet` of a run; it appears under its name when all of it is there.

    Args:
        path: of the file.
        run: the name that later runs will quote; "" takes that of the folder where they find it, so that the file's
            bytes do not depend on it.
    """

    def __init__(self, path: Path, run: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path, self._temporary = path, path.with_name(f".{path.name}.{os.getpid()}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        header = {_HEADER: json.dumps({**_made_by(), "run": run})}
        fields = [pa.field("digest", pa.binary(DIGEST)), pa.field("signature", pa.binary(EXACT.size))]
        self._schema = pa.schema(fields, metadata=header)
        self._writer = pq.ParquetWriter(self._temporary, self._schema, compression="none", use_dictionary=False)
        self._signed = _Signed()

    def add(self, digest: bytes, words: Hashes) -> None:
        """The next document that the run kept: `exact.digest` of its text, and its word hashes."""
        if self._signed.add(digest, words):
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        columns = [
            pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(part.shape[1]), len(part), [None, pa.py_buffer(np.ascontiguousarray(part))]
            )
            for part in self._signed.take()
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        """Write what is left and give the file its name."""
        self._flush()
        self._writer.close()
        os.replace(self._temporary, self.path)


def open_seen(run: Path) -> tuple[Any, str]:
    """The file of a run (its corpus folder, or the file itself) and the name of the run.

    Raises:
        ConfigError: there is none, or it was made in another way.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = [path for path in (run, run / FILE, run / "corpus" / FILE) if path.is_file()]
    if not found:
        raise ConfigError(f"corpus.seen_in: {run} holds no {FILE}; name a run whose corpus stage has finished, or leave it out")
    try:
        file = pq.ParquetFile(found[0])
        header = json.loads((file.schema_arrow.metadata or {})[_HEADER])
    except (pa.ArrowInvalid, KeyError, json.JSONDecodeError) as error:
        raise ConfigError(f"corpus.seen_in: {found[0]} is no list of documents seen ({error}); leave it out") from None
    for key, here in _made_by().items():
        if header.get(key) != here:
            raise ConfigError(
                f"corpus.seen_in: {found[0]} was made with {key} {header.get(key)}, this version has {here}; its documents "
                "cannot be told again. Leave it out, or run that corpus stage again with this version"
            )
    folder = found[0].parent
    return file, str(header["run"]) or (folder.parent if folder.name == "corpus" else folder).name


class EarlierRuns:
    """New documents go in by `add`; `found` says which of them an earlier run has.

    Args:
        runs: folders or files of them, in the order in which they are asked.
        folder: scratch; deleted by `close`.
        threshold: estimated Jaccard similarity from which on a document counts as seen; above 1 only the same text
            does.
        memory: most bytes to hold beside what the process has already.

    Raises:
        ConfigError: a run without the file, or with one of another version; too little memory.
    """

    def __init__(self, runs: Sequence[Path], folder: Path, threshold: float, memory: int) -> None:
        check_memory(memory)
        self._files = [open_seen(run) for run in runs]
        self.folder, self.threshold, self.memory = folder, threshold, memory
        self._new = Column(folder / "new", np.uint8, DIGEST + EXACT.size)
        self._signed, self._count = _Signed(), 0

    def add(self, digest: bytes, words: Hashes) -> None:
        """The next document."""
        self._count += 1
        if self._signed.add(digest, words):
            self._new.add(np.concatenate(self._signed.take(), axis=1))

    def found(self) -> dict[int, Seen]:
        """Number of a document -> where it was seen first; those that are new are not in it."""
        self._new.add(np.concatenate(self._signed.take(), axis=1))
        result: dict[int, Seen] = {}
        if not self._count:
            return result
        rows = self._new.open(self.memory // 4)
        size = max(1, self.memory // 2 // _CHUNK_BYTES)
        for begin in range(0, self._count, size):
            chunk = _Chunk(np.array(rows[begin : begin + size]), self.threshold)
            for file, run in self._files:
                first = 0
                for digests, low in _batches(file):
                    for number, old, similarity in chunk.matches(digests, low):
                        result.setdefault(begin + number, Seen(run, first + old, similarity))
                    first += len(digests)
        return result

    def close(self) -> None:
        """Delete the scratch folder."""
        self._new.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _batches(file: Any) -> Iterator[tuple[Bytes, Bytes]]:
    for batch in file.iter_batches(batch_size=1 << 14):
        columns = [
            np.frombuffer(column.buffers()[1], dtype=np.uint8).reshape(-1, column.type.byte_width) for column in batch.columns
        ]
        yield tuple(a[c.offset : c.offset + len(c)] for a, c in zip(columns, batch.columns, strict=True))  # type: ignore[misc]


class _Chunk:
    """New documents, sorted by digest and by each band, so that old ones find them."""

    def __init__(self, rows: Bytes, threshold: float) -> None:
        self._low, self._threshold = rows[:, DIGEST:], threshold
        digests = _numbers(rows[:, :DIGEST])
        keys = _bands(self._low, threshold)
        self._tables = [(column[order], order) for column in (digests, *keys.T) for order in (np.argsort(column),)]
        self._open = np.ones(len(rows), dtype=np.bool_)

    def matches(self, digests: Bytes, low: Bytes) -> Iterator[tuple[int, int, float]]:
        """(new, old, similarity) of new documents that are met for the first time."""
        keys = _bands(low, self._threshold)
        for band, (column, (table, order)) in enumerate(zip((_numbers(digests), *keys.T), self._tables, strict=True)):
            begins, ends = (np.searchsorted(table, column, side=side) for side in ("left", "right"))
            for old in np.flatnonzero(ends > begins):
                new = order[begins[old] : ends[old]]
                new = new[self._open[new]]
                if not len(new):
                    continue
                alike = estimates(low[old], self._low[new]) if band else np.ones(len(new))
                for number, similarity in zip(new, alike, strict=True):
                    if band == 0 or similarity >= self._threshold:
                        self._open[number] = False
                        yield int(number), int(old), 1.0 if band == 0 else min(float(similarity), 0.999)


def _bands(low: Bytes, threshold: float) -> Hashes:
    """Keys of all bands, none where only the same text counts."""
    if threshold > 1:
        return np.zeros((len(low), 0), dtype=np.uint64)
    return band_keys(low.reshape(len(low), EXACT.bands, EXACT.rows))


def _numbers(digests: Bytes) -> Hashes:
    """The first eight bytes of each digest. That any of 10^7 new documents meets any of 10^7 old ones by chance has a
    probability of 1 in 200,000."""
    return np.ascontiguousarray(digests[:, :8]).view("<u8").ravel()
