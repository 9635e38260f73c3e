"""From rewards to advantages: how much better an answer was than what could be expected of its prompt."""

from __future__ import annotations

from typing import Literal

from torch import Tensor


def group_advantages(rewards_PG: Tensor, baseline: Literal["grpo", "rloo"] = "grpo") -> Tensor:
    """Reward minus a baseline from the same group of answers.

    Args:
        rewards_PG: P prompts, G answers each.
        baseline: grpo subtracts the group's mean, without dividing by its deviation (arXiv:2503.20783: the division
            favours prompts that are nearly always or nearly never solved); rloo subtracts the mean of the others
            (arXiv:2402.14740), which is the same times G / (G - 1).

    Returns:
        [P, G]; a group of equal rewards gets zeros and teaches nothing.
    """
    groups = rewards_PG.shape[1]
    centred = rewards_PG - rewards_PG.mean(dim=1, keepdim=True)
    return centred * groups / (groups - 1) if baseline == "rloo" and groups > 1 else centred


def zero_variance_share(rewards_PG: Tensor) -> float:
    """Share of the groups whose answers all got the same reward."""
    return float((rewards_PG == rewards_PG[:, :1]).all(dim=1).float().mean()) if rewards_PG.numel() else 0.0
