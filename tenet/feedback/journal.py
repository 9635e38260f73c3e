"""A file of JSON lines that only grows: what was written is on the disk when `add` returns, and a kill costs at most
the line that was being written."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tenet.errors import StageError
from tenet.files import plain, read_jsonl


class Journal:
    """Rows of a file, in order, with those of an earlier start.

    Args:
        path: made when the first row is added. A last line without its end is cut off: it was never finished.

    Raises:
        StageError: a line before the last one is no JSON.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists():
            _cut_torn_line(path)
        self.rows: list[dict[str, Any]] = read_jsonl(path) if path.exists() else []

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append rows; they are on the disk afterwards.

        Raises:
            StageError: the disk is full, or the folder cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False, default=plain) + "\n" for row in rows)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StageError(
                f"{self.path}: could not be written ({error.strerror}); free space or fix the folder and run again"
            ) from error
        self.rows += rows


def _cut_torn_line(path: Path) -> None:
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        with open(path, "r+b") as file:
            file.truncate(content.rfind(b"\n") + 1)
