"""Supervised fine-tuning: next-token training on what the assistant said, and on nothing else."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from lightning_modules.config import OptimConfig
from lightning_modules.data.packing import Packed
from lightning_modules.distributed import ranks
from lightning_modules.model.decoder import Decoder
from lightning_modules.objectives.logprobs import token_losses
from lightning_modules.training.optim import configure


class FinetuneModule(L.LightningModule):
    """Mean cross-entropy over the supervised tokens of the batch.

    Args:
        model: the decoder.
        optim, steps: optimiser and the length of its schedule.
    """

    def __init__(self, model: Decoder, optim: OptimConfig, steps: int) -> None:
        super().__init__()
        self.model, self.optim, self.steps = model, optim, steps
        self.tokens_seen = 0

    def training_step(self, batch: Packed, batch_idx: int) -> Tensor:
        """Nats a supervised token, the mean over the tokens of all processes."""
        scored, seen = ranks.totals(len(batch.targets), int((batch.segments >= 0).sum()))
        # Gradients are averaged over processes; with the factor that is the average over tokens, whoever has more of
        # them.
        loss = token_losses(self.model, batch).mean() * (len(batch.targets) * ranks.world() / scored)
        self.tokens_seen += int(seen)
        self.log("train/loss", loss, sync_dist=True)
        return loss

    @torch.no_grad()
    def held_loss(self, batch: Packed) -> tuple[float, int]:
        """Nats of a batch that is not learnt from, and its supervised tokens."""
        return float(token_losses(self.model, batch).double().sum()), len(batch.targets)

    def transfer_batch_to_device(self, batch: Packed, device: torch.device, dataloader_idx: int) -> Packed:
        """A `Packed` moves as a whole."""
        return batch.to(device)

    def configure_optimizers(self) -> Any:
        """Muon and AdamW under one schedule."""
        return configure(self, self.optim, self.steps)
