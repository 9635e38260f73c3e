"""Settings of steps 6 and 7."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass, field

from lightning_modules.config import ComputeConfig, OptimConfig
from tenet.settings.checks import Count, at_least, share, some_rows


@dataclass(frozen=True)
class ConstitutionalConfig:
    """Step 6.

    Args:
        start_from: a stage of the run or a Hugging Face folder; "" is the nearest stage before it that makes a model.
        constitution: YAML of principles; "domain" is the subject's own.
        judge: "checks" (each principle's programmatic check), "self" (the model as it comes in) or the URL of a Bedrock
            endpoint, which answers for judge_model.
        revisions: most tries for a revision that passes.
        prompts: training prompts for each principle; eval_prompts: held-out ones.
        max_tokens: longest answer.
        steps: optimiser steps of the supervised part; preference_steps: of the AI-feedback part (DPO), beta its pull to
            the input model.
    """

    start_from: str = ""
    constitution: str = field(default="domain", metadata={"path": True})
    judge: str = "checks"
    judge_model: str = "tenet.assistant-v1:0"
    revisions: int = 8
    prompts: int = 120
    eval_prompts: int = 60
    max_tokens: int = 64
    steps: int = 150
    preference_steps: int = 60
    beta: float = 0.1
    batch_tokens: int = 4096
    checkpoint_every: int = 50
    optim: OptimConfig = field(default_factory=OptimConfig)
    preference_optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=3e-4))
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
        url = urllib.parse.urlsplit(self.judge)
        if self.judge not in ("checks", "self") and not (url.scheme in ("http", "https") and url.hostname):
            raise ValueError(
                f"constitutional.judge is {self.judge!r}; use checks, self or the URL of a Bedrock endpoint (http://HOST:PORT)"
            )
        if url.hostname and not self.judge_model:
            raise ValueError("constitutional.judge_model is empty; name the model that answers at constitutional.judge")
        at_least("constitutional", self, 0, "revisions", "steps", "preference_steps")
        at_least("constitutional", self, 1, "prompts", "eval_prompts", "max_tokens", "batch_tokens", "checkpoint_every")
        if not self.beta > 0:
            raise ValueError(f"constitutional.beta is {self.beta}; it must be above 0, usually 0.05 to 0.5")


@dataclass(frozen=True)
class RedteamConfig:
    """Step 7.

    Args:
        start_from: a stage of the run or a Hugging Face folder; "" is the nearest stage before it that makes a model.
        goals: YAML of goals and harmless look-alikes, or a list of rows (JSONL, CSV); "domain" is the subject's own.
        most_goals: of each split, harmful and harmless, that are attacked, or all.
        rounds: times to attack, fix and attack again; 0 only measures.
        variants: further wordings of each train goal that the fix learns from; documented: pairs of goals beside them
            that the subject makes from its documents.
        steps: optimiser steps of one fix.
        max_tokens: longest answer to an attack; answer_tokens: of the model's own answer that a look-alike without one
            is taught.
        max_over_refusal, max_attack_rise: largest rise of the share of harmless look-alikes declined, and of attacks
            that succeed, at which a fix that mends the other direction is promoted; max_principles_rise: of the
            constitution's held-out prompts answered wrongly.
    """

    start_from: str = ""
    goals: str = field(default="domain", metadata={"path": True})
    most_goals: Count = "all"
    rounds: int = 1
    variants: int = 3
    documented: int = 300
    steps: int = 150
    max_tokens: int = 48
    answer_tokens: int = 192
    max_over_refusal: float = 0.05
    max_attack_rise: float = 0.05
    max_principles_rise: float = 0.05
    batch_tokens: int = 4096
    checkpoint_every: int = 50
    optim: OptimConfig = field(default_factory=OptimConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
        at_least("redteam", self, 0, "rounds", "variants", "documented", "steps")
        at_least("redteam", self, 1, "max_tokens", "answer_tokens", "batch_tokens", "checkpoint_every")
        some_rows("redteam", self, "most_goals")
        share("redteam", self, "max_over_refusal", "max_attack_rise", "max_principles_rise")
