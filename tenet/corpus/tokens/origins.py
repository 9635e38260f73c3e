"""Which source each document of the training shard is of, beside the shard: what a phase of pretraining draws by."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tenet.errors import StageError
from tenet.files import write_bytes

FILE = "train.sources.parquet"


@dataclass(frozen=True)
class Origins:
    """Of the documents of the training shard.

    Args:
        sources: source -> [documents] which are of it; empty where the corpus has one source.
        again: [documents] which are further copies, in a mix that reads a source more than once.
    """

    sources: dict[str, npt.NDArray[np.bool_]]
    again: npt.NDArray[np.bool_]


def write_origins(folder: Path, names: Sequence[str], places: Sequence[int], again: Sequence[bool]) -> None:
    """A row for each document of `train.ds`, in its order: `source`, and `again` of a further copy. Nothing where there
    is one source, whose documents are all of it.

    Args:
        folder: of the shards.
        names: of the sources.
        places: the source of each document, by its place among them.
        again: is it a further copy?
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if len(names) < 2:
        return
    column = pa.DictionaryArray.from_arrays(pa.array(places, type=pa.int32()), pa.array(list(names), type=pa.string()))
    stream = io.BytesIO()
    pq.write_table(pa.table({"source": column, "again": pa.array(again, type=pa.bool_())}), stream, compression="zstd")
    write_bytes(folder / FILE, stream.getvalue())


def read_origins(folder: Path, documents: int) -> Origins:
    """What `write_origins` wrote.

    Args:
        folder: of the shards.
        documents: of the training shard.

    Raises:
        StageError: the file does not fit the shard.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    path = folder / FILE
    if not path.is_file():
        return Origins({}, np.zeros(documents, dtype=np.bool_))
    table = pq.read_table(path)
    if len(table) != documents:
        raise StageError(f"{path}: {len(table)} documents, the shard has {documents}; run `tenet corpus --fresh`")
    column = table.column("source").cast("string")
    names = sorted(name for name in pc.unique(column).to_pylist() if name is not None)
    return Origins({name: pc.equal(column, name).to_numpy() for name in names}, table.column("again").to_numpy())
