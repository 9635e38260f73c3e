"""What policy optimisation is paid for: the verifier that a prompt names, and a learned reward model where one is
wanted.

A verifier cannot be argued with; a reward model can, so its score is squashed to 0..1 and counts for less. Which weighs
how much is a setting (`rlhf.rewards`); which verifier judges a prompt stands in its row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import torch

from lightning_modules.data.chat import ChatTokenizer, parse_tool_calls
from lightning_modules.data.packing import Tree, pack
from lightning_modules.generation.engine import generate
from lightning_modules.generation.experience import Reward
from lightning_modules.generation.protocol import Completion, Sampling
from lightning_modules.model.decoder import Decoder
from lightning_modules.modules.reward import RewardModel
from tenet.errors import ConfigError
from tenet.rows import Row
from tenet.settings.training import RewardWeights
from tenet.verifiers import VERIFIERS, Verifier, verify

#: Of the answers that are measured; one number, so that before and after draw from the same random streams.
MEASURE_SEED = 7


class Rewards:
    """Rewards of answers; each with its parts, so that a rise can be traced to its cause.

    Args:
        tokenizer: to read answers.
        weights: of verifiers and reward model.
        model: the learned reward, or None.
        verifiers: by kind, those of a domain among them.
    """

    def __init__(
        self,
        tokenizer: ChatTokenizer,
        weights: RewardWeights,
        model: RewardModel | None = None,
        verifiers: Mapping[str, Verifier] = VERIFIERS,
    ) -> None:
        self.tokenizer, self.weights, self.model, self.verifiers = tokenizer, weights, model, verifiers
        #: Why verifiers of one's own could not judge, with how often.
        self.failed: Counter[str] = Counter()

    def check(self, rows: Sequence[Row]) -> None:
        """Refuse prompts that nobody judges, before anything is sampled.

        Raises:
            ConfigError: names how many and the way out.
        """
        unjudged = [row["id"] for row in rows if "verifier" not in row]
        if unjudged and not self._by_model({}):
            raise ConfigError(
                f"{len(unjudged)} of {len(rows)} prompts name no verifier (the first is {unjudged[0]}), and no reward model has a say; give each "
                "a `verifier`, or train a reward model and set rlhf.rewards.reward_model above 0"
            )

    def __call__(self, rows: Sequence[Row], answers: Sequence[Sequence[Completion]]) -> list[list[Reward]]:
        """One reward for each answer of each row."""
        pairs = list(zip(rows, answers, strict=True))
        learned = self._learned([(row, group) for row, group in pairs if self._by_model(row)])
        out = []
        for row, group in pairs:
            scores = next(learned) if self._by_model(row) else [None] * len(group)
            out.append([self._reward(row, answer, score) for answer, score in zip(group, scores, strict=True)])
        return out

    def _by_model(self, row: Row) -> bool:
        return self.model is not None and self.weights.reward_model > 0 and (self.weights.both or "verifier" not in row)

    def _reward(self, row: Row, answer: Completion, learned: float | None) -> Reward:
        value, parts = 0.0, {}
        if "verifier" in row:
            text, calls = parse_tool_calls(self.tokenizer.decode(answer.ids))
            verdict = verify(row, text, calls, self.verifiers)
            value, parts = self.weights.verifier * verdict.score, dict(verdict.parts)
            if verdict.failed:
                self.failed[f"{row['id']}: {verdict.errors[0]}"] += 1
        if learned is not None:
            value, parts = value + self.weights.reward_model * learned, {**parts, "learned": learned}
        return Reward(value, parts)

    def _learned(self, pairs: Sequence[tuple[Row, Sequence[Completion]]]) -> Iterator[list[float]]:
        """sigmoid(score) of each answer: bounded, so that no answer can be worth more than a verified one."""
        if self.model is None or not pairs:
            return
        trees = [Tree(self.tokenizer.prompt(row["prompt"], row.get("tools")), [a.ids for a in group]) for row, group in pairs]
        count = sum(len(tree.answers) for tree in trees)
        with torch.no_grad():
            scores = self.model(pack(trees, max(map(len, trees))), count).sigmoid().tolist()
        at = 0
        for tree in trees:
            yield scores[at : at + len(tree.answers)]
            at += len(tree.answers)


def measure(model: Decoder, rewards: Rewards, rows: Sequence[Row], max_tokens: int, temperature: float) -> list[Row]:
    """Rewards of one sampled answer to each row, at the temperature of training; the same random streams each time."""
    if not rows:
        return []
    tokenizer = rewards.tokenizer
    prompts = [tokenizer.prompt(row["prompt"], row.get("tools")) for row in rows]
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, seed=MEASURE_SEED, stop_ids=tokenizer.stop_ids)
    answers = generate(model, prompts, sampling)
    found = rewards(rows, answers)
    return [
        {"id": row["id"], "reward": r[0].value, "parts": r[0].parts, "answer": tokenizer.decode(a[0].ids)}
        for row, r, a in zip(rows, found, answers, strict=True)
    ]
