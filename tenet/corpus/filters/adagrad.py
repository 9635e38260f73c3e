"""Logistic regression on sparse rows, learnt by AdaGrad (Duchi et al. 2011): what the quality classifier and the
toxicity tagger are. In numpy, one row at a time: the same rows and seed give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
#: Beyond it a sigmoid is 0 or 1 to thirteen digits.
FARTHEST = 30


@dataclass(frozen=True)
class Steps:
    """How far and how often it goes.

    Args:
        epochs: passes over the rows.
        rate: AdaGrad's step of the weights; bias: that of the biases, which do not shrink.
        pull: of every weight that a row looks at to nothing.
    """

    epochs: int
    rate: float
    bias: float
    pull: float = 0.0


def sigmoid(values: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    return 1 / (1 + np.exp(-np.clip(values, -FARTHEST, FARTHEST)))


def learn(
    rows: Sequence[tuple[npt.NDArray[np.int64], Floats]], truth: Floats, size: int, steps: Steps, seed: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Weights that tell labels from features.

    Args:
        rows: different places in the table of weights, and the value of each.
        truth: [rows, labels] 1, 0, or NaN for what was not judged and teaches nothing.
        size: of the table.
        seed: of the order.

    Returns:
        [labels, size] and [labels].
    """
    labels = truth.shape[1]
    weights, seen = np.zeros((size, labels)), np.full((size, labels), 1e-8)
    bias, order = np.zeros(labels), np.random.default_rng(seed)
    judged, known = ~np.isnan(truth), np.nan_to_num(truth)
    for _ in range(steps.epochs):
        for i in order.permutation(len(rows)):
            at, values = rows[i]
            if not len(at) or not judged[i].any():
                continue
            here = weights[at]
            error = np.where(judged[i], sigmoid(values @ here + bias) - known[i], 0.0)
            gradient = values[:, None] * error
            if steps.pull:
                gradient += steps.pull * here * judged[i]
            seen[at] += gradient**2
            weights[at] = here - steps.rate * gradient / np.sqrt(seen[at])
            bias -= steps.bias * error
    return np.ascontiguousarray(weights.T).astype(np.float32), bias.astype(np.float32)
