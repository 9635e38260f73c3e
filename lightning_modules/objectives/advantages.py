"""From rewards to advantages: how much better an answer, or a token, was than what could be expected.

Shape letters: P prompts, G answers each, A answers, T tokens of the longest.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

#: Added to a deviation before it divides.
TINY = 1e-6


def group_advantages(
    rewards_PG: Tensor, baseline: Literal["grpo", "rloo"] = "grpo", scale: Literal["none", "group", "batch"] = "none"
) -> Tensor:
    """Reward minus a baseline from the same group of answers.

    Args:
        rewards_PG: P prompts, G answers each.
        baseline: grpo subtracts the group's mean; rloo the mean of the others (arXiv:2402.14740), which is the same
            times G / (G - 1).
        scale: what it is divided by. group: the deviation of the group, as GRPO was published (arXiv:2402.03300); none
            leaves it, because that division favours prompts that are nearly always or nearly never solved (Dr. GRPO,
            arXiv:2503.20783); batch: the deviation over all answers of the round (REINFORCE++, arXiv:2501.03262).

    Returns:
        [P, G]; a group of equal rewards gets zeros and teaches nothing.
    """
    groups = rewards_PG.shape[1]
    centred = rewards_PG - rewards_PG.mean(dim=1, keepdim=True)
    if baseline == "rloo" and groups > 1:
        centred = centred * groups / (groups - 1)
    if scale == "none":
        return centred
    deviation = rewards_PG.std(dim=1, keepdim=True) if scale == "group" else centred.std()
    return centred / (deviation + TINY)


def has_signal(rewards_PG: Tensor) -> Tensor:
    """Which groups have answers of different rewards: bool [P]."""
    return (rewards_PG != rewards_PG[:, :1]).any(dim=1)


def zero_variance_share(rewards_PG: Tensor) -> float:
    """Share of the groups whose answers all got the same reward."""
    return float((~has_signal(rewards_PG)).float().mean()) if rewards_PG.numel() else 0.0


def generalised_advantages(
    rewards_AT: Tensor, values_AT: Tensor, scored_AT: Tensor, gamma: float = 1.0, decay: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (arXiv:1506.02438, equation 16) over answers of different lengths.

    Args:
        rewards_AT: reward of each token; nothing follows the last one.
        values_AT: what was expected before each token.
        scored_AT: bool, true for the tokens of an answer, from its first on without a gap.
        gamma: discount; decay: the estimator's lambda, 1 is reward to go minus value.

    Returns:
        advantages and returns (advantage + value), both [A, T], zero where nothing is scored.
    """
    rewards, values = rewards_AT.double() * scored_AT, values_AT.double() * scored_AT
    advantages = torch.zeros_like(values)
    running, following = torch.zeros_like(values[:, 0]), torch.zeros_like(values[:, 0])
    for t in range(values.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * following - values[:, t]
        running = torch.where(scored_AT[:, t], delta + gamma * decay * running, torch.zeros_like(running))
        advantages[:, t], following = running, values[:, t]
    return advantages.to(values_AT), ((advantages + values) * scored_AT).to(values_AT)


def overlong_penalty(length: int, most: int, buffer: int) -> float:
    """Soft punishment of answers that come near the limit (DAPO, arXiv:2503.14476, equation 13): 0 up to `most -
    buffer` tokens, falling to -1 at `most`."""
    return -max(0.0, length - (most - buffer)) / buffer if buffer else 0.0
