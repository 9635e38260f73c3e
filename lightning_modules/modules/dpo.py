"""Direct preference optimisation: learn from pairs without a reward model between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor

from lightning_modules.config import OptimConfig
from lightning_modules.data.packing import Packed
from lightning_modules.distributed import ranks
from lightning_modules.model.decoder import Decoder
from lightning_modules.objectives.logprobs import sum_by_sequence, token_logprobs
from lightning_modules.objectives.losses import dpo_loss
from lightning_modules.training.optim import configure


@dataclass
class PreferenceBatch:
    """Packed pairs and what the reference thought of them.

    Args:
        packed: trees with [chosen, rejected] as completions.
        reference: [2 P] summed log-probabilities under the frozen reference, chosen and rejected in turn; computed
            once, before training.
    """

    packed: Packed
    reference: Tensor


class PreferenceModule(L.LightningModule):
    """DPO with a term that keeps the chosen answers likely.

    Args:
        model: the decoder; the reference is its state before training, present only as numbers in the batches.
        optim, steps: optimiser and the length of its schedule.
        beta: strength of the pull to the reference.
        sft: weight of the chosen answers' own cross-entropy: DPO alone may lower both sides.
    """

    def __init__(self, model: Decoder, optim: OptimConfig, steps: int, beta: float, sft: float = 0.2) -> None:
        super().__init__()
        self.model, self.optim, self.steps, self.beta, self.sft = model, optim, steps, beta, sft
        self.tokens_seen = 0

    def training_step(self, batch: PreferenceBatch, batch_idx: int) -> Tensor:
        """DPO loss; both log-ratios are logged apart, because the margin alone hides that both fall."""
        logprobs_N = token_logprobs(self.model, batch.packed)
        own = sum_by_sequence(logprobs_N, batch.packed.sequence_ids, len(batch.reference)).view(-1, 2)
        reference = batch.reference.view(-1, 2)
        chosen_tokens = batch.packed.sequence_ids % 2 == 0
        pairs, tokens, seen = ranks.totals(len(own), int(chosen_tokens.sum()), int((batch.packed.segments >= 0).sum()))
        # Shares of this process: pairs and tokens are averaged over all processes, gradients over processes.
        of_pairs, of_tokens = len(own) * ranks.world() / pairs, int(chosen_tokens.sum()) * ranks.world() / tokens
        anchor = -self.sft * logprobs_N[chosen_tokens].mean() * of_tokens
        loss = dpo_loss(own[:, 0], own[:, 1], reference[:, 0], reference[:, 1], self.beta) * of_pairs + anchor
        ratio = (own - reference).detach().mean(0) * of_pairs
        self.tokens_seen += int(seen)
        self.log_dict(
            {"train/loss": loss, "train/chosen_logratio": ratio[0], "train/rejected_logratio": ratio[1]}, sync_dist=True
        )
        return loss

    def transfer_batch_to_device(self, batch: PreferenceBatch, device: torch.device, dataloader_idx: int) -> PreferenceBatch:
        """Both parts move."""
        return PreferenceBatch(batch.packed.to(device), batch.reference.to(device))

    def configure_optimizers(self) -> Any:
        """Muon and AdamW under one schedule."""
        return configure(self, self.optim, self.steps)


@torch.no_grad()
def reference_logprobs(model: Decoder, packed: Packed, answers: int) -> Tensor:
    """Summed log-probability of each answer: [answers]."""
    return sum_by_sequence(token_logprobs(model, packed), packed.sequence_ids, answers)
