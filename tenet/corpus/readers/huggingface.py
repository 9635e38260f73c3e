"""The source kind `huggingface`: a data set by name, streamed; nothing is stored but what the filters keep."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from typing import Any

from tenet.corpus.documents import PIECE, Document
from tenet.corpus.readers.filenotes import FileNote, Tally
from tenet.corpus.readers.formats.columns import no_column
from tenet.corpus.readers.records import check_refused, row_documents
from tenet.errors import ConfigError
from tenet.settings.corpus import SourceConfig


def check_source(source: SourceConfig) -> None:
    """Refuse what cannot be streamed from here.

    Raises:
        ConfigError: the hub is switched off, or the package `datasets` is missing.
    """
    _datasets(source)


def _datasets(source: SourceConfig) -> Any:
    where = f"corpus.sources huggingface {source.name!r}"
    if os.environ.get("HF_HUB_OFFLINE") == "1" or os.environ.get("HF_DATASETS_OFFLINE") == "1":
        raise ConfigError(
            f"{where}: HF_HUB_OFFLINE or HF_DATASETS_OFFLINE is 1; unset it, or download the set and use kind: folder"
        )
    try:
        import datasets
    except ImportError:
        raise ConfigError(
            f"{where}: the package `datasets` is not installed; `pip install datasets`, or use kind: folder"
        ) from None
    return datasets


def documents(
    source: SourceConfig, rank: int = 0, world: int = 1, *, label: str = "", most_refused: float = 0.05
) -> Iterator[Document | FileNote]:
    """The rows of this share, and behind them a note of how many could not be read.

    A data set in several shards is shared out by shard, so that a task opens only its own; rows are then numbered inside
    their shard, and are the same for any number of tasks. One in a single shard is read by every task, which keeps
    every so many-th row.
    """
    datasets, tally = _datasets(source), Tally()
    name, note = label or source.name, FileNote(label or source.name, kind="huggingface")
    try:
        stream = datasets.load_dataset(source.name, source.subset or None, split=source.split, streaming=True)
        for part, rows in _shares(stream, source.split, rank, world):
            for item in row_documents(_checked(rows, source), part, source, tally, PIECE, name):
                note.documents += 1
                yield item
    except (OSError, ValueError) as error:  # ConnectionError and the hub's not-found errors are OSErrors
        raise ConfigError(
            f"corpus.sources huggingface {source.name!r} (subset {source.subset!r}, split {source.split!r}) cannot be read: "
            f"{error}; check the name and the network, or download it and use kind: folder"
        ) from error
    check_refused(tally, source.name, most_refused)
    tally.onto(note)
    yield note


def _shares(stream: Any, split: str, rank: int, world: int) -> Iterator[tuple[str, Iterator[tuple[int, Any]]]]:
    """(name in ids, numbered rows) of each shard of this task, or of its rows of the only one."""
    shards = getattr(stream, "num_shards", None) or getattr(stream, "n_shards", None) or 1
    if shards == 1 or not hasattr(stream, "shard"):
        yield split, islice(enumerate(stream), rank, None, world)
        return
    for index in range(rank, shards, world):
        yield f"{split}-{index:05}-of-{shards:05}", iter(enumerate(stream.shard(num_shards=shards, index=index)))


def _checked(rows: Iterator[tuple[int, Any]], source: SourceConfig) -> Iterator[tuple[int, Any]]:
    for number, row in rows:
        if source.column not in row:
            raise ConfigError(f"corpus.sources huggingface {source.name!r}: {no_column(source.column, list(row))}")
        yield number, row
