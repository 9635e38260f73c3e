"""Log-probabilities of chosen tokens, with the vocabulary projected only where it is asked for."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.data.packing import Packed
from lightning_modules.model.decoder import Decoder


def token_logprobs(model: Decoder, batch: Packed) -> Tensor:
    """log p(target | what its source may attend to), in fp32.

    Returns:
        [N], in the order of `batch.targets`.
    """
    return -token_losses(model, batch)


def token_losses(model: Decoder, batch: Packed) -> Tensor:
    """Cross-entropy of each target in nats: [N]."""
    hidden_BTD = model(batch.ids, batch.positions, batch.mask())
    logits_NV = model.logits(hidden_BTD.flatten(0, 1)[batch.sources])
    return F.cross_entropy(logits_NV.float(), batch.targets, reduction="none")


def sum_by_sequence(values_N: Tensor, sequence_ids_N: Tensor, count: int) -> Tensor:
    """Sum the values of each sequence: [N] to [count]."""
    return torch.zeros(count, dtype=values_N.dtype, device=values_N.device).index_add(0, sequence_ids_N, values_N)
