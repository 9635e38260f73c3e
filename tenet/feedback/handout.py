"""Who is shown which item, and what becomes of the verdict. Each function is one transaction, so two people never take
the same item by accident and a page that asks twice gets the same answer twice."""

from __future__ import annotations

import math
import secrets
import sqlite3
import time
from dataclasses import dataclass

from tenet.feedback.ledger import VERDICTS, Item, Judgement, Ledger, item_of

#: Seconds after which an item that somebody was shown and did not judge may be shown to another.
LEASE = 1800.0
LONGEST_REASON = 2000
#: What the page may say of an item; the last three say the same whichever answer stands first.
PICKS = ("first", "second", "tie", "bad", "skip")
#: First of those that this annotator was shown and has not judged, else of those that are free: shared ones, and ones
#: that nobody else has judged or is looking at.
_NEXT = """
SELECT id, prompt, a, b, shared FROM items LEFT JOIN given ON given.item = items.id AND given.annotator = :who
WHERE NOT EXISTS (SELECT 1 FROM judgements j WHERE j.item = items.id AND j.annotator = :who AND NOT j.undone)
AND (shared OR given.item IS NOT NULL OR {free})
ORDER BY given.item IS NULL, given.at DESC, id LIMIT 1
"""
_FREE = """
NOT EXISTS (SELECT 1 FROM judgements j
            WHERE j.item = items.id AND j.annotator != :who AND NOT j.undone AND j.verdict != 'skip')
AND NOT EXISTS (SELECT 1 FROM given g WHERE g.item = items.id AND g.annotator != :who AND g.at > :since
                AND NOT EXISTS (SELECT 1 FROM judgements j
                                WHERE j.item = g.item AND j.annotator = g.annotator AND NOT j.undone))
"""
_LEFT = """
SELECT count(*) FROM items
WHERE NOT EXISTS (SELECT 1 FROM judgements j WHERE j.item = items.id AND j.annotator = :who AND NOT j.undone)
AND (shared OR EXISTS (SELECT 1 FROM given WHERE given.item = items.id AND given.annotator = :who) OR {free})
"""


class Conflict(Exception):
    """A verdict that cannot be taken; the words are for the page."""


@dataclass(frozen=True)
class Shown:
    """An item as one annotator sees it."""

    item: Item
    a_left: bool

    @property
    def texts(self) -> tuple[str, str]:
        """First and second answer."""
        pair = (self.item.a.whole, self.item.b.whole)
        return pair if self.a_left else (pair[1], pair[0])


@dataclass(frozen=True)
class Progress:
    """Of one annotator: items judged, skipped, and those that are left for them now."""

    judged: int
    skipped: int
    left: int


def next_item(ledger: Ledger, annotator: str, now: float | None = None) -> Shown | None:
    """The item that the annotator is to judge; the one they were last shown, if it is not judged yet."""
    at = time.time() if now is None else now
    with ledger.transaction() as db:
        row = db.execute(_NEXT.format(free=_FREE), {"who": annotator, "since": at - LEASE}).fetchone()
        return None if row is None else _show(db, item_of(row), annotator, at)


def judge(ledger: Ledger, annotator: str, item: int, pick: str, reason: str, seconds: float) -> Judgement:
    """Write a verdict. The same one again changes nothing: the page repeats what it is not sure of.

    Args:
        pick: of `PICKS`; first and second are places on the screen.
        seconds: as the page measured; never taken for more than passed here since the item was shown.

    Raises:
        Conflict: an unknown item or pick, one that was never shown to this annotator, or one judged otherwise before.
    """
    if pick not in PICKS:
        raise Conflict(f"verdict is {pick!r}; there are {', '.join(PICKS)}")
    if len(reason) > LONGEST_REASON:
        raise Conflict(f"the reason has {len(reason)} characters; at most {LONGEST_REASON} are kept")
    now = time.time()
    with ledger.transaction() as db:
        given = db.execute("SELECT a_left, at FROM given WHERE item = ? AND annotator = ?", (item, annotator)).fetchone()
        if given is None:
            raise Conflict(f"item {item} was not shown to {annotator}; reload the page")
        verdict = pick if pick in VERDICTS else "a" if (pick == "first") == bool(given[0]) else "b"
        standing = db.execute(
            "SELECT verdict FROM judgements WHERE item = ? AND annotator = ? AND NOT undone", (item, annotator)
        ).fetchone()
        took = min(max(0.0, seconds), max(0.0, now - given[1])) if math.isfinite(seconds) else 0.0
        made = Judgement(item, annotator, verdict, bool(given[0]), reason.strip(), round(took, 3), now)
        if standing is None:
            db.execute(
                "INSERT INTO judgements (item, annotator, verdict, a_left, reason, seconds, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (item, annotator, verdict, given[0], made.reason, made.seconds, now),
            )
        elif standing[0] != verdict:
            raise Conflict("this item is judged already, in another window of the same name; undo that first")
        return made


def undo(ledger: Ledger, annotator: str) -> Shown | None:
    """Take the annotator's last verdict back and show its item again, in the same order; None where there is none.

    The verdict stays in the file, marked as undone.
    """
    with ledger.transaction() as db:
        last = db.execute(
            "SELECT id, item FROM judgements WHERE annotator = ? AND NOT undone ORDER BY id DESC LIMIT 1", (annotator,)
        ).fetchone()
        if last is None:
            return None
        db.execute("UPDATE judgements SET undone = 1 WHERE id = ?", (last[0],))
        row = db.execute("SELECT id, prompt, a, b, shared FROM items WHERE id = ?", (last[1],)).fetchone()
        return _show(db, item_of(row), annotator, time.time())


def progress(ledger: Ledger, annotator: str, now: float | None = None) -> Progress:
    """How far an annotator is."""
    at = time.time() if now is None else now
    with ledger.transaction() as db:
        counts = dict(
            db.execute(
                "SELECT verdict = 'skip', count(*) FROM judgements WHERE annotator = ? AND NOT undone GROUP BY 1", (annotator,)
            ).fetchall()
        )
        left = db.execute(_LEFT.format(free=_FREE), {"who": annotator, "since": at - LEASE}).fetchone()[0]
    return Progress(counts.get(0, 0), counts.get(1, 0), left)


def _show(db: sqlite3.Connection, item: Item, annotator: str, at: float) -> Shown:
    """Note that it is shown; the order is drawn once for each annotator, from no seed that anybody could know."""
    db.execute(
        "INSERT INTO given VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET at = excluded.at",
        (item.id, annotator, secrets.randbits(1), at),
    )
    row = db.execute("SELECT a_left FROM given WHERE item = ? AND annotator = ?", (item.id, annotator)).fetchone()
    return Shown(item, bool(row[0]))
