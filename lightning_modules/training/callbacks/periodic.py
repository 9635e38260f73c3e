"""Call a function every n optimiser steps: validation, samples, progress. Simpler to reason about than a second loop
inside the trainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback


class Every(Callback):
    """Run `work(step)` after every n-th optimiser step, without gradients; what it returns is logged as metrics.

    All processes run it: a sharded model computes only when they all do.

    Args:
        steps: the beat; 0 never.
        work: gets the number of optimiser steps done.
    """

    def __init__(self, steps: int, work: Callable[[int], dict[str, float] | None]) -> None:
        self.steps, self.work = steps, work

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Call on the beat, once a step."""
        step = trainer.global_step
        if not self.steps or step % self.steps or trainer.fit_loop._should_accumulate():
            return
        with torch.no_grad():
            values = self.work(step)
        for logger in trainer.loggers if values else ():
            logger.log_metrics(values, step)
