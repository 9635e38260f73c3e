"""Preference optimisation: learn from pairs, or from single answers that were liked or not, without a reward model
between."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor

from lightning_modules.config import OptimConfig, PreferenceObjective
from lightning_modules.data.packing import Packed
from lightning_modules.distributed import ranks
from lightning_modules.model.decoder import Decoder
from lightning_modules.objectives.logprobs import sum_by_sequence, token_logprobs
from lightning_modules.objectives.preference_losses import dpo_loss, ipo_loss, kto_losses, simpo_loss
from lightning_modules.training.optim import configure


@dataclass
class PreferenceBatch:
    """Packed trees of two answers, and what the reference thought of them.

    Args:
        packed: trees with [chosen, rejected] as completions; for KTO [the answer, an answer to another prompt].
        reference: [2 P] summed log-probabilities under the frozen reference, in the same order; computed once, before
            training.
        liked: bool [P], whether the first answer was liked; pairs have none.
    """

    packed: Packed
    reference: Tensor
    liked: Tensor | None = None


class PreferenceModule(L.LightningModule):
    """One of the preference losses, with a term that keeps the better answers likely.

    Args:
        model: the decoder; the reference is its state before training, present only as numbers in the batches.
        optim, steps: optimiser and the length of its schedule.
        objective: which loss.
    """

    def __init__(self, model: Decoder, optim: OptimConfig, steps: int, objective: PreferenceObjective | None = None) -> None:
        super().__init__()
        self.model, self.optim, self.steps, self.objective = model, optim, steps, objective or PreferenceObjective()
        self.tokens_seen = 0

    def training_step(self, batch: PreferenceBatch, batch_idx: int) -> Tensor:
        """The loss; both log-ratios are logged apart, because the margin alone hides that both fall."""
        logprobs_N = token_logprobs(self.model, batch.packed)
        order, count = batch.packed.sequence_ids, len(batch.reference)
        own = sum_by_sequence(logprobs_N, order, count).view(-1, 2)
        reference = batch.reference.view(-1, 2)
        lengths = torch.bincount(order, minlength=count).view(-1, 2)
        better = _better(order, batch.liked)
        shifted = (own - reference).detach()[:, 1]
        pairs, tokens, seen, drift = ranks.totals(
            len(own), int(better.sum()), int((batch.packed.segments >= 0).sum()), float(shifted.double().sum())
        )
        # Shares of this process: pairs and tokens are averaged over all processes, gradients over processes.
        of_pairs = len(own) * ranks.world() / pairs
        loss = self._loss(own, reference, lengths, batch.liked, max(0.0, drift / pairs)) * of_pairs
        if mine := int(better.sum()):
            loss = loss - self.objective.sft * logprobs_N[better].mean() * (mine * ranks.world() / tokens)
        self.tokens_seen += int(seen)
        ratio = (own - reference).detach()
        metrics = {"train/loss": loss, **_ratios(ratio, batch.liked, of_pairs)}
        self.log_dict(metrics, sync_dist=True)
        return loss

    @torch.no_grad()
    def held_loss(self, batch: PreferenceBatch) -> tuple[float, int]:
        """The loss summed over the pairs of a batch that is not learnt from, and how many these are."""
        logprobs_N, order, count = token_logprobs(self.model, batch.packed), batch.packed.sequence_ids, len(batch.reference)
        own, reference = sum_by_sequence(logprobs_N, order, count).view(-1, 2), batch.reference.view(-1, 2)
        lengths = torch.bincount(order, minlength=count).view(-1, 2)
        better = _better(order, batch.liked)
        loss = self._loss(own, reference, lengths, batch.liked, max(0.0, float((own - reference)[:, 1].mean())))
        if bool(better.any()):
            loss = loss - self.objective.sft * logprobs_N[better].mean()
        return float(loss) * len(own), len(own)

    def _loss(self, own: Tensor, reference: Tensor, lengths: Tensor, liked: Tensor | None, kl: float) -> Tensor:
        """The mean over this process's pairs."""
        o = self.objective
        if o.loss == "kto":
            if liked is None:
                raise ValueError("KTO needs to know which answers were liked; the batch does not say")
            losses = kto_losses((own - reference)[:, 0], liked, kl, o.beta, o.liked_weight, o.disliked_weight)
            return losses.mean()
        if o.loss in ("ipo", "simpo"):
            own, reference = own / lengths, reference / lengths
        if o.loss == "ipo":
            return ipo_loss(own[:, 0], own[:, 1], reference[:, 0], reference[:, 1], o.beta)
        if o.loss == "simpo":
            return simpo_loss(own[:, 0], own[:, 1], o.beta, o.gap)
        return dpo_loss(own[:, 0], own[:, 1], reference[:, 0], reference[:, 1], o.beta, o.label_smoothing)

    def transfer_batch_to_device(self, batch: PreferenceBatch, device: torch.device, dataloader_idx: int) -> PreferenceBatch:
        """All parts move."""
        liked = None if batch.liked is None else batch.liked.to(device)
        return PreferenceBatch(batch.packed.to(device), batch.reference.to(device), liked)

    def configure_optimizers(self) -> Any:
        """Muon and AdamW under one schedule."""
        return configure(self, self.optim, self.steps)


def _better(order_N: Tensor, liked_P: Tensor | None) -> Tensor:
    """Which tokens are of an answer that should stay likely: the chosen ones, or those that were liked."""
    chosen = order_N % 2 == 0
    return chosen if liked_P is None else chosen & liked_P[order_N // 2]


def _ratios(ratio_P2: Tensor, liked: Tensor | None, of_pairs: float) -> dict[str, Tensor]:
    """Log-ratios to the reference, apart: of chosen and rejected answers, or of liked ones and of those to other
    prompts."""
    if liked is None:
        mean = ratio_P2.mean(0) * of_pairs
        return {"train/chosen_logratio": mean[0], "train/rejected_logratio": mean[1]}
    return {"train/logratio": ratio_P2[:, 0].mean() * of_pairs, "train/mismatched_logratio": ratio_P2[:, 1].mean() * of_pairs}


@torch.no_grad()
def reference_logprobs(model: Decoder, packed: Packed, answers: int) -> Tensor:
    """Summed log-probability of each answer: [answers]."""
    return sum_by_sequence(token_logprobs(model, packed), packed.sequence_ids, answers)
