"""What policy optimisation learns from: answers with their rewards, laid out as one minibatch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightning_modules.config import PolicyObjective
from lightning_modules.data.packing import Packed, Tree, pack
from lightning_modules.distributed import ranks
from lightning_modules.generation.protocol import Completion
from lightning_modules.model.decoder import Decoder
from lightning_modules.objectives.advantages import TINY, generalised_advantages
from lightning_modules.objectives.critic import ActorCritic
from lightning_modules.objectives.logprobs import token_logprobs
from lightning_modules.objectives.policy_gradient import truncated_importance


@dataclass(frozen=True)
class Reward:
    """A value with named parts, so that a rise can be traced to its cause.

    Args:
        value: what is paid. parts: what it is made of.
        gold: a measure that is not learnt from, to tell whether `value` still means what it should.
    """

    value: float
    parts: dict[str, float] = field(default_factory=dict)
    gold: float | None = None


@dataclass(frozen=True)
class Probe:
    """The policy's answers to prompts that are always the same, one each, from random streams that are always the same:
    two probes differ by what the policy has learnt, prompt by prompt.

    Args:
        paid: what each answer would be paid. gold: what it is worth by a measure that is not learnt from.
    """

    paid: tuple[float, ...]
    gold: tuple[float, ...]

    @classmethod
    def of(cls, rewards: Sequence[Reward]) -> Probe:
        """Of the rewards that have a gold measure."""
        measured = [(reward.value, reward.gold) for reward in rewards if reward.gold is not None]
        return cls(tuple(paid for paid, _ in measured), tuple(gold for _, gold in measured))

    def means(self) -> dict[str, float]:
        """For metrics."""
        return {"gold/mean": sum(self.gold) / len(self.gold), "gold/paid": sum(self.paid) / len(self.paid)}


@dataclass
class Experience:
    """One minibatch of rollouts.

    Args:
        packed: trees, answers as completions; N scored tokens.
        old: [N] log-probabilities when sampled, as the trainer computes them.
        reference: [N] under the frozen input model.
        advantages: [N]; with a group baseline the answer's, repeated over its tokens.
        kept: [N] 1, or 0 for the tokens of an answer that is left out of the loss.
        importance: [N] weight for samplers of another precision; 1 where there is none.
        values, returns: [N] of the value head when sampled, and what it should have said; empty without one.
        metrics: of the whole round, logged with its first minibatch.
        probe: of the policy before the round, with the first minibatch of the rounds that have one.
    """

    packed: Packed
    old: Tensor
    reference: Tensor
    advantages: Tensor
    kept: Tensor
    importance: Tensor
    values: Tensor
    returns: Tensor
    metrics: dict[str, float]
    probe: Probe | None = None


@dataclass(frozen=True)
class Answer:
    """One answer of a round, with what it earned.

    Args:
        completion: tokens and the sampler's log-probabilities.
        reward: what it was paid.
        credit: what its advantage is made of: the reward's value, or its normalised parts.
        kept: whether it counts in the loss.
    """

    completion: Completion
    reward: Reward
    credit: float
    kept: bool = True


@torch.no_grad()
def minibatch(
    prompts: Sequence[Sequence[int]],
    groups: Sequence[Sequence[Answer]],
    advantages: Tensor,
    *,
    policy: Decoder | ActorCritic,
    reference: Decoder,
    objective: PolicyObjective,
    kl_in_reward: float,
    exact: bool,
) -> Experience:
    """Lay out answers and compute what the loss needs of them.

    Args:
        prompts: token ids, one a group.
        groups: their answers, equally many each.
        advantages: [groups, answers], of the group baseline; a policy with a value head takes the rewards instead.
        kl_in_reward: weight of the divergence from the reference that each token's reward loses (PPO).
        exact: the sampler's log-probabilities are the trainer's.
    """
    trees = [_tree(prompt, [a.completion for a in group]) for prompt, group in zip(prompts, groups, strict=True)]
    packed = pack(trees, max(map(len, trees))).to(next(policy.parameters()).device)
    reference.to(packed.ids.device)
    flat = [a for group in groups for a in group]
    # Trees may have been moved between rows; sequence_ids say which answer each token belongs to.
    order = packed.sequence_ids
    sampled = torch.empty(len(order), device=order.device)
    for i, answer in enumerate(flat):
        sampled[order == i] = torch.tensor(answer.completion.logprobs, device=order.device)
    reference_N = token_logprobs(reference, packed)
    kept = torch.tensor([float(a.kept) for a in flat], device=order.device)[order]
    none = torch.empty(0, device=order.device)
    old, values = sampled.to(reference_N), none
    if isinstance(policy, ActorCritic):
        trained, values = policy(packed)
        old = old if exact else trained
    elif not exact:
        old = token_logprobs(policy, packed)
    importance = torch.ones_like(old) if exact else truncated_importance(old, sampled, objective.importance_cap)
    paid = torch.tensor([a.credit for a in flat], device=order.device)
    penalties_N = -kl_in_reward * (old - reference_N)
    if isinstance(policy, ActorCritic):
        estimated, returns = _by_token(order, paid, penalties_N, values, objective.gamma, objective.gae_lambda)
        return Experience(packed, old, reference_N, estimated, kept, importance, values, returns, {})
    spread = advantages.flatten().to(reference_N)[order]
    if kl_in_reward:
        # What a token costs and what follows it costs; the group's baseline is of the rewards alone.
        spread = spread + _by_token(order, torch.zeros_like(paid), penalties_N, torch.zeros_like(old), 1.0, 1.0)[0]
    return Experience(packed, old, reference_N, spread, kept, importance, none, none, {})


def _tree(prompt: Sequence[int], answers: Sequence[Completion]) -> Tree:
    """What was observed between turns is read and no target."""
    scored = [a.sampled or [True] * len(a.ids) for a in answers]
    return Tree(prompt, [a.ids for a in answers], scored if any(a.sampled for a in answers) else None)


def _by_token(
    order: Tensor, rewards_A: Tensor, penalties_N: Tensor, values_N: Tensor, gamma: float, decay: float
) -> tuple[Tensor, Tensor]:
    """Advantages and returns of each token, [N]: the reward is paid with an answer's last token."""
    count = len(rewards_A)
    lengths = torch.bincount(order, minlength=count)
    longest = int(lengths.max())
    scored_AT = torch.arange(longest, device=order.device) < lengths[:, None]
    # Tokens of one answer stand in their order in `order`, so a stable sort lines the answers up.
    rows = torch.argsort(order, stable=True)

    def lined(values: Tensor) -> Tensor:
        out = torch.zeros(count, longest, device=order.device, dtype=values.dtype)
        out[scored_AT] = values[rows]
        return out

    rewards_AT = lined(penalties_N)
    rewards_AT[torch.arange(count, device=order.device), lengths - 1] += rewards_A
    pair = generalised_advantages(rewards_AT, lined(values_N), scored_AT, gamma, decay)
    advantages, returns = torch.empty_like(values_N), torch.empty_like(values_N)
    advantages[rows], returns[rows] = pair[0][scored_AT], pair[1][scored_AT]
    return advantages, returns


def whiten(batches: Sequence[Experience]) -> None:
    """Give the advantages of a round mean 0 and deviation 1 over the counted tokens of all processes, in place."""
    values = torch.cat([b.advantages[b.kept > 0] for b in batches]).double()
    count, total, squares = ranks.totals(len(values), float(values.sum()), float(values.square().sum()))
    mean = total / max(count, 1.0)
    deviation = max(0.0, squares / max(count, 1.0) - mean**2) ** 0.5
    for batch in batches:
        batch.advantages = (batch.advantages - mean) / (deviation + TINY)
