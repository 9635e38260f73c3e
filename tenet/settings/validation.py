"""Validation during training, of every stage that learns from rows; and what LoRA cannot be combined with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightning_modules.config import LoraConfig, OptimConfig
from tenet.settings.checks import at_least


@dataclass(frozen=True)
class ValidationConfig:
    """A loss on rows that are taken out of the training rows, in whole groups: those of the test stay unseen, or a model
    that was chosen by them would look better than it is.

    Args:
        every: optimiser steps between two scores; 0 scores nothing and takes no rows.
        rows: most rows that are scored. About as many are taken, at most half of the training rows.
        keep: hand on the weights of the best score (those before the first step among them), or the last ones.
        patience: scores in a row that are no better than the best so far after which training ends; 0 never.
    """

    every: int = 0
    rows: int = 100
    keep: Literal["best", "last"] = "best"
    patience: int = 0

    def __post_init__(self) -> None:
        at_least("validation", self, 0, "every", "patience")
        at_least("validation", self, 1, "rows")
        if self.patience and not self.every:
            raise ValueError(
                f"validation.patience is {self.patience} and validation.every 0: nothing is scored; set validation.every, e.g. 50"
            )
        if self.patience and self.keep == "last":
            raise ValueError(
                f"validation.patience is {self.patience} and validation.keep last: training would hand on weights that got no better for "
                "so long; set validation.keep to best"
            )


def check_lora(section: str, lora: LoraConfig, optim: OptimConfig) -> None:
    """Refuse a rate that nothing is trained at.

    Raises:
        ValueError: names both settings.
    """
    if lora.rank and optim.muon_lr:
        raise ValueError(
            f"{section}.lora.rank is {lora.rank} and {section}.optim.muon_lr {optim.muon_lr}: adapters are AdamW's, and nothing else is "
            "trained; set optim.muon_lr to 0"
        )
