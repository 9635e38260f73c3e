"""How much better the chosen answer is, and how sure people were, where the rows say so.

margin     how much better: a share of votes (`tenet feedback`), points of a scale; `score_chosen` - `score_rejected`
p_chosen   share of people who preferred it, from 0.5 (a tie) to 1
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tenet.errors import ConfigError
from tenet.rows import Row


class Labels(NamedTuple):
    """Of each pair the score gap that is asked for, and how likely the label is wrong: [P]."""

    margins: Tensor
    doubts: Tensor


def labels(rows: Sequence[Row], margin: float) -> Labels:
    """Read from rows.

    Args:
        margin: gap asked for; times the row's own `margin` where it has one.

    Raises:
        ConfigError: names the row, the column and the value.
    """
    own = [_margin(row) for row in rows]
    margins = [margin * (1.0 if given is None else given) for given in own]
    return Labels(torch.tensor(margins), torch.tensor([1 - _preferred(row) for row in rows]))


def told(rows: Sequence[Row]) -> dict[str, int]:
    """For the summary: pairs that bring a margin of their own, pairs of which people were not sure, and ties."""
    sure = [_preferred(row) for row in rows]
    found = {
        "with_a_margin": sum(_margin(row) is not None for row in rows),
        "not_unanimous": sum(0.5 < share < 1 for share in sure),
        "ties": sum(share == 0.5 for share in sure),
    }
    return {name: count for name, count in found.items() if count}


def decided(rows: Sequence[Row]) -> list[Row]:
    """Rows that are no tie: only those can be right or wrong."""
    return [row for row in rows if _preferred(row) > 0.5]


def _margin(row: Row) -> float | None:
    given = row.get("margin")
    if given is None and row.get("score_chosen") is not None and row.get("score_rejected") is not None:
        given = _number(row, "score_chosen") - _number(row, "score_rejected")
        return max(0.0, given)
    return None if given is None else _number(row, "margin", low=0.0)


def _preferred(row: Row) -> float:
    return 1.0 if row.get("p_chosen") is None else _number(row, "p_chosen", low=0.5, high=1.0)


def _number(row: Row, column: str, low: float = float("-inf"), high: float = float("inf")) -> float:
    value: Any = row[column]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        limits = f" from {low:g} to {high:g}" if high < float("inf") else f" of at least {low:g}" if low > float("-inf") else ""
        raise ConfigError(f"{row['id']}: {column} is {value!r}; it must be a number{limits}")
    return float(value)
