"""A reward model whose decoder stays as it is: features once, then a head that is chosen and fitted in seconds."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lightning_modules.config import ComputeConfig
from lightning_modules.data.packing import Tree
from lightning_modules.model.decoder import Decoder
from lightning_modules.modules.pooling import Pool
from lightning_modules.modules.reward import RewardModel
from tenet.errors import ConfigError
from tenet.posttrain.reward_models.feature_cache import FeatureCache
from tenet.posttrain.reward_models.labels import labels
from tenet.posttrain.reward_models.linear_head import Choice, Head, PairFeatures, choose, features_of, fit_head
from tenet.rows import Row

#: Where the layers that are tried lie, as shares of the depth: the middle says more of a whole answer than the end, which
#: is about the next token.
DEPTHS = (0.4, 0.5, 0.6)


def layers_of(wanted: Sequence[int], blocks: int) -> tuple[int, ...]:
    """The layers that are tried, ascending.

    Raises:
        ConfigError: one that the model has not.
    """
    if wanted and max(wanted) > blocks:
        raise ConfigError(f"reward.layers is {list(wanted)}, and the model has {blocks} blocks; name numbers from 1 to {blocks}")
    return tuple(sorted(set(wanted or (max(1, round(depth * blocks)) for depth in DEPTHS))))


def frozen(model: Decoder, compute: ComputeConfig) -> Decoder:
    """The model for reading features: on the GPU where there is one, in bf16 where the hardware computes it."""
    cuda = compute.accelerator != "cpu" and torch.cuda.is_available()
    half = cuda or torch.cpu._is_avx512_bf16_supported()
    if not (cuda or half):
        return model.requires_grad_(False)
    return copy.deepcopy(model).requires_grad_(False).to("cuda" if cuda else "cpu", torch.bfloat16 if half else torch.float32)


@dataclass(frozen=True)
class Fitted:
    """A calibrated head.

    Args:
        choice: layer, decay and temperature, and what else was tried.
        layer: the layer itself.
        seconds: CPU seconds of the last fit, and of all fits by which it was chosen.
    """

    head: Head
    choice: Choice
    layer: int
    pool: Pool
    seconds: tuple[float, float]

    def margins(self, cache: FeatureCache, trees: Sequence[Tree]) -> list[tuple[float, float]]:
        """Scores of chosen and rejected answers whose features are known."""
        if not trees:
            return []
        x_PALKD = torch.stack([cache.of(tree) for tree in trees])
        return [(a, b) for a, b in self.head.scores(features_of(x_PALKD, self.choice.layer, self.pool)).tolist()]

    def model(self, decoder: Decoder) -> RewardModel:
        """The same scores from text: the decoder up to the layer, with the head on it."""
        model = RewardModel(decoder, self.pool, self.layer)
        with torch.no_grad():
            model.head.weight.copy_(self.head.weight_F)
            model.head.bias.fill_(self.head.bias)
        return model.eval()


def fit_frozen(
    cache: FeatureCache,
    rows: Sequence[Row],
    trees: Sequence[Tree],
    made: int,
    *,
    pool: Pool,
    margin: float,
    center: float,
    seed: int,
) -> Fitted:
    """Choose and fit a head on features that are known.

    Args:
        rows: training pairs; trees: the same, encoded.
        made: how many of them, the last ones, no human judged.
        pool, margin, center: as in `RewardConfig`.
    """
    given = labels(rows, margin)
    human = torch.arange(len(rows)) < len(rows) - made
    pairs = PairFeatures(torch.stack([cache.of(tree) for tree in trees]), given.margins, given.doubts, human)
    begun = time.process_time()
    choice = choose(pairs, rows, pool, center, seed)
    chosen = time.process_time()
    head = fit_head(features_of(pairs.x_PALKD, choice.layer, pool), pairs, choice.decay, center)
    last = time.process_time() - chosen
    calibrated = Head(head.weight_F / choice.temperature, head.bias / choice.temperature)
    return Fitted(calibrated, choice, cache.layers[choice.layer], pool, (last, chosen - begun))
