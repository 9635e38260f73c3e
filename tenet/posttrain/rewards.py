"""What policy optimisation is paid for: named, weighted parts, each measured apart, so that a rise can be traced to its
cause.

Which parts there are and how much each weighs is a setting (`rlhf.rewards`). A part may be normalised before it is
weighed, by statistics of the answers that were made together: a part with a wide range would drown the others, and the
advantages are differences within a group anyway. Statistics that run on from round to round are not offered: they would
be a state that moves the target under the policy, and that every checkpoint and every process had to share.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.generation.engine import generate
from lightning_modules.generation.episodes import Episode, play
from lightning_modules.generation.experience import Reward
from lightning_modules.generation.protocol import Completion, Sampling
from lightning_modules.generation.rollouts import paid_value
from lightning_modules.model.decoder import Decoder
from lightning_modules.objectives.advantages import TINY
from tenet.errors import ConfigError
from tenet.posttrain.reward_parts import Scorer
from tenet.rows import Row
from tenet.settings.rewards import RewardPart

#: Of the answers that are measured; one number, so that before and after draw from the same random streams.
MEASURE_SEED = 7
#: Distance between the random streams of two measured prompts.
PROMPT_STRIDE = 1_000_003


class Rewards:
    """Rewards of answers, part by part.

    Args:
        parts: settings of each part, with what judges.
    """

    def __init__(self, parts: Sequence[tuple[RewardPart, Scorer]]) -> None:
        self.parts = tuple(parts)

    def check(self, rows: Sequence[Row], named: bool = True) -> None:
        """Refuse prompts that nobody judges, and parts that judge nothing, before anything is sampled.

        Args:
            named: the parts stand in a setting; the usual ones may judge nothing.

        Raises:
            ConfigError: names how many and the way out.
        """
        paying = [part for part, _ in self.parts if part.weight]
        unjudged = [row["id"] for row in rows if not any(judges(part, row) for part in paying)]
        if unjudged:
            raise ConfigError(
                f"{len(unjudged)} of {len(rows)} prompts name no verifier (the first is {unjudged[0]}), and no other part of "
                "rlhf.rewards judges them; give each a `verifier`, train a reward model, or add a part, e.g. "
                "`--rewards '[{kind: python, call: my_rewards.py:score}]'`"
            )
        for part, scorer in self.parts:
            judged = [row for row in rows if judges(part, row)]
            if named and rows and not judged:
                raise ConfigError(
                    f"rlhf.rewards {part.label}: judges none of the {len(rows)} prompts; take it out, or change its `prompts`"
                )
            scorer.check(judged)

    def __call__(self, rows: Sequence[Row], answers: Sequence[Sequence[Completion]]) -> list[list[Reward]]:
        """One reward for each answer of each row."""
        found = [[Reward(0.0) for _ in group] for group in answers]
        for part, scorer in self.parts:
            judged = [i for i, row in enumerate(rows) if judges(part, row)]
            scores = scorer([rows[i] for i in judged], [answers[i] for i in judged]) if judged else []
            for i, group in zip(judged, scores, strict=True):
                for j, (value, inside) in enumerate(group):
                    old = found[i][j]
                    parts = {**old.parts, part.label: value, **{f"{part.label}.{name}": one for name, one in inside.items()}}
                    found[i][j] = Reward(old.value + part.weight * value, parts, value if part.gold else old.gold)
        return found

    def credit(self, groups: Sequence[Sequence[Reward]]) -> list[list[float]]:
        """What advantages are made of: the weighted parts, those normalised that ask for it. [groups, answers]"""
        if all(part.normalise == "none" for part, _ in self.parts):
            return paid_value(groups)
        totals = [[0.0] * len(group) for group in groups]
        for part, _ in self.parts:
            having = [i for i, group in enumerate(groups) if part.label in group[0].parts]
            values = normalised([[reward.parts[part.label] for reward in groups[i]] for i in having], part.normalise)
            for i, group in zip(having, values, strict=True):
                totals[i] = [total + part.weight * value for total, value in zip(totals[i], group, strict=True)]
        return totals

    @property
    def failed(self) -> Counter[str]:
        """Why verifiers of one's own could not judge, with how often."""
        return sum((scorer.failed for _, scorer in self.parts), Counter())

    @property
    def gold(self) -> RewardPart | None:
        """The part that is measured to watch the others."""
        return next((part for part, _ in self.parts if part.gold), None)

    @property
    def pays_verified(self) -> bool:
        """Whether a verifier pays."""
        return any(part.kind == "verifier" and part.weight for part, _ in self.parts)

    @property
    def judges_unverified(self) -> bool:
        """Whether a reward model has a say on prompts that name no verifier."""
        return any(part.kind == "model" and part.weight and part.prompts != "verified" for part, _ in self.parts)


def normalised(groups: Sequence[Sequence[float]], how: str) -> list[list[float]]:
    """Values of one part. [groups, answers]

    Args:
        how: none; group: mean 0 and deviation 1 in each group, where answers differ at all; round: mean 0 in each
            group, all groups over one deviation, that of an answer from its group's mean.
    """
    if how == "none":
        return [list(group) for group in groups]
    means = [math.fsum(group) / len(group) for group in groups]
    centred = [[value - mean for value in group] for group, mean in zip(groups, means, strict=True)]
    alone = [math.sqrt(math.fsum(x * x for x in group) / max(1, len(group) - 1)) for group in centred]
    free = sum(max(0, len(group) - 1) for group in centred)
    pooled = math.sqrt(math.fsum(x * x for group in centred for x in group) / max(1, free))
    return [
        [x / ((deviation if how == "group" else pooled) + TINY) for x in group]
        for group, deviation in zip(centred, alone, strict=True)
    ]


def judges(part: RewardPart, row: Row) -> bool:
    """Whether a part judges answers to this prompt."""
    if part.kind == "verifier" and "verifier" not in row:
        return False
    return part.prompts == "all" or (part.prompts == "verified") == ("verifier" in row)


def sampled(
    model: Decoder,
    tokenizer: ChatTokenizer,
    rows: Sequence[Row],
    sampling: Sampling,
    episode: Callable[[Row], Episode] | None = None,
) -> list[list[Completion]]:
    """One answer (or conversation) to each row, sampled as in training; from the same random streams each time, so that
    two models are compared pair by pair."""
    prompts = [tokenizer.prompt(row["prompt"], row.get("tools")) for row in rows]
    seeds = [MEASURE_SEED + PROMPT_STRIDE * i for i in range(len(rows))]
    if episode is None:
        return generate(model, prompts, sampling, seeds=seeds)
    return play(model, prompts, [[episode(row)] for row in rows], sampling, seeds)


def measure(
    model: Decoder,
    tokenizer: ChatTokenizer,
    rewards: Rewards,
    rows: Sequence[Row],
    sampling: Sampling,
    episode: Callable[[Row], Episode] | None = None,
) -> list[Row]:
    """Rewards of what is sampled, with the answer as text."""
    answers = sampled(model, tokenizer, rows, sampling, episode)
    found = rewards(rows, answers)
    return [
        {"id": row["id"], "reward": r[0].value, "parts": r[0].parts, "answer": tokenizer.decode(a[0].ids)}
        for row, r, a in zip(rows, found, answers, strict=True)
    ]
