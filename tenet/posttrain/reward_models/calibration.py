"""Whether sigmoid(score - score) is how often people agree: one temperature, and how far off the confidences are
(arXiv:1706.04599).

Shape letters: P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

#: Temperatures that are tried: a hundredth to a hundredfold, a tenth apart.
_GRID = np.geomspace(0.01, 100.0, 98)
#: A temperature of fewer pairs would be a guess.
FEWEST = 30


class Bin(NamedTuple):
    """Pairs of like confidence: their mean confidence, the share that is right, and how many they are."""

    confidence: float
    right: float
    pairs: int


def log_loss(margins: Sequence[float], temperature: float = 1.0) -> float:
    """Mean of -log sigmoid(margin / temperature), in nats: a coin has 0.693."""
    return float(np.logaddexp(0, -np.asarray(margins, dtype=float) / temperature).mean())


def fit_temperature(margins: Sequence[float]) -> float:
    """What margins must be divided by for the choices to be likeliest; 1 where there are fewer than `FEWEST`.

    Args:
        margins: [P] score of the chosen answer minus that of the rejected one, of pairs that nothing was fitted on.
    """
    if len(margins) < FEWEST:
        return 1.0
    return float(min(_GRID, key=lambda temperature: log_loss(margins, temperature)))


def reliability(margins: Sequence[float], bins: int = 10) -> list[Bin]:
    """Pairs by confidence sigmoid(|margin|), from a half to 1 in equal steps; empty ones are left out."""
    sizes = np.abs(np.asarray(margins, dtype=float))
    confidence = 1 / (1 + np.exp(-np.minimum(sizes, 60.0)))
    right = np.where(np.asarray(margins) == 0, 0.5, np.asarray(margins) > 0)
    places = np.minimum(((confidence - 0.5) * 2 * bins).astype(int), bins - 1)
    inside = [places == b for b in range(bins)]
    return [Bin(float(confidence[i].mean()), float(right[i].mean()), int(i.sum())) for i in inside if i.any()]


def calibration_error(margins: Sequence[float]) -> float:
    """Expected calibration error: the mean over pairs of how far the share that is right is from the confidence."""
    return sum(b.pairs * abs(b.right - b.confidence) for b in reliability(margins)) / max(1, len(margins))
