"""Policy optimisation (GRPO, RLOO): one loss over experience, one switch a variant."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from lightning_modules.config import OptimConfig
from lightning_modules.distributed import ranks
from lightning_modules.generation.rollouts import Experience
from lightning_modules.model.decoder import Decoder
from lightning_modules.objectives.logprobs import token_logprobs
from lightning_modules.objectives.losses import kl_k3, policy_loss
from lightning_modules.training.optim import configure


class RlhfModule(L.LightningModule):
    """Clipped policy gradient with a KL penalty to the input model, averaged over tokens.

    Args:
        model: the policy.
        optim, steps: optimiser and the length of its schedule.
        clip_low, clip_high: limits of the ratio.
        kl: weight of the penalty; kl_limit: nats per token at which the fit ends.
    """

    def __init__(
        self, model: Decoder, optim: OptimConfig, steps: int, clip_low: float, clip_high: float, kl: float, kl_limit: float
    ) -> None:
        super().__init__()
        self.model, self.optim, self.steps = model, optim, steps
        self.clip_low, self.clip_high, self.kl, self.kl_limit = clip_low, clip_high, kl, kl_limit
        self.tokens_seen = 0
        self.halted = ""

    def training_step(self, batch: Experience, batch_idx: int) -> Tensor:
        """The loss; beside it the raw ratio, whose mean must stay near 1 or sampler and trainer disagree."""
        logprobs_N = token_logprobs(self.model, batch.packed)
        drift_N = kl_k3(logprobs_N, batch.reference)
        loss = policy_loss(logprobs_N, batch.old, batch.advantages, self.clip_low, self.clip_high) + self.kl * drift_N.mean()
        ratio = (logprobs_N.detach() - batch.old).exp()
        scored, seen, drifted = ranks.totals(
            len(drift_N), int((batch.packed.segments >= 0).sum()), float(drift_N.detach().double().sum())
        )
        # The mean over the tokens of all processes: gradients are averaged over processes.
        share, drift = len(drift_N) * ranks.world() / scored, drifted / scored
        loss = loss * share
        self.tokens_seen += int(seen)
        self.log_dict({"train/loss": loss, "kl": drift, "ratio/mean": ratio.mean() * share}, sync_dist=True)
        self.log("ratio/max", ratio.max(), sync_dist=True, reduce_fx="max")
        if batch.metrics:
            self.log_dict(batch.metrics)
        if drift > self.kl_limit and not self.halted:
            self.halted = f"KL {drift:.3f} nats per token is above the limit {self.kl_limit:g} at step {self.global_step}"
            self.trainer.should_stop = True
        return loss

    def transfer_batch_to_device(self, batch: Experience, device: torch.device, dataloader_idx: int) -> Experience:
        """Already there: rollouts are made on the policy's device."""
        return batch

    def configure_optimizers(self) -> Any:
        """Muon and AdamW under one schedule."""
        return configure(self, self.optim, self.steps)
