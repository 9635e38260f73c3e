"""Rows go where their documents went: what is made from a held-out document is never trained on.

A row of a domain names its `group` and the `documents` (pieces of the corpus) that its texts stand in; the corpus stage knows the split of each.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from tenet.domains.protocol import Row, Split


def place(group: str) -> float:
    """Fixed place of a group in [0, 1); the corpus holds out those with the smallest."""
    return int.from_bytes(hashlib.sha256(f"tenet family {group}".encode()).digest()[:8], "big") / 2**64


def split_of(group: str, heldout: tuple[float, float]) -> Split:
    """The split of a group by its place.

    Args:
        heldout: shares for validation and for test.
    """
    where = place(group)
    return "test" if where < heldout[1] else "valid" if where < sum(heldout) else "train"


def split_rows(
    rows: Iterable[Row], splits: Mapping[str, Split], groups: Mapping[str, str], heldout: tuple[float, float]
) -> tuple[dict[Split, list[Row]], list[Row]]:
    """Rows by the split of the documents that they come from.

    Args:
        splits: id of each document of the corpus -> its split.
        groups: id of each document -> its group.
        heldout: shares, for rows that belong to no document of the corpus (about the assistant itself): by the hash of their group.

    Returns:
        rows of each split in their order, and those left out: their texts stand in documents of several splits, or in one that the corpus removed
        from a group that has several.
    """
    of_group: dict[str, set[Split]] = {}
    for name, group in groups.items():
        of_group.setdefault(group, set()).add(splits[name])
    found: dict[Split, list[Row]] = {"train": [], "valid": [], "test": []}
    left_out = []
    for row in rows:
        group, documents = str(row.get("group", "")), row.get("documents") or []
        # A piece that the filters dropped, or that is cut otherwise today, goes with its group, where that is on one side.
        sides = {side for name in documents for side in ({splits[name]} if name in splits else of_group.get(group, {"train"}))}
        if not documents:
            sides = set(of_group.get(group, {split_of(group or str(row.get("id", "")), heldout)}))
        if len(sides) == 1:
            found[sides.pop()].append(row)
        else:
            left_out.append(row)
    return found, left_out
