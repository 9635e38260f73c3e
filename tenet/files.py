"""Files that are written whole or not at all, and read with an error that says what to do."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from lightning_modules.distributed import ranks
from tenet.errors import StageError


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: temporary name in the same folder, flush, rename. Of several processes the
    first one writes."""
    if not ranks.is_first():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StageError(
            f"{path}: could not be written ({error.strerror}); free space or fix the folder and run again"
        ) from error


def write_text(path: Path, content: str) -> None:
    """`write_bytes` for text, UTF-8."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Stable JSON: sorted keys are not forced (order is meaning here), two spaces, a final newline."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=plain) + "\n")


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    """One JSON object a line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, default=plain) + "\n" for row in rows))


def read_json(path: Path) -> Any:
    """Read JSON; a missing or broken file is a `StageError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageError(f"{path}: no such file; run the stage that makes it first") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StageError(f"{path}: not valid JSON ({error}); delete the stage's folder and run it again") from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read one JSON object a line; a broken line is a `StageError` that names file and line."""
    rows = []
    try:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError as error:
                    raise StageError(f"{path}:{number}: not valid JSON ({error})") from None
    except FileNotFoundError:
        raise StageError(f"{path}: no such file; run the stage that makes it first") from None
    return rows


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def plain(value: Any) -> Any:
    """What JSON cannot say, as something that it can; for `json.dumps(default=...)`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")
