"""Files that are written row by row and still appear whole or not at all; a corpus does not fit into one string."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from tenet.errors import StageError
from tenet.files import plain

#: Rows put together before they are written or packed.
ROWS = 256
#: Of zlib: a gzip header without time and name, so that the bytes depend on the rows alone.
LEVEL, GZIP = 5, 31


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file under a temporary name, which gets its own when all of it is on the disk.

    Raises:
        StageError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StageError(
            f"{path}: could not be written ({error.strerror}); free space or fix the folder and run again"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line; gzipped where the name ends in .gz."""
    parts = ("".join(f"{json.dumps(row, ensure_ascii=False, default=plain)}\n" for row in some) for some in _some(rows))
    with whole(path) as file:
        if path.suffix != ".gz":
            file.writelines(part.encode() for part in parts)
            return
        packer = zlib.compressobj(LEVEL, wbits=GZIP)
        file.writelines(packer.compress(part.encode()) for part in parts)
        file.write(packer.flush())


def write_texts(path: Path, texts: Iterable[str], between: str = "\n\n") -> None:
    """Texts one behind the other."""
    with whole(path) as file:
        for number, text in enumerate(texts):
            file.write((between + text if number else text).encode())


def _some(rows: Iterable[dict[str, Any]]) -> Iterator[Iterable[dict[str, Any]]]:
    rows = iter(rows)
    for first in rows:
        yield chain([first], islice(rows, ROWS - 1))
