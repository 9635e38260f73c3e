"""The files that settings name, as they stand in run.json: name, hash, rows, licences. An edited file is another
input."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tenet.errors import ConfigError
from tenet.files import sha256

#: A folder of more bytes than this is known by its paths and sizes; hashing it would take longer than many a stage.
HASHED_BYTES = 2 << 30


@dataclass(frozen=True)
class InputFile:
    """One file or folder that a setting names.

    Args:
        key: the setting, e.g. "finetune.data"; a setting that names several has one entry each, with the name behind
            it.
        name: the path's last part; where the rest of it lies is this machine's business.
        sha256: of its bytes; of a folder, over its files' names and hashes.
        rows: lines that are not empty, of a file of rows.
        licence: as the domain or the source says; that of single rows stands in the rows.
    """

    key: str
    name: str
    sha256: str
    rows: int | None = None
    licence: str = ""


def input_file(key: str, path: Path, licence: str = "") -> InputFile:
    """Look at a path.

    Raises:
        ConfigError: nothing is there, or it cannot be read.
    """
    try:
        if path.is_dir():
            return InputFile(key, path.name, _folder_hash(path), None, licence)
        return InputFile(key, path.name, sha256(path), _rows(path), licence)
    except FileNotFoundError:
        raise ConfigError(f"{key} is {str(path)!r}: no such file or folder; correct the path") from None
    except OSError as error:
        raise ConfigError(f"{key} is {str(path)!r}: cannot be read ({error.strerror}); mend its permissions") from None


def _folder_hash(folder: Path) -> str:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _hidden(path.relative_to(folder).parts)]
    by_content = sum(path.stat().st_size for path in files) <= HASHED_BYTES
    digest = hashlib.sha256()
    for path in files:
        what = sha256(path) if by_content else str(path.stat().st_size)
        digest.update(f"{path.relative_to(folder).as_posix()} {what}\n".encode())
    return digest.hexdigest()


def _hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") for part in parts)


def _rows(path: Path) -> int | None:
    name = path.name.removesuffix(".gz")
    if not name.endswith(".jsonl"):
        return None
    with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as lines:
        return sum(1 for line in lines if line.strip())
