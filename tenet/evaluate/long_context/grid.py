"""How far a model reads: a needle at every depth of every length, and the longest length at which it still does well."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tenet.errors import ConfigError
from tenet.evaluate.long_context.fitting import Count
from tenet.evaluate.long_context.haystack import Haystack
from tenet.evaluate.long_context.ruler import WHOLE, make

Row = dict[str, Any]
#: RULER's: what Llama-2-7B scores at 4,096 tokens.
THRESHOLD = 0.856


def needle_grid(
    lengths: Sequence[int],
    depths: Sequence[int],
    rows: int,
    seed: int,
    count: Count,
    haystack: Haystack | None = None,
    task: str = "niah_single_2",
) -> list[Row]:
    """Rows of a needle task for every length and depth, each with `depth` as it was asked for.

    Args:
        depths: of the needle in ten-thousandths of the filler, 0 (right after the instruction) to 10,000.
        rows: of each cell.

    Raises:
        ConfigError: see `make`.
    """
    return [
        {**row, "depth": depth / WHOLE}
        for length in lengths
        for depth in depths
        for row in make(task, length, rows, seed, count, haystack, depth=depth)
    ]


def cells(rows: Sequence[Row], scores: Sequence[float]) -> dict[tuple[int, float], float]:
    """Mean score of each length and depth of a grid's rows."""
    found: dict[tuple[int, float], list[float]] = defaultdict(list)
    for row, score in zip(rows, scores, strict=True):
        found[row["length"], row["depth"]].append(score)
    return {cell: sum(values) / len(values) for cell, values in sorted(found.items())}


def effective_length(scores: Mapping[int, float], threshold: float = THRESHOLD) -> int | None:
    """The longest length whose score reaches the threshold, or None where none does.

    Args:
        scores: mean by length, over all tasks.

    Raises:
        ConfigError: there is no score.
    """
    if not scores:
        raise ConfigError("there is no score of any length; run the tasks at one length at least")
    return max((length for length, score in scores.items() if score >= threshold), default=None)
