"""A policy with a value head: what PPO expects of each state, from the policy's own hidden states."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.data.packing import Packed
from lightning_modules.model.decoder import Decoder


class ActorCritic(nn.Module):
    """A decoder and one number a state.

    Args:
        decoder: the policy; what is exported.
        rate: the head's learning rate over that of the other tables. It multiplies the output, which is the same under
            an optimiser that divides by the gradient's size.
    """

    def __init__(self, decoder: Decoder, rate: float = 1.0) -> None:
        super().__init__()
        self.decoder, self.rate = decoder, rate
        self.value = nn.Linear(decoder.config.hidden_size, 1)
        # Zero: an untrained head expects nothing.
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    def forward(self, batch: Packed) -> tuple[Tensor, Tensor]:
        """Log-probability of each target, and the value of the state before it, in fp32: both [N]."""
        hidden_BTD = self.decoder(batch.ids, batch.positions, batch.mask())
        states_ND = hidden_BTD.flatten(0, 1)[batch.sources]
        logprobs_N = -F.cross_entropy(self.decoder.logits(states_ND).float(), batch.targets, reduction="none")
        return logprobs_N, self.rate * self.value(states_ND).squeeze(-1).float()
