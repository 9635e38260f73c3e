"""Losses over preferences: of pairs (Bradley-Terry, DPO, cDPO, IPO, SimPO) and of single answers (KTO).

Shape letters: P pairs, A answers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def preference_loss(
    chosen_P: Tensor, rejected_P: Tensor, margin: Tensor | float = 0.0, center: float = 0.0, smoothing: Tensor | float = 0.0
) -> Tensor:
    """Bradley-Terry: -log sigmoid(chosen - rejected - margin), averaged over pairs.

    Args:
        chosen_P, rejected_P: scores.
        margin: score gap asked for; one for all, or [P] (arXiv:2307.09288, equation 2).
        center: weight of the mean of (chosen + rejected)^2, which keeps scores near zero without changing their order
            (arXiv:2312.09244).
        smoothing: how likely the label is wrong; one for all, or [P]: a tie is a half.
    """
    gap = chosen_P - rejected_P - margin
    loss = _both(gap, smoothing).mean()
    return loss + center * (chosen_P + rejected_P).square().mean() if center else loss


def _both(gap_P: Tensor, smoothing: Tensor | float) -> Tensor:
    if isinstance(smoothing, float) and not smoothing:
        return -F.logsigmoid(gap_P)
    return -(1 - smoothing) * F.logsigmoid(gap_P) - smoothing * F.logsigmoid(-gap_P)


def dpo_loss(
    chosen_P: Tensor,
    rejected_P: Tensor,
    ref_chosen_P: Tensor,
    ref_rejected_P: Tensor,
    beta: float,
    smoothing: Tensor | float = 0.0,
) -> Tensor:
    """Direct preference optimisation (arXiv:2305.18290, equation 7), averaged over pairs.

    Args:
        chosen_P, rejected_P: summed log-probabilities of the answers under the policy.
        ref_chosen_P, ref_rejected_P: the same under the frozen reference.
        beta: strength of the pull to the reference.
        smoothing: how likely a label is wrong (cDPO; Mitchell, 2023).
    """
    gap = (chosen_P - ref_chosen_P) - (rejected_P - ref_rejected_P)
    return _both(beta * gap, smoothing).mean()


def ipo_loss(chosen_P: Tensor, rejected_P: Tensor, ref_chosen_P: Tensor, ref_rejected_P: Tensor, beta: float) -> Tensor:
    """Identity preference optimisation (arXiv:2310.12036, equation 17): the gap is drawn to 1 / (2 beta) instead of to
    infinity.

    All four are means over an answer's tokens, or beta would mean another thing for each length.
    """
    gap = (chosen_P - ref_chosen_P) - (rejected_P - ref_rejected_P)
    return (gap - 1 / (2 * beta)).square().mean()


def simpo_loss(chosen_P: Tensor, rejected_P: Tensor, beta: float, gap: float) -> Tensor:
    """Simple preference optimisation (arXiv:2405.14734, equation 6): no reference; log-probabilities are means over an
    answer's tokens and the chosen one must lead by `gap`."""
    return -F.logsigmoid(beta * (chosen_P - rejected_P) - gap).mean()


def kto_losses(
    logratio_A: Tensor, liked_A: Tensor, kl: Tensor | float, beta: float, liked_weight: float = 1.0, disliked_weight: float = 1.0
) -> Tensor:
    """Kahneman-Tversky optimisation (arXiv:2402.01306, equation 8), of single answers with thumbs up or down: [A].

    Args:
        logratio_A: log-probability of the answer under the policy minus under the reference.
        liked_A: bool, thumbs up.
        kl: estimate of KL(policy || reference), without gradient; the mean log-ratio of mismatched answers, at least 0.
        beta: how soon a gain stops to count.
        liked_weight, disliked_weight: make up for kinds of unequal number.
    """
    gain = 1 - torch.sigmoid(beta * (logratio_A - kl))
    loss = 1 - torch.sigmoid(beta * (kl - logratio_A))
    return torch.where(liked_A, liked_weight * gain, disliked_weight * loss)
