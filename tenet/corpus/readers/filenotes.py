"""What became of one file: the note that every reader of files gives behind its documents."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class FileNote:
    """What became of one file.

    Args:
        file: its path below the source, behind the source's name; of a member of an archive `a.zip!/b.txt`.
        kind: how it was read; "" for a file that was skipped.
        reason: why it was skipped.
        bytes: its size on disk; 0 of a member of an archive, whose own note has it.
        documents: how many it gave.
        encoding: where it was not UTF-8: what was guessed.
        empty, refused: rows without text, and rows that could not be read.
        rows: number and reason of the first refused ones.
        unused: reason -> records that are whole but are no text to train on (a WARC's requests, images, opt-outs).
        opted_out: host -> of those, pages that asked to be left out.
    """

    file: str
    kind: str = ""
    reason: str = ""
    bytes: int = 0
    documents: int = 0
    encoding: str = ""
    empty: int = 0
    refused: int = 0
    rows: list[tuple[int, str]] = field(default_factory=list)
    unused: dict[str, int] = field(default_factory=dict)
    opted_out: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


#: Refused rows that are kept by number; all are counted.
SHOWN = 100


@dataclass
class Tally:
    """Rows or records of one file: how many, those without text, those that could not be read, and those that are not
    for us."""

    rows: int = 0
    empty: int = 0
    refused: int = 0
    reasons: list[tuple[int, str]] = field(default_factory=list)
    unused: Counter[str] = field(default_factory=Counter)
    opted_out: Counter[str] = field(default_factory=Counter)

    def refuse(self, number: int, reason: str) -> None:
        """Count a row that could not be read."""
        self.refused += 1
        if len(self.reasons) < SHOWN:
            self.reasons.append((number, reason))

    def leave(self, reason: str) -> None:
        """Count a record that is whole but not used."""
        self.unused[reason] += 1

    def opt_out(self, host: str) -> None:
        """Count a page that asked to be left out, by its host, beside the reason."""
        self.opted_out[host] += bool(host)

    def onto(self, note: FileNote) -> None:
        """Write the counts on the file's note."""
        note.empty, note.refused, note.rows, note.unused = self.empty, self.refused, self.reasons, dict(self.unused)
        note.opted_out = {host: count for host, count in self.opted_out.items() if count}
