"""Rows go where their documents went: what is made from a held-out document is never trained on.

A row of a domain names its `group` and the `documents` (pieces of the corpus) that its texts stand in; the corpus stage
knows the split of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tenet.corpus.split import place, split_of
from tenet.domains.domain import Row, Split

__all__ = ["place", "split_of", "split_rows"]


def split_rows(
    rows: Iterable[Row], splits: Mapping[str, Split], groups: Mapping[str, str], heldout: tuple[float, float]
) -> tuple[dict[Split, list[Row]], list[Row]]:
    """Rows by the split of the documents that they come from.

    Args:
        splits: id of each document of the corpus -> its split.
        groups: id of each document -> its group.
        heldout: shares, for rows that belong to no document of the corpus (about the assistant itself): by the hash of
            their group.

    Returns:
        rows of each split in their order, and those left out: their texts stand in documents of several splits, or in
        one that the corpus removed from a group that has several.
    """
    of_group: dict[str, set[Split]] = {}
    for name, group in groups.items():
        of_group.setdefault(group, set()).add(splits[name])
    found: dict[Split, list[Row]] = {"train": [], "valid": [], "test": []}
    left_out = []
    for row in rows:
        group, documents = str(row.get("group", "")), row.get("documents") or []
        # A piece that the filters dropped, or that is cut otherwise today, goes with its group, where that is on one
        # side.
        sides = {side for name in documents for side in ({splits[name]} if name in splits else of_group.get(group, {"train"}))}
        if not documents:
            sides = set(of_group.get(group, {split_of(group or str(row.get("id", "")), heldout)}))
        if len(sides) == 1:
            found[sides.pop()].append(row)
        else:
            left_out.append(row)
    return found, left_out
