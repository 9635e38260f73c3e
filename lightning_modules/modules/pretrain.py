"""Next-token training."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.config import OptimConfig
from lightning_modules.data.packing import Packed
from lightning_modules.data.shards import TokenRows
from lightning_modules.model.decoder import Decoder
from lightning_modules.objectives.logprobs import token_losses
from lightning_modules.objectives.losses import z_loss
from lightning_modules.training.optim import build_optimiser, configure


class PretrainModule(L.LightningModule):
    """Cross-entropy of every token.

    Args:
        model: the decoder.
        optim, steps: optimiser and the length of its schedule.
        z_weight: weight of the z-loss.
        rate: factor of the peak rates at a step; None is the schedule of `optim`.
    """

    def __init__(
        self, model: Decoder, optim: OptimConfig, steps: int, z_weight: float = 0.0, rate: Callable[[int], float] | None = None
    ) -> None:
        super().__init__()
        self.model, self.optim, self.steps, self.z_weight, self.rate = model, optim, steps, z_weight, rate
        self.tokens_seen = 0
        self._loss: Tensor | float = 0.0

    def training_step(self, batch: Packed, batch_idx: int) -> Tensor:
        """Mean cross-entropy in nats per token, plus the z-loss."""
        logits_NV = self.model.logits(self.model(batch.ids, batch.positions, batch.mask()).flatten(0, 1)).float()
        loss = F.cross_entropy(logits_NV, batch.targets)
        self.tokens_seen += batch.ids.numel() * self.trainer.world_size
        passes = self.trainer.accumulate_grad_batches
        self._loss = loss.detach() / passes + (self._loss if batch_idx % passes else 0.0)
        if (batch_idx + 1) % passes == 0:  # the loss of the whole step, not of its last pass
            self.log("train/loss", self._loss, sync_dist=True)
        return loss + self.z_weight * z_loss(logits_NV) if self.z_weight else loss

    def transfer_batch_to_device(self, batch: Packed, device: torch.device, dataloader_idx: int) -> Packed:
        """A `Packed` moves as a whole."""
        return batch.to(device)

    def configure_optimizers(self) -> Any:
        """Muon and AdamW under one schedule."""
        if self.rate is None:
            return configure(self, self.optim, self.steps)
        optimiser = build_optimiser(self, self.optim)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, self.rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


@torch.no_grad()
def bits_per_byte(
    model: Decoder,
    rows: TokenRows,
    text_bytes: int,
    batch: int = 16,
    limit: int = 0,
    check: Callable[[], None] = lambda: None,
) -> float:
    """Held-out compression: bits that the model needs for a byte of text, end-of-text tokens charged too.

    Args:
        model: the decoder.
        rows: the held-out shard.
        text_bytes: UTF-8 bytes of the whole shard's text.
        batch: rows of one forward.
        limit: score only that many rows, evenly spread; the bytes are scaled by their share of the tokens.
        check: called before each forward; raises to stop.
    """
    chosen = list(range(len(rows)))
    if limit and limit < len(chosen):
        chosen = [chosen[i * len(chosen) // limit] for i in range(limit)]
    nats, scored = 0.0, 0
    device = model.norm.weight.device
    for i in range(0, len(chosen), batch):
        check()
        losses = token_losses(model, rows.batch(chosen[i : i + batch]).to(device))
        nats += float(losses.double().sum())
        scored += losses.numel()
    return nats / math.log(2) / (text_bytes * scored / len(rows.tokens))
