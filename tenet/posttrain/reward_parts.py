"""Who judges an answer: verifiers, reward models, rules, functions of one's own, the environment.

A verifier cannot be argued with; a reward model can, so its score is squashed to 0..1. A part says of each answer a
value, and what that is made of.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from lightning_modules.data.chat import ChatTokenizer, parse_tool_calls
from lightning_modules.data.packing import Tree, pack
from lightning_modules.generation.protocol import Completion
from lightning_modules.modules.reward import RewardModel
from tenet.errors import ConfigError, StageError
from tenet.rows import Row
from tenet.verifiers import Verifier, load_function, verify


class Judged(NamedTuple):
    """What a part says of one answer.

    Args:
        value: what is weighed. inside: what it is made of, by name.
    """

    value: float
    inside: dict[str, float]


class Scorer(Protocol):
    """One part's judge."""

    #: Why it could not judge, with how often.
    failed: Counter[str]

    def check(self, rows: Sequence[Row]) -> None:
        """Refuse what cannot be judged before anything is sampled.

        Raises:
            ConfigError: names the part and the way out.
        """
        ...

    def __call__(self, rows: Sequence[Row], answers: Sequence[Sequence[Completion]]) -> list[list[Judged]]:
        """Of each answer of each row."""
        ...


class _EachAlone(ABC):
    """Judges one answer at a time."""

    def __init__(self) -> None:
        self.failed: Counter[str] = Counter()

    def check(self, rows: Sequence[Row]) -> None:  # noqa: B027, most have nothing to refuse
        """Nothing to refuse."""

    def __call__(self, rows: Sequence[Row], answers: Sequence[Sequence[Completion]]) -> list[list[Judged]]:
        """Of each answer of each row."""
        return [[self.one(row, answer) for answer in group] for row, group in zip(rows, answers, strict=True)]

    @abstractmethod
    def one(self, row: Row, answer: Completion) -> Judged:
        """Of one answer."""


class ByVerifier(_EachAlone):
    """What the row's own verifier says of the last answer.

    Args:
        verifiers: by kind, those of a domain among them.
    """

    def __init__(self, tokenizer: ChatTokenizer, verifiers: Mapping[str, Verifier]) -> None:
        super().__init__()
        self.tokenizer, self.verifiers = tokenizer, verifiers

    def one(self, row: Row, answer: Completion) -> Judged:
        """Score and parts; what failed is counted and pays nothing."""
        text, calls = parse_tool_calls(self.tokenizer.decode(answer.last))
        verdict = verify(row, text, calls, self.verifiers)
        if verdict.failed:
            self.failed[f"{row['id']}: {verdict.errors[0]}"] += 1
        return Judged(verdict.score, dict(verdict.parts))


class ByRule(_EachAlone):
    """1 where a rule passes, 0 where it does not.

    Args:
        passes: takes the last user's words and the last answer.
    """

    def __init__(self, tokenizer: ChatTokenizer, passes: Callable[[str, str], bool]) -> None:
        super().__init__()
        self.tokenizer, self.passes = tokenizer, passes

    def one(self, row: Row, answer: Completion) -> Judged:
        """By the rule."""
        asked = [turn["content"] for turn in row["prompt"] if turn["role"] == "user"]
        return Judged(float(self.passes(asked[-1] if asked else "", self.tokenizer.decode(answer.last).strip())), {})


class ByEnvironment(_EachAlone):
    """What the conversation earned: its `score`, or the sum of what was paid."""

    def one(self, row: Row, answer: Completion) -> Judged:
        """As it was paid."""
        return _judged(answer.earned)


class ByModel:
    """sigmoid(score) of a reward model, which reads the policy's own token ids: bounded, so that no answer can be worth
    more than a verified one."""

    def __init__(self, tokenizer: ChatTokenizer, model: RewardModel) -> None:
        self.tokenizer, self.model, self.failed = tokenizer, model, Counter[str]()

    def check(self, rows: Sequence[Row]) -> None:
        """Nothing to refuse."""

    @torch.no_grad()
    def __call__(self, rows: Sequence[Row], answers: Sequence[Sequence[Completion]]) -> list[list[Judged]]:
        """All answers in one pass; a conversation of several turns is read whole."""
        trees = [
            Tree(self.tokenizer.prompt(row["prompt"], row.get("tools")), [a.ids for a in group])
            for row, group in zip(rows, answers, strict=True)
        ]
        count = sum(len(tree.answers) for tree in trees)
        scores = iter(self.model(pack(trees, max(map(len, trees))), count).sigmoid().tolist())
        return [[Judged(next(scores), {}) for _ in group] for group in answers]


class ByFunction(_EachAlone):
    """A function of one's own: (messages of the prompt, text of the last answer, row) -> a number, or named numbers.

    It runs as the person who started the command does. What is no number ends the stage: paid as 0 it would teach
    something that nobody meant.

    Args:
        label: of the part, for messages.
        call: file.py:function (beside the working directory) or module:function.

    Raises:
        ConfigError: it cannot be imported.
    """

    def __init__(self, tokenizer: ChatTokenizer, label: str, call: str) -> None:
        super().__init__()
        self.tokenizer, self.label, self.call = tokenizer, label, call
        self.function = imported(f"rlhf.rewards {label}: call", call)

    def check(self, rows: Sequence[Row]) -> None:
        """Ask it once, with an empty answer."""
        try:
            if rows:
                self._ask(rows[0], "")
        except StageError as error:
            raise ConfigError(f"{error}, tried with an empty answer; mend the function") from None

    def one(self, row: Row, answer: Completion) -> Judged:
        """What it returns."""
        return self._ask(row, self.tokenizer.decode(answer.last).strip())

    def _ask(self, row: Row, text: str) -> Judged:
        where = f"rlhf.rewards {self.label}: {self.call}"
        try:
            given = self.function(row["prompt"], text, row)
            named = (
                {str(name): float(value) for name, value in given.items()} if isinstance(given, dict) else {"score": float(given)}
            )
        except Exception as error:  # whatever somebody's function does wrong is an error of that function
            raise StageError(f"{where}: {type(error).__name__}: {error} (prompt {row['id']})") from None
        if wrong := [name for name, value in named.items() if not math.isfinite(value)]:
            raise StageError(f"{where} gave {given!r} for prompt {row['id']}: {wrong[0]} is no finite number")
        return _judged(named)


def _judged(named: Mapping[str, float]) -> Judged:
    """`score` is the value, or else the sum is."""
    inside = {name: value for name, value in named.items() if name != "score"}
    return Judged(named["score"] if "score" in named else math.fsum(named.values()), inside)


def imported(where: str, call: str) -> Callable[..., Any]:
    """What `file.py:name` or `module:name` names, a file's path being relative to the working directory.

    Raises:
        ConfigError: it cannot be imported; names the setting and why.
    """
    try:
        return load_function(call, str(Path.cwd()))
    except ValueError as error:
        raise ConfigError(f"{where} is {call!r}: {str(error).removeprefix('python: ')}") from None
