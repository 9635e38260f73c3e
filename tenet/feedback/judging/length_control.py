"""A win rate with the pull of length taken out.

After AlpacaEval 2 (Dubois, Galambosi, Liang, Hashimoto 2024, arXiv:2404.04475), which fits a logistic regression with
three terms: model, length, instruction. Two of them can be had from one comparison of two models; the third (how hard
an instruction is) is learnt there from many models and is left out here. Estimated is, by maximum likelihood over the
prompts,

    P(b wins) = sigmoid(theta + phi * tanh((length of b - length of a) / s))

with s the standard deviation of the differences, ties as half a win, lengths in characters, and a ridge of
`RIDGE` * phi^2 / 2 that keeps phi finite where length alone tells the winner. The length-controlled win rate is
sigmoid(theta): what b would win if both answers to each prompt were equally long.

Shape letters: N prompts, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RIDGE = 0.1
STEPS = 40
#: |theta| beyond which a win rate is 0 or 1 in six decimals.
EDGE = 14.0


@dataclass(frozen=True)
class LengthControlled:
    """Win rate at equal length.

    Args:
        value, low, high: sigmoid(theta) with its 95 % interval by bootstrap over prompts.
        theta, phi: of the formula; phi > 0: longer answers win more than the model alone explains. scale: s, in
            characters.
    """

    value: float
    low: float
    high: float
    theta: float
    phi: float
    scale: float


def length_controlled(
    scores: Sequence[float], differences: Sequence[float], seed: int = 0, resamples: int = 1000
) -> LengthControlled | None:
    """Fit and resample.

    Args:
        scores: 1 where b won, 0 where a did, between for ties and split verdicts.
        differences: length of b's answer minus that of a's.

    Returns:
        None where it cannot be told from the data: fewer than two prompts, or all differences are one and the same.
    """
    y_N, d_N = np.asarray(scores, dtype=float), np.asarray(differences, dtype=float)
    if len(y_N) < 2 or (scale := float(d_N.std())) == 0:
        return None
    x_N = np.tanh(d_N / scale)
    whole = _fit(y_N, x_N, np.ones((1, len(y_N))))[0]
    drawn_RN = np.random.default_rng(seed).multinomial(len(y_N), np.full(len(y_N), 1 / len(y_N)), size=resamples)
    thetas = _fit(y_N, x_N, drawn_RN)[:, 0]
    low, high = (_sigmoid(theta) for theta in np.quantile(thetas, (0.025, 0.975)))
    return LengthControlled(_sigmoid(whole[0]), low, high, float(whole[0]), float(whole[1]), scale)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-float(value)))


def _fit(y_N: np.ndarray, x_N: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """[R, 2] theta and phi of each weighting, by Newton's method on the penalised likelihood, which is concave."""
    design_N2 = np.stack([np.ones_like(x_N), x_N], 1)
    outer_N22 = design_N2[:, :, None] * design_N2[:, None, :]
    ridge_22 = np.diag([1e-6, RIDGE])
    beta_R2 = np.zeros((len(weights_RN), 2))
    for _ in range(STEPS):
        p_RN = 1 / (1 + np.exp(-(beta_R2 @ design_N2.T)))
        gradient_R2 = (weights_RN * (y_N - p_RN)) @ design_N2 - beta_R2 @ ridge_22
        hessian_R22 = np.einsum("rn,nij->rij", weights_RN * p_RN * (1 - p_RN), outer_N22) + ridge_22
        step_R2 = np.linalg.solve(hessian_R22, gradient_R2[:, :, None])[:, :, 0]
        # A step of more than 2 in the log-odds overshoots where nearly all are won.
        beta_R2 = np.clip(beta_R2 + np.clip(step_R2, -2, 2), -EDGE, EDGE)
        if np.abs(step_R2).max() < 1e-9:
            break
    return beta_R2
