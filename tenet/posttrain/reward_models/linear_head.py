"""A linear head on frozen features: logistic regression on differences, its layer and weight decay chosen by folds of
the training rows.

A head has a thousand numbers and is fitted in a fraction of a second, so what it reads and how strongly it is held back
can be tried. Nothing is chosen on rows that are measured on: the folds hold out prompts of the training rows, and the
margins of those held-out prompts also give the temperature.

Shape letters: P pairs, A the two answers of a pair, L layers, K last token and mean, D hidden size, F features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_modules.modules.pooling import LAST, MEAN, Pool
from lightning_modules.objectives.preference_losses import preference_loss
from tenet.errors import ConfigError
from tenet.posttrain.reward_models.calibration import fit_temperature, log_loss
from tenet.rows import Row
from tenet.rows.split import group_of

#: Weight of half the squared norm, beside the mean loss of a pair, on features of variance 1.
DECAYS = (0.1, 0.3, 1.0, 3.0, 10.0)
FOLDS = 4


class PairFeatures(NamedTuple):
    """What a head is fitted on.

    Args:
        x_PALKD: chosen and rejected answer of each pair.
        margins: [P] score gap asked for. doubts: [P] how likely the label is wrong.
        human: [P] bool, false for pairs that were made up (`negatives`): nothing is chosen by those.
    """

    x_PALKD: Tensor
    margins: Tensor
    doubts: Tensor
    human: Tensor

    def only(self, which: Tensor) -> PairFeatures:
        """Some of the pairs."""
        return PairFeatures(*(part[which] for part in self))


@dataclass(frozen=True)
class Head:
    """score = weight . features + bias."""

    weight_F: Tensor
    bias: float

    def scores(self, x_PAF: Tensor) -> Tensor:
        """[P, A]."""
        return x_PAF @ self.weight_F + self.bias


@dataclass(frozen=True)
class Choice:
    """What the folds chose.

    Args:
        layer: index into the layers. decay: of `DECAYS`.
        temperature: what the margins on held-out prompts must be divided by.
        tried: log-loss on held-out prompts at the best temperature, by (index of the layer, decay).
        accuracy: on held-out prompts of the training rows, at the choice.
    """

    layer: int
    decay: float
    temperature: float
    tried: dict[tuple[int, float], float]
    accuracy: float


def features_of(x_PALKD: Tensor, layer: int, pool: Pool) -> Tensor:
    """What a `RewardModel` of that pool reads: [P, A, F]."""
    x_PAKD = x_PALKD[:, :, layer]
    return x_PAKD.flatten(2) if pool == "both" else x_PAKD[:, :, LAST if pool == "last" else MEAN]


def fit_head(x_PAF: Tensor, pairs: PairFeatures, decay: float, center: float) -> Head:
    """The minimum of the preference loss, by L-BFGS on standardised features; the head reads them as they are."""
    mean, deviation = x_PAF.mean((0, 1)), x_PAF.std((0, 1)).clamp(min=1e-6)
    z_PAF = (x_PAF - mean) / deviation
    gap_PF, sum_PF = z_PAF[:, 0] - z_PAF[:, 1], z_PAF[:, 0] + z_PAF[:, 1]
    weight, bias = torch.zeros(z_PAF.shape[2], requires_grad=True), torch.zeros(1, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=100, tolerance_grad=1e-5, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        gap, both = gap_PF @ weight, sum_PF @ weight + 2 * bias
        loss = preference_loss((both + gap) / 2, (both - gap) / 2, pairs.margins, center, pairs.doubts)
        loss = loss + decay / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    own = (weight / deviation).detach()
    return Head(own, float(bias.detach()) - float(mean @ own))


def choose(pairs: PairFeatures, rows: Sequence[Row], pool: Pool, center: float, seed: int) -> Choice:
    """Layer and weight decay of the least log-loss on held-out prompts.

    Args:
        rows: of the pairs; those of one prompt are held out together.

    Raises:
        ConfigError: all are of one prompt.
    """
    folds = _folds(rows, seed)
    tried, found = {}, {}
    for layer in range(pairs.x_PALKD.shape[2]):
        x_PAF = features_of(pairs.x_PALKD, layer, pool)
        for decay in DECAYS:
            margins = _held_margins(x_PAF, pairs, folds, decay, center)
            temperature = fit_temperature(margins)
            tried[layer, decay] = log_loss(margins, temperature)
            found[layer, decay] = (temperature, sum(m > 0 for m in margins) / len(margins))
    layer, decay = min(tried, key=lambda place: tried[place])
    return Choice(layer, decay, found[layer, decay][0], tried, found[layer, decay][1])


def _held_margins(x_PAF: Tensor, pairs: PairFeatures, folds_P: Tensor, decay: float, center: float) -> list[float]:
    """Of every human pair, under a head that was fitted without its prompt."""
    margins: list[float] = []
    for fold in folds_P.unique().tolist():
        rest = folds_P != fold
        head = fit_head(x_PAF[rest], pairs.only(rest), decay, center)
        scores = head.scores(x_PAF[~rest & pairs.human])
        margins += (scores[:, 0] - scores[:, 1]).tolist()
    return margins


def _folds(rows: Sequence[Row], seed: int) -> Tensor:
    """[P] which fold a pair is held out in: prompts in an order drawn by hash, dealt out."""
    groups = [group_of(row) for row in rows]
    drawn = sorted(set(groups), key=lambda group: hashlib.sha256(f"{seed} {group}".encode()).digest())
    if len(drawn) < 2:
        raise ConfigError(f"reward: all {len(rows)} training pairs are of one prompt; give pairs of more prompts")
    place = {group: i % FOLDS for i, group in enumerate(drawn)}
    return torch.tensor([place[group] for group in groups])
