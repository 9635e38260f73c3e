"""The policy gradient and its variants, as pure functions of log-probabilities and advantages.

One surrogate with three switches covers PPO, GRPO, RLOO, Dr. GRPO, DAPO, GSPO and CISPO (docs/researcher.md has the
table); what an advantage is, is decided before (`advantages`).

Shape letters: N scored tokens of a batch, A answers.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lightning_modules.objectives.logprobs import sum_by_sequence


def importance_ratio(
    logprobs_N: Tensor, old_logprobs_N: Tensor, sequence_ids_N: Tensor, kind: Literal["token", "sequence"] = "token"
) -> Tensor:
    """How much likelier the policy finds each token than when it was sampled: [N].

    `sequence` gives every token its answer's ratio, the geometric mean over its tokens (GSPO, arXiv:2507.18071,
    equation 7).
    """
    change = logprobs_N - old_logprobs_N
    if kind == "token":
        return change.exp()
    count = int(sequence_ids_N.max()) + 1
    lengths = sum_by_sequence(torch.ones_like(change), sequence_ids_N, count)
    mean = sum_by_sequence(change, sequence_ids_N, count) / lengths.clamp(min=1)
    return mean[sequence_ids_N].exp()


def surrogate(
    logprobs_N: Tensor,
    ratio_N: Tensor,
    advantages_N: Tensor,
    clip: Literal["ppo", "cispo"] = "ppo",
    clip_low: float = 0.2,
    clip_high: float = 0.28,
) -> Tensor:
    """The loss of each token: [N].

    Args:
        ratio_N: of `importance_ratio`, with its gradient.
        clip: ppo takes the worse of the ratio and the clipped ratio, times the advantage (arXiv:1707.06347, equation
            7); cispo weighs the log-probability by the clipped ratio without its gradient, so that no token's gradient
            is lost (MiniMax-M1, arXiv:2506.13585, equation 4).
        clip_low, clip_high: the ratio is held between 1 - clip_low and 1 + clip_high (clip-higher: DAPO,
            arXiv:2503.14476, equation 10).
    """
    clipped = ratio_N.clamp(1 - clip_low, 1 + clip_high)
    if clip == "cispo":
        return -clipped.detach() * advantages_N * logprobs_N
    return -torch.minimum(ratio_N * advantages_N, clipped * advantages_N)


def truncated_importance(trainer_N: Tensor, sampler_N: Tensor, cap: float) -> Tensor:
    """Weight of each token that was drawn by a sampler of other arithmetic than the trainer's: min(trainer / sampler,
    cap), no gradient (Yao et al., 2025, "Your efficient RL framework secretly brings you off-policy RL training")."""
    return (trainer_N - sampler_N).exp().clamp(max=cap).detach()


def aggregation_weights(
    sequence_ids_N: Tensor, kept_N: Tensor, how: Literal["token", "answer", "constant"] = "token", most: int = 1
) -> Tensor:
    """What each token counts for, before the whole is divided by `total_weight`: [N].

    Args:
        kept_N: 1 for tokens that count, 0 for those of an answer that is left out.
        how: token: all alike, a long answer counts for more (DAPO, equation 12); answer: each answer counts alike
            (GRPO as published); constant: divided by one fixed length, so that length changes nothing (Dr. GRPO).
        most: that fixed length, e.g. the longest answer allowed.
    """
    if how == "token":
        return kept_N
    if how == "constant":
        return kept_N / most
    count = int(sequence_ids_N.max()) + 1
    return kept_N / sum_by_sequence(kept_N, sequence_ids_N, count).clamp(min=1)[sequence_ids_N]


def total_weight(sequence_ids_N: Tensor, kept_N: Tensor, how: Literal["token", "answer", "constant"] = "token") -> Tensor:
    """What the weighed sum is divided by: the tokens, or the answers, that count."""
    if how == "token":
        return kept_N.sum()
    count = int(sequence_ids_N.max()) + 1
    return (sum_by_sequence(kept_N, sequence_ids_N, count) > 0).to(kept_N).sum()


def value_loss(values_N: Tensor, old_values_N: Tensor, returns_N: Tensor, clip: float = 0.2) -> Tensor:
    """Half the squared error of each token's value, the worse of it and of the value held within `clip` of what it was
    when sampled: [N]; clip 0 leaves that out."""
    loss = (values_N - returns_N).square()
    if clip:
        held = old_values_N + (values_N - old_values_N).clamp(-clip, clip)
        loss = torch.maximum(loss, (held - returns_N).square())
    return 0.5 * loss


def adapted(weight: float, measured: float, target: float, horizon: float = 0.1) -> float:
    """The weight of the KL penalty for the next round, so that the divergence nears its target (arXiv:1909.08593,
    section 2.2): raised by at most `horizon` x 20 % where it is above, lowered where below."""
    error = max(-0.2, min(0.2, measured / target - 1))
    return weight * (1 + horizon * error)
