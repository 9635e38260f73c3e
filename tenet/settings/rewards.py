"""What policy optimisation is paid for: a list of parts, and the environment that a conversation of several turns runs
in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

#: Of a part: other values make no name of a metric or of a file's column.
_NAME = "letters, digits, _ and -"


@dataclass(frozen=True)
class RewardPart:
    """One part of the reward; an answer is paid the sum of weight x value over the parts that judge it.

    Args:
        kind: verifier (what the prompt's own verifier says, 0 to 1) | model (sigmoid of a reward model's score) |
            principle (1 where a rule of a constitution is kept, else 0) | python (a function of yours) | environment
            (what `rlhf.environment` pays).
        weight: 0 measures and does not pay.
        name: in metrics, tables and reports; "" is the principle's, the function's or the kind's.
        prompts: which it judges: all | verified (those that name a verifier) | unverified.
        normalise: none | group (each group's values get mean 0 and deviation 1) | round (mean 0 in each group, one
            deviation for the whole round). Training alone; what is measured and logged is not normalised.
        gold: measured to tell whether the other parts still mean what they should (`rlhf.guards.gold`); its weight is 0.
        path: model: a reward model's folder; "" is that of the run's own reward stage.
        principle: its id in the constitution. constitution: a YAML file; "domain" is the subject's own.
        check: principle: a rule that stands here instead, e.g. {max_sentences: 3}.
        call: python: file.py:function or module:function; it is given the prompt's messages, the answer's text and the
            row, and returns a number or a dict of named numbers (`score`, or else their sum, is the value).
    """

    kind: Literal["verifier", "model", "principle", "python", "environment"]
    weight: float = 1.0
    name: str = ""
    prompts: Literal["all", "verified", "unverified"] = "all"
    normalise: Literal["none", "group", "round"] = "none"
    gold: bool = False
    path: str = field(default="", metadata={"path": True})
    principle: str = ""
    constitution: str = field(default="domain", metadata={"path": True})
    check: dict[str, Any] = field(default_factory=dict)
    call: str = field(default="", metadata={"path": "call"})

    def __post_init__(self) -> None:
        where = f"rlhf.rewards {self.label}"
        if not 0 <= self.weight <= 1e6:
            raise ValueError(f"{where}: weight is {self.weight}; a weight is 0 or more")
        if not self.label.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"{where}: name is {self.name!r}; use {_NAME}")
        if self.gold and self.weight:
            raise ValueError(
                f"{where}: gold is true and weight {self.weight:g}; what is learnt from cannot be gold: set weight 0"
            )
        for kind, keys in _KEYS.items():
            for key in keys:
                if kind != self.kind and getattr(self, key) not in ("", {}):
                    raise ValueError(f"{where}: {key} is {getattr(self, key)!r}, which a part of kind {kind} has; take it out")
        if self.kind == "python" and ":" not in self.call:
            raise ValueError(f"{where}: call is {self.call!r}; write file.py:function or module:function")
        if self.kind == "principle" and (bool(self.principle) == bool(self.check) or (self.check and not self.name)):
            raise ValueError(f"{where}: give `principle` (its id in the constitution), or a rule as `check` with a `name`")

    @property
    def label(self) -> str:
        """Its name, or what it is called where it has none."""
        return self.name or self.principle or self.call.rpartition(":")[2] or self.kind


_KEYS = {"model": ("path",), "principle": ("principle", "check"), "python": ("call",)}
#: Where a run has a reward stage. A reward model can be argued with, so it counts for less than a verifier, and only
#: where there is none.
USUAL = (RewardPart("verifier"), RewardPart("model", 0.25, prompts="unverified"))


def check_parts(parts: Sequence[RewardPart]) -> None:
    """Refuse parts that cannot be told apart, that pay nothing, or with two measures of what is right.

    Raises:
        ValueError: names the part and the way out.
    """
    names = [part.label for part in parts]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"rlhf.rewards: two parts are called {twice[0]!r}; give each a `name`")
    if parts and not any(part.weight for part in parts):
        raise ValueError("rlhf.rewards: every weight is 0, so nothing is paid; set the weight of a part above 0")
    if sum(part.gold for part in parts) > 1:
        raise ValueError(
            f"rlhf.rewards: {', '.join(p.label for p in parts if p.gold)} are all gold; one part can be (others: weight 0)"
        )


@dataclass(frozen=True)
class EnvironmentConfig:
    """Conversations of several turns: who answers the model, and pays it.

    Args:
        kind: "" (one answer is all there is) | calculator (a tool that computes; the row's `answer` is right) | domain
            (that of the subject, `ENVIRONMENT` in its rows.py) | python (yours).
        call: python: file.py:name or module:name of what makes an environment when it is called.
        max_turns: most answers of one conversation.
        max_tokens: most tokens of one conversation, prompt and observations included; 0 is the model's context.
    """

    kind: Literal["", "calculator", "domain", "python"] = ""
    call: str = field(default="", metadata={"path": "call"})
    max_turns: int = 4
    max_tokens: int = 0

    def __post_init__(self) -> None:
        if self.max_turns < 1:
            raise ValueError(f"rlhf.environment.max_turns is {self.max_turns}; it must be at least 1")
        if self.max_tokens < 0:
            raise ValueError(f"rlhf.environment.max_tokens is {self.max_tokens}; it must be 0 (the model's context) or more")
        if (self.kind == "python") != (":" in self.call):
            raise ValueError(
                f"rlhf.environment.call is {self.call!r} and kind {self.kind!r}; kind python takes file.py:name or module:name, "
                "the other kinds no call"
            )


def usual_parts(environment: EnvironmentConfig, reward_stage: bool) -> tuple[RewardPart, ...]:
    """What a list that is empty stands for."""
    if environment.kind:
        return (RewardPart("environment"),)
    return USUAL if reward_stage else USUAL[:1]
