"""Reinforcement learning is data plus a loss: this loader samples with the engine, scores, computes advantages and
yields minibatches.

The training step stays a pure function of its batch, so Lightning's automatic optimisation, clipping and checkpoints
work as they do everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from lightning_modules.data.packing import Packed, Tree, pack
from lightning_modules.data.steps import rows_of_step
from lightning_modules.distributed import ranks
from lightning_modules.generation.engine import generate
from lightning_modules.generation.protocol import Completion, Sampling
from lightning_modules.model.decoder import Decoder
from lightning_modules.objectives.advantages import group_advantages, zero_variance_share
from lightning_modules.objectives.logprobs import token_logprobs


@dataclass(frozen=True)
class Reward:
    """A value with named parts, so that a rise can be traced to its cause."""

    value: float
    parts: dict[str, float] = field(default_factory=dict)


#: Row numbers of the prompts and their answers, in; one reward for each answer, out.
Scorer = Callable[[Sequence[int], Sequence[Sequence[Completion]]], list[list[Reward]]]


@dataclass
class Experience:
    """One minibatch of rollouts.

    Args:
        packed: trees, answers as completions; N scored tokens.
        old: [N] log-probabilities when sampled.
        reference: [N] under the frozen input model.
        advantages: [N], the answer's, repeated over its tokens.
        metrics: of the whole round, logged with its first minibatch.
    """

    packed: Packed
    old: Tensor
    reference: Tensor
    advantages: Tensor
    metrics: dict[str, float]


class ExperienceLoader:
    """Rounds of rollouts as minibatches.

    Args:
        policy: the model under training; its weights are read at the start of each round.
        reference: the frozen input model.
        prompts: token ids of every training prompt.
        score: rewards.
        seed: order of the prompts and streams of the samples.
        rounds, prompts_per_round, group, epochs, minibatches: sizes; see `RlhfConfig`.
        sampling: temperature 1 without top-k or top-p, or the log-probabilities would not be the sampler's.
    """

    def __init__(
        self,
        policy: Decoder,
        reference: Decoder,
        prompts: Sequence[Sequence[int]],
        score: Scorer,
        *,
        seed: int,
        rounds: int,
        prompts_per_round: int,
        group: int,
        epochs: int,
        minibatches: int,
        sampling: Sampling,
        baseline: Literal["grpo", "rloo"],
    ) -> None:
        if sampling.temperature != 1 or sampling.top_k or sampling.top_p < 1:
            raise ValueError(
                "rollouts are sampled at temperature 1, top_k 0 and top_p 1: anything else biases the policy gradient"
            )
        if prompts_per_round % minibatches:
            raise ValueError(
                f"{prompts_per_round} prompts a round cannot be cut into {minibatches} minibatches; change rlhf.minibatches"
            )
        if group < 2:
            raise ValueError(f"rlhf.group is {group}; a group baseline needs at least 2 answers a prompt")
        self.policy, self.reference, self.prompts, self.score = policy, reference, prompts, score
        self.seed, self.rounds, self.prompts_per_round, self.group = seed, rounds, prompts_per_round, group
        self.epochs, self.minibatches, self.sampling, self.baseline = epochs, minibatches, sampling, baseline
        self.done = 0
        #: Called before each round; a sharded fit brings the policy's weights up to date here.
        self.refresh: Callable[[], None] = lambda: None

    @property
    def per_round(self) -> int:
        """Minibatches of one round."""
        return self.epochs * self.minibatches

    def __len__(self) -> int:
        return self.rounds * self.per_round

    def state_dict(self) -> dict[str, int]:
        """Minibatches given out. Checkpoints lie between rounds, so a round is never resumed in its middle."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after that many minibatches."""
        self.done = state["done"]

    def __iter__(self) -> Iterator[Experience]:
        while self.done < len(self):
            number = self.done // self.per_round
            batches = self._round(number)
            for _ in range(self.epochs):
                for batch in batches:
                    self.done += 1
                    yield batch

    def _pieces(self, size: int) -> list[tuple[int, int, int]]:
        """A minibatch's work as (place of the prompt, first answer, answers): whole groups, or parts of them where
        processes outnumber prompts."""
        parts = next((n for n in range(1, self.group) if self.group % n == 0 and n * size >= ranks.world()), self.group)
        each = self.group // parts
        return [(i, part * each, each) for i in range(size) for part in range(parts)]

    @torch.no_grad()
    def _round(self, number: int) -> list[Experience]:
        """Sample, score and cut a round. Each process takes its share of every minibatch; rewards are exchanged,
        because a baseline is a group's."""
        self.refresh()
        rows = rows_of_step(self.seed, number, self.prompts_per_round, len(self.prompts))
        size = len(rows) // self.minibatches
        shares = [
            [(start + i, first, count) for i, first, count in ranks.own(self._pieces(size))]
            for start in range(0, len(rows), size)
        ]
        mine = [piece for share in shares for piece in share]
        each = mine[0][2]
        # The stream of an answer depends on its place in the round, not on the process that makes it.
        seeds = [((self.seed * 7919 + number) * 100_003 + i) * 1009 + first for i, first, _ in mine]
        answers = generate(self.policy, [self.prompts[rows[i]] for i, _, _ in mine], self.sampling, n=each, seeds=seeds)
        rewards = self.score([rows[i] for i, _, _ in mine], answers)
        lengths = [[(len(a.ids), a.finish == "length") for a in part] for part in answers]
        exchanged = ranks.gather(list(zip(mine, rewards, lengths, strict=True)))
        known = {piece: (values, made) for part in exchanged for piece, values, made in part}
        groups = [[known[i, first, each] for first in range(0, self.group, each)] for i in range(len(rows))]
        all_rewards = [[reward for part, _ in group for reward in part] for group in groups]
        advantages = group_advantages(torch.tensor([[r.value for r in group] for group in all_rewards]), self.baseline)
        metrics = self._metrics(all_rewards, [made for group in groups for _, part in group for made in part])
        batches, at = [], 0
        for share in shares:
            batches.append(
                self._minibatch(
                    [rows[i] for i, _, _ in share],
                    answers[at : at + len(share)],
                    torch.stack([advantages[i, first : first + each] for i, first, _ in share]),
                    metrics if at == 0 else {},
                )
            )
            at += len(share)
        return batches

    def _minibatch(
        self, rows: Sequence[int], answers: Sequence[Sequence[Completion]], advantages: Tensor, metrics: dict[str, float]
    ) -> Experience:
        trees = [Tree(self.prompts[i], [a.ids for a in group]) for i, group in zip(rows, answers, strict=True)]
        packed = pack(trees, max(map(len, trees)))
        # Trees may have been moved between rows; sequence_ids say which answer each token belongs to.
        flat = [a for group in answers for a in group]
        old_by_answer = [torch.tensor(a.logprobs) for a in flat]
        order = packed.sequence_ids
        old = torch.empty(len(order))
        for i, values in enumerate(old_by_answer):
            old[order == i] = values
        packed = packed.to(self.policy.norm.weight.device)
        self.reference.to(packed.ids.device)
        reference = token_logprobs(self.reference, packed)
        return Experience(packed, old.to(reference), reference, advantages.flatten()[order].to(reference), metrics)

    @staticmethod
    def _metrics(rewards: Sequence[Sequence[Reward]], made: Sequence[tuple[int, bool]]) -> dict[str, float]:
        """Of the answers of all processes; `made` is length and whether it was cut."""
        values = torch.tensor([[r.value for r in group] for group in rewards])
        flat = [r for group in rewards for r in group]
        names = sorted({name for r in flat for name in r.parts})
        parts = {f"reward/{name}": sum(r.parts.get(name, 0.0) for r in flat) / len(flat) for name in names}
        return {
            "reward/mean": float(values.mean()),
            "reward/std": float(values.std()),
            **parts,
            "rollout/zero_variance": zero_variance_share(values),
            "rollout/length_p50": sorted(length for length, _ in made)[len(made) // 2],
            "rollout/truncated": sum(cut for _, cut in made) / len(made),
        }
