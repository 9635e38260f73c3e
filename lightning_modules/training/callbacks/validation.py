"""Validation during a fit: a loss on rows that nothing is learnt from, the weights that had the lowest, an early stop.

The rows are those of neither training nor test: a model that was chosen by the rows it is judged on looks better than
it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from lightning_modules.distributed import ranks
from lightning_modules.distributed.sharding import put_aside, put_back


class Validation(Callback):
    """Score a module before the first step, on the beat and after the last step; logged as `valid/loss`.

    All processes score all batches: a sharded model computes only when they all do.

    Args:
        every: optimiser steps between two.
        batches: of the module's own kind; its `held_loss` gives a batch's sum and number of losses.
        keep_best: end the fit with the weights that had the lowest loss.
        patience: scores in a row that are not the lowest so far after which the fit ends; 0 never.
    """

    def __init__(self, every: int, batches: Sequence[Any], keep_best: bool, patience: int = 0) -> None:
        self.every, self.batches, self.keep_best, self.patience = every, batches, keep_best, patience
        self.best, self.best_step, self.waited, self.stopped = math.inf, 0, 0, False
        #: The best weights, as `put_aside` keeps them.
        self.good: dict[str, Tensor] = {}
        self._scored = -1

    def remember(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"best": self.best, "best_step": self.best_step, "waited": self.waited, "stopped": self.stopped}

    def recall(self, numbers: dict[str, Any]) -> None:
        """The inverse of `remember`."""
        self.best, self.best_step = numbers["best"], numbers["best_step"]
        self.waited, self.stopped = numbers["waited"], numbers["stopped"]

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Score what training begins with; a fit that was killed after it had stopped stays stopped."""
        if self.stopped:
            trainer.should_stop = True
        elif trainer.global_step == 0:
            self._score(trainer, module)

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Score on the beat and at the end, once a step."""
        step = trainer.global_step
        due = step % self.every == 0 or step == trainer.max_steps
        if due and step != self._scored and not trainer.fit_loop._should_accumulate():
            self._score(trainer, module)

    @torch.no_grad()
    def _score(self, trainer: L.Trainer, module: Any) -> None:
        self._scored = step = trainer.global_step
        with trainer.precision_plugin.forward_context():
            parts = [module.held_loss(module.transfer_batch_to_device(batch, module.device, 0)) for batch in self.batches]
        loss = ranks.agree(sum(total for total, _ in parts) / sum(count for _, count in parts))
        for logger in trainer.loggers:
            logger.log_metrics({"valid/loss": loss}, step)
        if loss < self.best:
            self.best, self.best_step, self.waited = loss, step, 0
            self.good = put_aside(module.model) if self.keep_best else {}
            return
        self.waited += 1
        if 0 < self.patience <= self.waited:
            self.stopped = trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, module: Any) -> None:
        """Hand on the best weights."""
        put_back(module.model, self.good)
