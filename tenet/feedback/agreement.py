"""Krippendorff's alpha: how far annotators agree beyond what the mix of their verdicts would give by chance.

Klaus Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011). Any number of annotators, any of them missing
anywhere; verdicts are names without an order. 1 is full agreement, 0 what chance gives, below 0 is systematic
disagreement. Krippendorff asks for 0.8, and 0.667 for tentative conclusions.

Shape letters: U items judged by two or more, K kinds of verdict, R resamples.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Agreement:
    """Alpha with its 95 % interval by bootstrap over items.

    Args:
        alpha, low, high: NaN where nothing varies: agreement beyond chance means nothing then.
        items: judged by two or more. pairable: verdicts on them.
        same: share of the pairs of verdicts on one item that are equal.
    """

    alpha: float
    low: float
    high: float
    items: int
    pairable: int
    same: float


def agreement(items: Sequence[Sequence[Hashable]], seed: int = 0, resamples: int = 2000) -> Agreement:
    """Nominal alpha of verdicts, one sequence an item.

    Args:
        items: verdicts of each item, from whoever gave one; items with fewer than two tell nothing and are left out.
    """
    units = [Counter(values) for values in items if len(values) > 1]
    if not units:
        return Agreement(math.nan, math.nan, math.nan, 0, 0, math.nan)
    kinds = list(dict.fromkeys(kind for unit in units for kind in unit))
    counts_UK = np.array([[unit[kind] for kind in kinds] for unit in units], dtype=float)
    once_U = np.ones((1, len(units)))
    alpha = float(_alphas(counts_UK, once_U)[0])
    drawn_RU = np.random.default_rng(seed).multinomial(len(units), np.full(len(units), 1 / len(units)), size=resamples)
    spread = _alphas(counts_UK, drawn_RU)
    spread = spread[~np.isnan(spread)]
    low, high = np.quantile(spread, (0.025, 0.975)) if len(spread) else (math.nan, math.nan)
    sizes_U = counts_UK.sum(1)
    pairs = float((sizes_U * (sizes_U - 1)).sum())
    same = float((counts_UK * (counts_UK - 1)).sum()) / pairs
    return Agreement(alpha, float(low), float(high), len(units), int(sizes_U.sum()), same)


def _alphas(counts_UK: np.ndarray, weights_RU: np.ndarray) -> np.ndarray:
    """[R] alpha = 1 - D_o / D_e from the coincidence matrix, each item counted as often as its weight says."""
    sizes_U = counts_UK.sum(1)
    # Each ordered pair of unequal verdicts on an item counts 1 / (m - 1), so that an item weighs as many as its m
    # verdicts.
    unequal_U = (sizes_U**2 - (counts_UK**2).sum(1)) / (sizes_U - 1)
    observed_R = weights_RU @ unequal_U
    kinds_RK = weights_RU @ counts_UK
    n_R = kinds_RK.sum(1)
    expected_R = n_R**2 - (kinds_RK**2).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(expected_R > 0, 1 - (n_R - 1) * observed_R / expected_R, np.nan)
