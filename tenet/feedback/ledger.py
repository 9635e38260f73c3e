"""What people judged, in one SQLite file: prompts, answers, judgements.

Write-ahead log with full synchronisation: a judgement that the page calls saved is on the disk, whatever is killed
next. Nothing is deleted: what is undone stays, marked so. Verdicts are kept beside the order in which the answers
stood, so that a preference for one side of the screen can be counted.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError, StageError
from tenet.feedback.answering import Answer
from tenet.rows import Row

FILE = "feedback.sqlite"
VERDICTS = ("a", "b", "tie", "bad", "skip")
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items (
    id INTEGER PRIMARY KEY,       -- the place in which it is shown
    prompt TEXT NOT NULL,         -- the row of the prompt, as JSON
    a TEXT NOT NULL, b TEXT NOT NULL,
    shared INTEGER NOT NULL       -- 1: every annotator judges it; 0: one does
);
CREATE TABLE given (              -- who was shown what, how, and when last
    item INTEGER NOT NULL REFERENCES items, annotator TEXT NOT NULL,
    a_left INTEGER NOT NULL, at REAL NOT NULL, PRIMARY KEY (item, annotator)
) WITHOUT ROWID;
CREATE TABLE judgements (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    item INTEGER NOT NULL REFERENCES items, annotator TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('a', 'b', 'tie', 'bad', 'skip')),
    a_left INTEGER NOT NULL, reason TEXT NOT NULL, seconds REAL NOT NULL, at REAL NOT NULL,
    undone INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX one_standing ON judgements (item, annotator) WHERE NOT undone;
"""


@dataclass(frozen=True)
class Item:
    """One prompt with both answers."""

    id: int
    prompt: Row
    a: Answer
    b: Answer
    shared: bool


@dataclass(frozen=True)
class Judgement:
    """One verdict of one person, standing or undone.

    Args:
        verdict: a or b (that answer is better), tie, bad (both are), skip.
        a_left: answer a stood first (left, or above on a phone).
        seconds: from shown to judged, without the time that the page was hidden. at: Unix time.
    """

    item: int
    annotator: str
    verdict: str
    a_left: bool
    reason: str
    seconds: float
    at: float
    undone: bool = False

    @property
    def first(self) -> bool | None:
        """Was the answer that stood first preferred? None where neither was."""
        return (self.verdict == "a") == self.a_left if self.verdict in ("a", "b") else None


class Ledger:
    """The file of one comparison; safe for several threads and several processes.

    Args:
        folder: holds `feedback.sqlite`.
        create: make the file where it is missing.

    Raises:
        ConfigError: there is none, or it is none of ours.
    """

    def __init__(self, folder: Path, create: bool = False) -> None:
        self.path = folder / FILE
        if not create and not self.path.is_file():
            raise ConfigError(f"--out {folder}: no {FILE} there; `tenet feedback --a ... --prompts ... --out {folder}` makes it")
        folder.mkdir(parents=True, exist_ok=True)
        if create and not self.path.exists():
            os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY, 0o600))  # it holds the page's token
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            self.close()
            raise ConfigError(f"{self.path}: {error}; name another --out, or put back the file that was there") from None

    def _prepare(self) -> None:
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        with self.transaction() as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'judgements'").fetchone():
                for statement in _SCHEMA.split(";\n"):
                    db.execute(statement)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing; one at a time, over threads and processes.

        Raises:
            StageError: the disk is full, or another process held the file for half a minute.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError):
                    raise StageError(f"{self.path}: {error}; free space, or close what else holds the file") from None
                raise

    def close(self) -> None:
        """Give the file back."""
        self._connection.close()

    def meta(self, key: str) -> Any:
        """A value that was kept, or None."""
        with self.transaction() as db:
            row = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def keep(self, key: str, value: Any) -> Any:
        """Keep a value unless one is there; returns the one that is there afterwards."""
        with self.transaction() as db:
            db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, json.dumps(value)))
            return json.loads(db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0])

    def same(self, key: str, values: dict[str, Any]) -> None:
        """Keep values, or refuse to go on with others than the file was begun with.

        Raises:
            ConfigError: names the value that differs, as it was and as it is.
        """
        kept = self.keep(key, values)
        for name in {**kept, **values}:
            if kept.get(name) != values.get(name):
                raise ConfigError(
                    f"{self.path}: begun with {key} {name} {kept.get(name)!r}, now it is {values.get(name)!r}; "
                    "give it as it was, or another --out"
                )

    def fill(self, rows: Sequence[Row], sides: Sequence[tuple[Answer, Answer]], overlap: float, seed: int) -> None:
        """The items, once: in an order of their own, a share of them for everybody.

        Args:
            rows: of the prompts. sides: their answers a and b.
            overlap: share of the items that every annotator judges.
        """
        order = list(range(len(rows)))
        chance = random.Random(seed)
        chance.shuffle(order)
        shared = set(chance.sample(order, round(overlap * len(order))))
        with self.transaction() as db:
            if db.execute("SELECT 1 FROM items").fetchone():
                return
            for place, i in enumerate(order, 1):
                texts = [json.dumps(value, ensure_ascii=False) for value in (rows[i], *(side.as_row() for side in sides[i]))]
                db.execute("INSERT INTO items VALUES (?, ?, ?, ?, ?)", (place, *texts, int(i in shared)))

    def items(self) -> dict[int, Item]:
        """All items by number."""
        with self.transaction() as db:
            found = db.execute("SELECT id, prompt, a, b, shared FROM items ORDER BY id").fetchall()
        return {row[0]: item_of(row) for row in found}

    def judgements(self) -> list[Judgement]:
        """All judgements in the order in which they were given, undone ones too."""
        columns = "item, annotator, verdict, a_left, reason, seconds, at, undone"
        with self.transaction() as db:
            found = db.execute(f"SELECT {columns} FROM judgements ORDER BY id").fetchall()
        return [
            Judgement(item, annotator, verdict, bool(a_left), reason, seconds, at, bool(undone))
            for item, annotator, verdict, a_left, reason, seconds, at, undone in found
        ]


def item_of(row: Sequence[Any]) -> Item:
    """An item from its columns."""
    number, prompt, a, b, shared = row
    return Item(number, json.loads(prompt), Answer.of_row(json.loads(a)), Answer.of_row(json.loads(b)), bool(shared))
