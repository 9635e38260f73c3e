"""Reinforcement learning is data plus a loss: this loader samples with the engine, scores, computes advantages and
yields minibatches.

The training step stays a pure function of its batch, so Lightning's automatic optimisation, clipping and checkpoints
work as they do everywhere.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean as mean
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_modules.config import PolicyObjective
from lightning_modules.data.steps import rows_of_step
from lightning_modules.distributed import ranks
from lightning_modules.generation.engine import generate
from lightning_modules.generation.episodes import Episode, play
from lightning_modules.generation.experience import Answer, Experience, Probe, Reward, minibatch, whiten
from lightning_modules.generation.protocol import Completion, Sampling
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.lora import merged
from lightning_modules.model.tensors import weights_hash
from lightning_modules.objectives.advantages import group_advantages, has_signal, overlong_penalty, zero_variance_share
from lightning_modules.objectives.critic import ActorCritic

#: Row numbers of the prompts and their answers, in; one reward for each answer, out.
Scorer = Callable[[Sequence[int], Sequence[Sequence[Completion]]], list[list[Reward]]]
#: The rewards of whole groups, in; a number for each answer, out.
Credit = Callable[[Sequence[Sequence[Reward]]], list[list[float]]]
#: A prompt's number and its answers.
Group = tuple[int, list[Answer]]


def paid_value(groups: Sequence[Sequence[Reward]]) -> list[list[float]]:
    """What was paid is what is learnt from."""
    return [[reward.value for reward in group] for group in groups]


@dataclasses.dataclass(frozen=True)
class RolloutConfig:
    """Sizes of a round, and which answers of it are learnt from.

    Args:
        rounds, prompts, group: rounds in all, prompts a round, answers a prompt.
        epochs, minibatches: passes over each round and steps of one pass.
        no_signal: groups whose answers all got the same reward: "keep" them, "drop" them, or "refill" the round with
            other prompts, up to `refills` times (dynamic sampling, DAPO, arXiv:2503.14476, section 3.2).
        overlong: answers that were cut at the limit: "keep", "mask" (they do not count in the loss) or "penalise"
            (DAPO, equation 13: the reward falls by up to 1 over the last `overlong_buffer` tokens).
        precision: the sampler's weights, "same" as the trainer's or "bf16".
        probe_every: rounds between two probes, where there is something to probe with.
    """

    rounds: int
    prompts: int
    group: int
    epochs: int = 1
    minibatches: int = 1
    no_signal: Literal["keep", "drop", "refill"] = "keep"
    refills: int = 3
    overlong: Literal["keep", "mask", "penalise"] = "keep"
    overlong_buffer: int = 0
    precision: Literal["same", "bf16"] = "same"
    probe_every: int = 1


class ExperienceLoader:
    """Rounds of rollouts as minibatches.

    Args:
        policy: the model under training; its weights are read at the start of each round.
        reference: the frozen input model.
        prompts: token ids of every training prompt.
        score: rewards.
        config: sizes.
        objective: what advantages are made of; see `PolicyObjective`.
        seed: order of the prompts and streams of the samples.
        sampling: temperature 1 without top-k or top-p, or the log-probabilities would not be the sampler's.
        baseline: of a group; a policy with a value head takes that instead.
        kl_in_reward: weight of the divergence that rewards lose, asked at the start of each round.
        credit: what advantages are made of, from the rewards of all groups that were asked together.
        episodes: begins an episode of several turns for a prompt's number; without it an answer is all there is.
        probe: rewards of the policy as it is before a round, on prompts that are not trained on, always the same and
            sampled alike; for the gold guard.
        record: gets each answer of each round as a row, on the first process.
    """

    def __init__(
        self,
        policy: Decoder | ActorCritic,
        reference: Decoder,
        prompts: Sequence[Sequence[int]],
        score: Scorer,
        config: RolloutConfig,
        objective: PolicyObjective | None = None,
        *,
        seed: int,
        sampling: Sampling,
        baseline: Literal["grpo", "rloo"] = "grpo",
        kl_in_reward: Callable[[], float] = lambda: 0.0,
        credit: Credit = paid_value,
        episodes: Callable[[int], Episode] | None = None,
        probe: Callable[[Decoder], list[Reward]] | None = None,
        record: Callable[[int, list[dict[str, Any]]], None] | None = None,
    ) -> None:
        if sampling.temperature != 1 or sampling.top_k or sampling.top_p < 1:
            raise ValueError(
                "rollouts are sampled at temperature 1, top_k 0 and top_p 1: anything else biases the policy gradient"
            )
        if config.prompts % config.minibatches:
            raise ValueError(
                f"{config.prompts} prompts a round cannot be cut into {config.minibatches} minibatches; change rlhf.minibatches"
            )
        if config.group < 2 and not isinstance(policy, ActorCritic):
            raise ValueError(f"rlhf.group is {config.group}; a group baseline needs at least 2 answers a prompt")
        self.policy, self.reference, self.prompts, self.score = policy, reference, prompts, score
        self.config, self.objective = config, objective or PolicyObjective()
        self.seed, self.sampling, self.baseline = seed, sampling, baseline
        self.kl_in_reward, self.record = kl_in_reward, record
        self.credit, self.episodes, self.probe = credit, episodes, probe
        self.done = 0
        #: Called before each round; a sharded fit brings the policy's weights up to date here.
        self.refresh: Callable[[], None] = lambda: None

    @property
    def per_round(self) -> int:
        """Minibatches of one round."""
        return self.config.epochs * self.config.minibatches

    def __len__(self) -> int:
        return self.config.rounds * self.per_round

    def state_dict(self) -> dict[str, int]:
        """Minibatches given out. Checkpoints lie between rounds, so a round is never resumed in its middle."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after that many minibatches."""
        self.done = state["done"]

    def __iter__(self) -> Iterator[Experience]:
        while self.done < len(self):
            batches = self._round(self.done // self.per_round)
            for _ in range(self.config.epochs):
                for batch in batches:
                    self.done += 1
                    yield batch

    def _pieces(self, size: int) -> list[tuple[int, int, int]]:
        """Work on `size` groups as (place of the prompt, first answer, answers): whole groups, or parts of them where
        processes outnumber prompts."""
        group = self.config.group
        parts = next((n for n in range(1, group) if group % n == 0 and n * size >= ranks.world()), group)
        each = group // parts
        return [(i, part * each, each) for i in range(size) for part in range(parts)]

    @torch.no_grad()
    def _round(self, number: int) -> list[Experience]:
        """Sample, score, choose and cut a round. Each process samples a share and trains on a share of every minibatch;
        answers are exchanged, because a baseline is a group's."""
        self.refresh()
        probe = self._probed(number)
        groups, metrics = self._chosen(number)
        rewards = torch.tensor([[a.credit for a in answers] for _, answers in groups])
        advantages = group_advantages(rewards, self.baseline, self.objective.scale)
        cuts = [len(groups) * n // self.config.minibatches for n in range(self.config.minibatches + 1)]
        batches = [self._minibatch(groups[a:b], advantages[a:b]) for a, b in itertools.pairwise(cuts)]
        if isinstance(self.policy, ActorCritic):
            whiten(batches)
        batches[0].metrics, batches[0].probe = {**metrics, **(probe.means() if probe else {})}, probe
        return batches

    def _probed(self, number: int) -> Probe | None:
        probe = self.probe
        if probe is None or number % self.config.probe_every:
            return None
        return ranks.on_first(lambda: Probe.of(probe(self._sampler())))

    def _chosen(self, number: int) -> tuple[list[Group], dict[str, float]]:
        """The groups of a round, as many as it asks prompts, or fewer where those without a signal are dropped."""
        config = self.config
        sampler = self._sampler()
        asked: list[Group] = []
        for attempt in range(1 + (config.refills if config.no_signal == "refill" else 0)):
            asked += self._asked(sampler, number, attempt)
            signal = has_signal(torch.tensor([[a.credit for a in answers] for _, answers in asked]))
            if int(signal.sum()) >= config.prompts:
                break
        if self.record is not None and ranks.is_first():
            self.record(number, self._rows(number, asked))
        metrics = self._metrics(asked)
        if config.no_signal == "keep":
            return asked, metrics
        fit = [group for group, is_so in zip(asked, signal, strict=True) if is_so]
        others = [group for group, is_so in zip(asked, signal, strict=True) if not is_so]
        least = config.prompts if config.no_signal == "refill" else config.minibatches
        groups = (fit + others[: max(0, least - len(fit))])[: config.prompts]
        return groups, {**metrics, "rollout/groups": float(len(groups)), "rollout/asked": float(len(asked))}

    def _sampler(self) -> Decoder:
        decoder = merged(self.policy.decoder if isinstance(self.policy, ActorCritic) else self.policy)
        return copy.deepcopy(decoder).bfloat16() if self.config.precision == "bf16" else decoder

    def _asked(self, sampler: Decoder, number: int, attempt: int) -> list[Group]:
        """Answers to the prompts of one attempt at a round, on every process."""
        rows = rows_of_step(self.seed + 1_000_003 * attempt, number, self.config.prompts, len(self.prompts))
        mine = ranks.own(self._pieces(len(rows)))
        each = mine[0][2]
        # The stream of an answer depends on its place in the round, not on the process that makes it.
        stream = (self.seed * 7919 + number) * 100_003 + attempt * 50_021
        seeds = [(stream + i) * 1009 + first for i, first, _ in mine]
        made = self._made(sampler, [rows[i] for i, _, _ in mine], each, seeds)
        paid = self.score([rows[i] for i, _, _ in mine], made)
        answers = [list(zip(completions, rewards, strict=True)) for completions, rewards in zip(made, paid, strict=True)]
        known = {piece: part for share in ranks.gather(list(zip(mine, answers, strict=True))) for piece, part in share}
        groups = [[a for first in range(0, self.config.group, each) for a in known[i, first, each]] for i in range(len(rows))]
        # What is normalised is normalised over whole groups, which one process alone may not have.
        credits = self.credit([[reward for _, reward in group] for group in groups])
        return [
            (row, [self._answer(*answer, value) for answer, value in zip(group, values, strict=True)])
            for row, group, values in zip(rows, groups, credits, strict=True)
        ]

    def _made(self, sampler: Decoder, rows: Sequence[int], each: int, seeds: Sequence[int]) -> list[list[Completion]]:
        prompts = [self.prompts[row] for row in rows]
        if self.episodes is None:
            return generate(sampler, prompts, self.sampling, n=each, seeds=seeds)
        return play(sampler, prompts, [[self.episodes(row) for _ in range(each)] for row in rows], self.sampling, seeds)

    def _answer(self, completion: Completion, reward: Reward, credit: float) -> Answer:
        if self.config.overlong == "penalise":
            penalty = overlong_penalty(len(completion.ids), self.sampling.max_tokens, self.config.overlong_buffer)
            parts = {**reward.parts, "overlong": penalty}
            reward, credit = Reward(reward.value + penalty, parts, reward.gold), credit + penalty
        return Answer(completion, reward, credit, not (self.config.overlong == "mask" and completion.finish == "length"))

    def _minibatch(self, groups: Sequence[Group], advantages: Tensor) -> Experience:
        share = ranks.own(self._pieces(len(groups)))
        return minibatch(
            [self.prompts[groups[i][0]] for i, _, _ in share],
            [groups[i][1][first : first + each] for i, first, each in share],
            torch.stack([advantages[i, first : first + each] for i, first, each in share]),
            policy=self.policy,
            reference=self.reference,
            objective=self.objective,
            kl_in_reward=self.kl_in_reward(),
            exact=self.config.precision == "same",
        )

    def _rows(self, number: int, asked: Sequence[Group]) -> list[dict[str, Any]]:
        """Answers as rows of a file, with the hash of the weights that made them."""
        made_by = weights_hash(self.policy)
        return [
            {
                "round": number, "weights": made_by, "prompt": row, "ids": a.completion.ids, "logprobs": a.completion.logprobs,
                "finish": a.completion.finish, "reward": a.reward.value, "parts": a.reward.parts, "kept": a.kept,
                **({"turns": a.completion.turns, "sampled": a.completion.sampled} if self.episodes else {}),
            }
            for row, answers in asked for a in answers
        ]  # fmt: skip

    def _metrics(self, groups: Sequence[Group]) -> dict[str, float]:
        """Of the answers of all processes. The entropy is that of the sampled tokens, whose mean it is an unbiased
        estimate of. A part's mean is over the answers that have it."""
        values = torch.tensor([[a.reward.value for a in answers] for _, answers in groups])
        flat = [a for _, answers in groups for a in answers]
        names = sorted({name for a in flat for name in a.reward.parts})
        parts = {f"reward/{name}": mean([a.reward.parts[name] for a in flat if name in a.reward.parts]) for name in names}
        lengths = sorted(len(a.completion.logprobs) for a in flat)
        surprise = [-p for a in flat for p in a.completion.logprobs]
        turns = {"rollout/turns": mean([a.completion.turns for a in flat])} if self.episodes else {}
        credits = torch.tensor([[a.credit for a in answers] for _, answers in groups])
        return {
            "reward/mean": float(values.mean()),
            "reward/std": float(values.std()),
            **parts,
            "rollout/zero_variance": zero_variance_share(credits),
            "rollout/length_p50": lengths[len(lengths) // 2],
            "rollout/length_p95": lengths[min(len(lengths) - 1, len(lengths) * 95 // 100)],
            "rollout/truncated": sum(a.completion.finish == "length" for a in flat) / len(flat),
            "rollout/entropy": sum(surprise) / len(surprise),
            **turns,
        }
