"""Settings of steps 6 and 7."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightning_modules.config import ComputeConfig, OptimConfig


@dataclass(frozen=True)
class ConstitutionalConfig:
    """Step 6.

    Args:
        start_from: a stage of the run or a Hugging Face folder; "" is the nearest stage before it that makes a model.
        constitution: YAML of principles; "domain" is the subject's own.
        judge: "checks" (each principle's programmatic check), "self" (the model under training) or the URL of a Bedrock endpoint,
            which answers for judge_model.
        samples: answers drawn for each prompt; revisions: most tries for a revision that passes.
        prompts: training prompts for each principle.
        steps: optimiser steps of the supervised part; preference_steps: of the AI-feedback part (DPO).
    """

    start_from: str = ""
    constitution: str = field(default="domain", metadata={"path": True})
    judge: str = "checks"
    judge_model: str = "tenet.assistant-v1:0"
    samples: int = 1
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


@dataclass(frozen=True)
class RedteamConfig:
    """Step 7.

    Args:
        start_from: a stage of the run or a Hugging Face folder; "" is the nearest stage before it that makes a model.
        goals: YAML of goals and benign look-alikes, "domain" is the subject's own; most_goals: of each split, harmful and harmless, that are attacked, 0 takes all.
        rounds: times to attack, fix and attack again.
        variants: further wordings of each train goal that the fix learns from; documented: pairs of goals from the documentation beside them.
        steps: optimiser steps of one fix.
        max_over_refusal, max_attack_rise: largest rise of the share of harmless look-alikes declined, and of attacks that succeed, at which
            a fix that mends the other direction is promoted; max_principles_rise: of the constitution's held-out prompts answered wrongly.
    """

    start_from: str = ""
    goals: str = field(default="domain", metadata={"path": True})
    most_goals: int = 0
    rounds: int = 1
    variants: int = 3
    documented: int = 300
    steps: int = 150
    max_tokens: int = 48
    max_over_refusal: float = 0.05
    max_attack_rise: float = 0.05
    max_principles_rise: float = 0.05
    batch_tokens: int = 4096
    checkpoint_every: int = 50
    optim: OptimConfig = field(default_factory=OptimConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
