"""Policy optimisation: one loss over experience, whose variants are settings (`PolicyObjective`)."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor

from lightning_modules.config import GuardLimits, OptimConfig, PolicyObjective
from lightning_modules.distributed import ranks
from lightning_modules.distributed.sharding import put_aside, put_back
from lightning_modules.generation.experience import Experience, Probe
from lightning_modules.model.decoder import Decoder
from lightning_modules.objectives.critic import ActorCritic
from lightning_modules.objectives.logprobs import token_logprobs
from lightning_modules.objectives.losses import kl_k3
from lightning_modules.objectives.policy_gradient import (
    adapted,
    aggregation_weights,
    importance_ratio,
    surrogate,
    total_weight,
    value_loss,
)
from lightning_modules.training.guards import Guards
from lightning_modules.training.optim import configure


class RlhfModule(L.LightningModule):
    """Policy gradient with a KL penalty to the input model.

    Args:
        model: the policy, alone or with a value head.
        optim, steps: optimiser and the length of its schedule.
        objective: which policy gradient.
        kl: weight of the penalty.
        kl_in_loss: add it to the loss (k3); otherwise the rewards hold it already.
        kl_target: nats per token that the weight is adapted to; 0 leaves the weight.
        longest: tokens of the longest answer, for `aggregate: constant`.
        guards: when to halt.
    """

    def __init__(
        self,
        model: Decoder | ActorCritic,
        optim: OptimConfig,
        steps: int,
        objective: PolicyObjective | None = None,
        *,
        kl: float = 0.0,
        kl_in_loss: bool = True,
        kl_target: float = 0.0,
        longest: int = 1,
        guards: GuardLimits | None = None,
    ) -> None:
        super().__init__()
        self.model, self.optim, self.steps, self.objective = model, optim, steps, objective or PolicyObjective()
        self.kl_in_loss, self.kl_target, self.longest = kl_in_loss, kl_target, longest
        self.guards = Guards(guards or GuardLimits())
        self.tokens_seen = 0
        self.halted = ""
        self.warned: list[str] = []
        #: What must survive a kill beside weights and moments (`remember`).
        self.kl_weight = kl
        #: The last weights that no guard objected to, this process's share of them, in host memory: a device has no room
        #: for them (tenet/planning/memory.py). Empty before the first round.
        self.good: dict[str, Tensor] = {}
        self._last: Experience | None = None

    def remember(self) -> dict[str, Any]:
        """For a checkpoint: numbers that steps changed."""
        return {"kl_weight": self.kl_weight, "halted": self.halted, "warned": self.warned, "guards": self.guards.remembered}

    def recall(self, numbers: dict[str, Any]) -> None:
        """The inverse of `remember`."""
        self.kl_weight, self.halted, self.warned = numbers["kl_weight"], numbers["halted"], numbers["warned"]
        self.guards.remembered = numbers["guards"]

    def on_train_start(self) -> None:
        """A fit that was killed after it had halted stays halted."""
        if self.halted:
            self.trainer.should_stop = True

    def training_step(self, batch: Experience, batch_idx: int) -> Tensor:
        """The loss; beside it the raw ratio, whose mean must stay near 1 or sampler and trainer disagree."""
        loss, metrics, largest = self._loss(batch)
        self._last = batch
        if batch.metrics:
            metrics = {**batch.metrics, **metrics}
            if self.kl_target:
                self.kl_weight = adapted(self.kl_weight, metrics["kl"], self.kl_target)
                metrics["kl/weight"] = self.kl_weight
            self._guard(metrics, batch.probe)
        elif metrics["kl"] > self.guards.limits.kl > 0:
            self._guard({"kl": metrics["kl"]})
        self.log_dict(metrics, sync_dist=True)
        self.log("ratio/max", largest, sync_dist=True, reduce_fx="max")
        return loss

    def _loss(self, batch: Experience) -> tuple[Tensor, dict[str, float], Tensor]:
        """This process's share of the loss, so that the mean over processes is the loss; metrics of all of them."""
        o, order = self.objective, batch.packed.sequence_ids
        if isinstance(self.model, ActorCritic):
            logprobs_N, values_N = self.model(batch.packed)
        else:
            logprobs_N, values_N = token_logprobs(self.model, batch.packed), None
        drift_N = kl_k3(logprobs_N, batch.reference)
        ratio_N = importance_ratio(logprobs_N, batch.old, order, o.ratio)
        losses_N = surrogate(logprobs_N, ratio_N, batch.advantages, o.clip, o.clip_low, o.clip_high) * batch.importance
        if self.kl_in_loss:
            losses_N = losses_N + self.kl_weight * drift_N
        if values_N is not None:
            errors_N = value_loss(values_N, batch.values, batch.returns, o.value_clip)
            losses_N = losses_N + o.value_weight * errors_N
        weights_N = aggregation_weights(order, batch.kept, o.aggregate, self.longest)
        ratio = ratio_N.detach()
        sums = [float(x.double().sum()) for x in (drift_N.detach(), ratio, (ratio < 1 - o.clip_low) | (ratio > 1 + o.clip_high))]
        weight, scored, seen, *totals = ranks.totals(
            float(total_weight(order, batch.kept, o.aggregate)), len(drift_N), int((batch.packed.segments >= 0).sum()), *sums
        )
        self.tokens_seen += int(seen)
        # Gradients are averaged over processes, so each one's sum counts as often as there are processes.
        loss = (losses_N * weights_N).sum() * (ranks.world() / max(weight, 1.0))
        drift, mean_ratio, clipped = (total / scored for total in totals)
        metrics = {"train/loss": float(loss.detach()), "kl": drift, "ratio/mean": mean_ratio, "ratio/clipped": clipped}
        if values_N is not None:
            metrics["value/loss"] = float(errors_N.detach().mean())
        return loss, metrics, ratio.max()

    def _guard(self, metrics: dict[str, float], probe: Probe | None = None) -> None:
        if self.halted:
            return
        warnings, halt = self.guards.look(metrics, probe)
        self.warned += [f"step {self.global_step}: {text}" for text in warnings][: max(0, 20 - len(self.warned))]
        if halt:
            self.halted = f"{halt} at step {self.global_step}"
            self.trainer.should_stop = True
        elif not warnings and len(metrics) > 1 and (probe is not None or not self.guards.watches_gold):
            self.good = put_aside(self.model)

    def on_train_end(self) -> None:
        """Judge the last step too, and hand on the last good weights where a guard has halted the fit."""
        if self._last is not None and not self.halted:
            with torch.no_grad():
                seen = self.tokens_seen
                self._guard({"kl": self._loss(self._last)[1]["kl"]})
                self.tokens_seen = seen
        if self.halted:
            put_back(self.model, self.good)

    def transfer_batch_to_device(self, batch: Experience, device: torch.device, dataloader_idx: int) -> Experience:
        """Already there: rollouts are made on the policy's device."""
        return batch

    def configure_optimizers(self) -> Any:
        """Muon and AdamW under one schedule."""
        return configure(self, self.optim, self.steps)
