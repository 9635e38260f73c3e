"""Holding rows out, so that what is asked in the test was never asked in training.

Rows of one group go to one side. Where a row names no group, its first user turn is the group: a shared system turn
says nothing about what is asked, and two answers to one question must not stand on both sides.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence

from tenet.errors import ConfigError
from tenet.rows.kinds import Row

#: With fewer groups than this a hash may leave a side empty; then they are drawn.
FEW = 20


def group_of(row: Row) -> str:
    """What a row is held out by: its group, else its first user turn, else all of what it says; case and blanks
    aside."""
    if row.get("group"):
        return str(row["group"])
    turns = row.get("prompt") or row.get("messages") or ()
    asked = next((turn["content"] for turn in turns if turn["role"] == "user"), None)
    said = asked if asked is not None else row.get("text") or "\n".join(turn["content"] for turn in turns)
    return " ".join(unicodedata.normalize("NFKC", str(said)).casefold().split())


def split(rows: Sequence[Row], heldout: float = 0.1, seed: int = 0) -> tuple[list[Row], list[Row]]:
    """Training rows and held-out rows, each in the old order.

    By a hash of the group, so that rows which are added later move none of the others. Where that gives a share far
    from `heldout` (few groups, or groups of very different size), groups are drawn by the seed until the share is
    reached, the smallest if need be.

    Raises:
        ConfigError: all rows are of one group, or a share that is no share.
    """
    if not 0 < heldout < 1:
        raise ConfigError(f"held-out share {heldout}: it must be above 0 and below 1")
    sizes: dict[str, int] = {}
    groups = [group_of(row) for row in rows]
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    if len(sizes) < 2:
        raise ConfigError(
            f"{len(rows)} rows hold {len(sizes)} different prompts; at least 2 are needed, so that one can be held out: give more rows, or "
            "tell them apart by a column `group`"
        )
    most = max(1.0, 2 * heldout / (1 - heldout))  # rows held out for each one that is not
    held = {group for group in sizes if _hash(seed, group) < heldout}
    share = sum(sizes[group] for group in held) / len(rows)
    if len(sizes) < FEW or not heldout / 2 <= share <= 2 * heldout or len(held) == len(sizes):
        held = _drawn(sizes, heldout * len(rows), most * len(rows) / (1 + most), seed)
    train = [row for row, group in zip(rows, groups, strict=True) if group not in held]
    test = [row for row, group in zip(rows, groups, strict=True) if group in held]
    if len(test) > len(train) * most:
        largest = max(sizes.values())
        raise ConfigError(
            f"of {len(rows)} rows {len(test)} would be held out, {heldout:.0%} were asked for: there are {len(sizes)} groups, the largest of "
            f"{largest} rows; cut the groups smaller (column `group`)"
        )
    return train, test


def _hash(seed: int, group: str) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed} {group}".encode()).digest()[:8], "big") / 2**64


def _drawn(sizes: dict[str, int], wanted: float, most: float, seed: int) -> set[str]:
    """Groups in a drawn order, each taken if that brings the number of rows nearer to what is wanted and not above what
    may be; never none, never all."""
    held: set[str] = set()
    count = 0
    for group in sorted(sizes, key=lambda name: _hash(seed, name)):
        after = count + sizes[group]
        if abs(after - wanted) < abs(count - wanted) and after <= most and len(held) < len(sizes) - 1:
            held.add(group)
            count += sizes[group]
    return held or {min(sizes, key=lambda name: (sizes[name], _hash(seed, name)))}
