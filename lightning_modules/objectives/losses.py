"""The losses, as pure functions that a test can hold against their definition.

Shape letters: N scored tokens of a batch, A answers, P pairs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def preference_loss(chosen_P: Tensor, rejected_P: Tensor, margin: float = 0.0, center: float = 0.0) -> Tensor:
    """Bradley-Terry: -log sigmoid(chosen - rejected - margin), averaged over pairs.

    `center` weighs the mean of (chosen + rejected)^2, which keeps scores near zero without changing their order
    (arXiv:2312.09244).
    """
    loss = -F.logsigmoid(chosen_P - rejected_P - margin).mean()
    return loss + center * (chosen_P + rejected_P).square().mean() if center else loss


def dpo_loss(
    chosen_P: Tensor, rejected_P: Tensor, ref_chosen_P: Tensor, ref_rejected_P: Tensor, beta: float, sft: Tensor | float = 0.0
) -> Tensor:
    """Direct preference optimisation (arXiv:2305.18290, equation 7).

    Args:
        chosen_P, rejected_P: summed log-probabilities of the answers under the policy.
        ref_chosen_P, ref_rejected_P: the same under the frozen reference.
        beta: strength of the pull to the reference.
        sft: a further term, e.g. the chosen answers' own cross-entropy, against both log-ratios falling together.
    """
    gap = (chosen_P - ref_chosen_P) - (rejected_P - ref_rejected_P)
    return -F.logsigmoid(beta * gap).mean() + sft


def kl_k3(logprobs_N: Tensor, ref_logprobs_N: Tensor) -> Tensor:
    """Per-token estimate of KL(policy || reference): exp(d) - d - 1 with d = ref - policy. Unbiased and never negative
    (Schulman, 2020)."""
    d = ref_logprobs_N - logprobs_N
    return d.exp() - d - 1


def policy_loss(
    logprobs_N: Tensor,
    old_logprobs_N: Tensor,
    advantages_N: Tensor,
    clip_low: float = 0.2,
    clip_high: float = 0.28,
) -> Tensor:
    """Clipped policy gradient (PPO, arXiv:1707.06347) averaged over all tokens of the batch (DAPO, arXiv:2503.14476,
    equation 12).

    The average is over tokens, not over answers: a long bad answer is not let off lightly.
    """
    ratio = (logprobs_N - old_logprobs_N).exp()
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    return -torch.minimum(ratio * advantages_N, clipped * advantages_N).mean()


def z_loss(logits_NV: Tensor) -> Tensor:
    """Mean squared log-partition, which keeps logits from drifting (PaLM, arXiv:2204.02311, section 5)."""
    return logits_NV.logsumexp(-1).square().mean()
