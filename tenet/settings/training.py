"""Settings of steps 3 to 5: check, pretrain, fine-tune, reward model, policy optimisation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lightning_modules.config import (
    ComputeConfig,
    GuardLimits,
    LoraConfig,
    OptimConfig,
    ParallelConfig,
    PolicyObjective,
    PreferenceObjective,
)
from tenet.settings.checks import Count, at_least, share, some_rows
from tenet.settings.phases import PhaseConfig, check_phases
from tenet.settings.rewards import EnvironmentConfig, RewardPart, check_parts, usual_parts
from tenet.settings.validation import ValidationConfig, check_lora


@dataclass(frozen=True)
class ModelCheckConfig:
    """Step 3: the training code checks itself on this machine.

    Args:
        tolerance: largest difference of logits from transformers, fp32.
        steps: optimiser steps in which one batch must be overfit.
    """

    tolerance: float = 1e-4
    steps: int = 20
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
        at_least("check", self, 1, "steps")
        if not self.tolerance > 0:
            raise ValueError(f"check.tolerance is {self.tolerance}; it must be above 0, e.g. 1e-4")


@dataclass(frozen=True)
class PretrainConfig:
    """Step 4: next token.

    Args:
        start_from: "" starts from random weights; "smollm2" or a Hugging Face folder starts from those.
        tokens: training tokens in all.
        max_epochs: most passes over the corpus, or all that `tokens` asks for: a small corpus ends the stage sooner.
            Text that is read more than about four times teaches little that is new (arXiv:2305.16264), and a small
            model learns it by heart.
        phases: a curriculum: parts of the steps, each with its own mix of sources; empty reads the corpus as it is
            mixed throughout.
        context: tokens of one row.
        batch_tokens: tokens of one optimiser step over all devices.
        micro_batch: rows of one forward on one device.
        validate_every, sample_every, checkpoint_every: in optimiser steps.
        heldout_rows: rows of the held-out text that are scored at the end, evenly spread, or all.
        document_mask: attention does not cross document borders and positions restart there.
        z_loss: weight of the squared log-partition term (PaLM, arXiv:2204.02311), keeps logits from drifting.
    """

    start_from: str = field(default="", metadata={"path": True})
    tokens: float = 1e6
    max_epochs: Count = "all"
    phases: tuple[PhaseConfig, ...] = ()
    context: int = 256
    batch_tokens: int = 4096
    micro_batch: int = 16
    validate_every: int = 200
    sample_every: int = 400
    checkpoint_every: int = 100
    heldout_rows: Count = "all"
    document_mask: bool = True
    z_loss: float = 0.0
    optim: OptimConfig = field(default_factory=OptimConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)

    def __post_init__(self) -> None:
        at_least("pretrain", self, 0, "tokens", "z_loss")
        at_least("pretrain", self, 1, "batch_tokens", "micro_batch", "validate_every", "sample_every", "checkpoint_every")
        at_least("pretrain", self, 2, "context")
        some_rows("pretrain", self, "heldout_rows")
        if self.max_epochs != "all":
            at_least("pretrain", self, 1, "max_epochs")
        if self.batch_tokens % self.context:
            raise ValueError(f"pretrain.batch_tokens is {self.batch_tokens}; it must be a multiple of context ({self.context})")
        check_phases(self.phases, self.steps)

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return max(0, round(self.tokens / self.batch_tokens))


@dataclass(frozen=True)
class FinetuneConfig:
    """Step 5a: supervised fine-tuning, loss on assistant tokens only.

    Args:
        start_from: a stage of the run or a Hugging Face folder; "" is the nearest stage before it that makes a model.
        data: "domain" (the subject's own conversations), a file of conversations, or a Hugging Face data set by name.
        steps: optimiser steps.
        batch_tokens: most tokens of one step (rows are packed end to end).
        context: longest conversation in tokens; longer ones are left out and counted.
        most_refused: share of the records that may make no row (each is counted by line); more is an error.
        eval_rows: held-out conversations for the loss and the exact matches.
        validation: a loss during training, the best weights, an early stop; see `ValidationConfig`.
        lora: adapters in the place of full training; see `LoraConfig`.
    """

    start_from: str = ""
    data: str = field(default="domain", metadata={"path": True})
    most_refused: float = 0.05
    replay: float = 0.0
    steps: int = 300
    batch_tokens: int = 4096
    context: int = 384
    eval_rows: Count = 200
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    checkpoint_every: int = 100
    lora: LoraConfig = field(default_factory=LoraConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
        check_lora("finetune", self.lora, self.optim)
        at_least("finetune", self, 0, "steps")
        at_least("finetune", self, 1, "checkpoint_every")
        at_least("finetune", self, 8, "context")
        share("finetune", self, "most_refused", "replay")
        if self.replay > 0.9:
            raise ValueError(f"finetune.replay is {self.replay}; at most 0.9 of the tokens can be plain text")
        some_rows("finetune", self, "eval_rows")
        if self.batch_tokens < self.context:
            raise ValueError(
                f"finetune.batch_tokens is {self.batch_tokens}, less than one conversation of context ({self.context}); enlarge it"
            )


@dataclass(frozen=True)
class RewardConfig:
    """Step 5b: reward model from preference pairs (Bradley-Terry).

    Args:
        start_from: a stage of the run or a Hugging Face folder; "" is the nearest stage before it that makes a model.
        data: "domain" (the subject's own preferences), a file of preferences, a Hugging Face data set by name, or
            "hh-rlhf" (hub or local file).
        most_refused: share of the records that may make no pair (each is counted by line); more is an error.
        train_rows: training pairs at most, drawn by the seed. eval_rows: held-out pairs.
        mode: train (the decoder learns, too) | frozen (its features are computed once and kept in the run's folder
            `features`; a linear head is fitted on them, one process, minutes on a CPU).
        layers: for `frozen`: blocks after which features are read; the best is chosen inside the training pairs. () is
            0.4, 0.5 and 0.6 of the depth.
        pool: the score reads the last token, the mean over the answer, or both.
        margin: score gap asked for, times a row's own `margin`; center: weight of the squared sum of the two scores,
            keeps scores near 0.
        negatives: share of the training pairs beside which the chosen answer is also held against garbage (talk about
            the answer, repetition, off topic, cut off), which no human pair speaks against.
        freeze: for `train`: the head alone learns.
    """

    start_from: str = ""
    data: str = field(default="domain", metadata={"path": True})
    most_refused: float = 0.05
    train_rows: Count = "all"
    eval_rows: Count = 400
    mode: Literal["train", "frozen"] = "train"
    steps: int = 200
    batch_pairs: int = 32
    context: int = 256
    layers: tuple[int, ...] = ()
    pool: Literal["last", "mean", "both"] = "last"
    margin: float = 0.0
    center: float = 0.01
    negatives: float = 0.25
    freeze: bool = False
    checkpoint_every: int = 100
    optim: OptimConfig = field(default_factory=OptimConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
        at_least("reward", self, 0, "steps", "margin", "center")
        at_least("reward", self, 1, "batch_pairs", "checkpoint_every")
        at_least("reward", self, 8, "context")
        share("reward", self, "most_refused", "negatives")
        some_rows("reward", self, "train_rows", "eval_rows")
        if any(layer < 1 for layer in self.layers):
            raise ValueError(f"reward.layers is {list(self.layers)}; layers are counted from 1")
        if self.mode == "train" and self.layers:
            raise ValueError(
                f"reward.layers is {list(self.layers)} and reward.mode train, which reads the last layer; set reward.mode frozen"
            )
        if self.mode == "frozen" and self.freeze:
            raise ValueError("reward.freeze is for reward.mode train; frozen has no decoder that could learn")


@dataclass(frozen=True)
class DpoConfig:
    """Step 5: preference optimisation, in a pipeline that names it (SFT > DPO > evaluate).

    Args:
        start_from: a stage of the run or a Hugging Face folder; "" is the nearest stage before it that makes a model.
        data: "domain" (the subject's own preferences), a file of preferences, or a Hugging Face data set by name; KTO
            also takes a file of ratings (single answers with thumbs up or down).
        most_refused: share of the records that may make no row (each is counted by line); more is an error.
        objective: which loss, and how strongly it pulls; see `PreferenceObjective`.
        batch_pairs: pairs (KTO: ratings) of one step. context: longest pair in tokens, prompt and both answers; longer
            ones are left out and counted.
        eval_rows: held-out pairs or ratings.
        validation: a loss during training, the best weights, an early stop; see `ValidationConfig`.
        lora: adapters in the place of full training; see `LoraConfig`.
    """

    start_from: str = ""
    data: str = field(default="domain", metadata={"path": True})
    most_refused: float = 0.05
    objective: PreferenceObjective = field(default_factory=PreferenceObjective)
    steps: int = 100
    batch_pairs: int = 16
    context: int = 512
    eval_rows: Count = 400
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    checkpoint_every: int = 50
    lora: LoraConfig = field(default_factory=LoraConfig)
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=3e-4))
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
        check_lora("dpo", self.lora, self.optim)
        at_least("dpo", self, 0, "steps")
        at_least("dpo", self, 1, "batch_pairs", "checkpoint_every")
        at_least("dpo", self, 8, "context")
        share("dpo", self, "most_refused")
        some_rows("dpo", self, "eval_rows")


@dataclass(frozen=True)
class RlhfConfig:
    """Step 5c: policy optimisation.

    Args:
        start_from: a stage of the run or a Hugging Face folder; "" is the nearest stage before it that makes a model.
        data: "domain" (the subject's own prompts), or a file of prompts, each with its verifier.
        algorithm: what an answer's reward is compared with: grpo (the mean of its group), rloo (the mean of the others),
            ppo (a value head, advantages by GAE).
        objective: which policy gradient; see `PolicyObjective`.
        most_refused: share of the records that may make no prompt (each is counted by line); more is an error.
        rewards: what an answer is paid for, part by part; empty: the prompts' verifiers and, where the run has a reward
            stage, its model for a quarter of that on prompts that name none.
        environment: conversations of several turns with somebody who answers; see `EnvironmentConfig`.
        steps: rollout rounds; prompts, group: prompts a round and answers a prompt; epochs, minibatches: passes over
            each round and steps of one pass.
        no_signal: groups whose answers all got the same reward: keep | drop | refill (ask other prompts in their place,
            at most `refills` times a round).
        max_tokens: longest answer.
        overlong: answers that are cut there: keep | mask (not learnt from) | penalise (the reward falls by up to 1 over
            the last `overlong_buffer` tokens).
        rollout_precision: weights of the sampler: same | bf16 (corrected for by truncated importance weights).
        keep_rollouts: write every answer with its reward and the hash of the weights that made it.
        kl: weight of the KL penalty to the input model; kl_in: loss (k3 estimator) | reward (each token's, as PPO has
            it); kl_target: nats per token that the weight is adapted to, 0 leaves it.
        guards: when training halts and hands on the last good weights.
        lora: adapters in the place of full training; the reference is then the policy without them. See `LoraConfig`.
    """

    start_from: str = ""
    data: str = field(default="domain", metadata={"path": True})
    most_refused: float = 0.05
    rewards: tuple[RewardPart, ...] = ()
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    algorithm: Literal["grpo", "rloo", "ppo"] = "grpo"
    objective: PolicyObjective = field(default_factory=PolicyObjective)
    steps: int = 40
    prompts: int = 16
    group: int = 8
    epochs: int = 1
    minibatches: int = 2
    no_signal: Literal["keep", "drop", "refill"] = "keep"
    refills: int = 3
    max_tokens: int = 64
    overlong: Literal["keep", "mask", "penalise"] = "keep"
    overlong_buffer: int = 0
    rollout_precision: Literal["same", "bf16"] = "same"
    keep_rollouts: bool = False
    temperature: float = 1.0
    kl: float = 0.02
    kl_in: Literal["loss", "reward"] = "loss"
    kl_target: float = 0.0
    guards: GuardLimits = field(default_factory=GuardLimits)
    gold_every: int = 1
    gold_rows: Count = 256
    eval_rows: Count = 200
    checkpoint_every: int = 10
    lora: LoraConfig = field(default_factory=LoraConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
        check_lora("rlhf", self.lora, self.optim)
        at_least("rlhf", self, 0, "steps", "kl", "kl_target", "refills", "overlong_buffer")
        at_least("rlhf", self, 1, "prompts", "group", "epochs", "minibatches", "max_tokens", "checkpoint_every", "gold_every")
        share("rlhf", self, "most_refused")
        some_rows("rlhf", self, "eval_rows", "gold_rows")
        if self.group < 2 and self.algorithm != "ppo":
            raise ValueError(f"rlhf.group is {self.group}; a group baseline needs at least 2 answers to a prompt")
        if self.prompts % self.minibatches:
            raise ValueError(
                f"rlhf.prompts is {self.prompts}, which {self.minibatches} minibatches do not divide; change rlhf.minibatches"
            )
        if self.temperature != 1:
            raise ValueError(
                f"rlhf.temperature is {self.temperature}; rollouts are sampled at 1, anything else biases the policy gradient"
            )
        self._check_rewards()
        if self.overlong == "penalise" and not 0 < self.overlong_buffer <= self.max_tokens:
            raise ValueError(
                f"rlhf.overlong_buffer is {self.overlong_buffer}; with rlhf.overlong penalise it says over how many of the last "
                f"tokens the reward falls, 1 to rlhf.max_tokens ({self.max_tokens})"
            )
        if self.kl_target and not self.kl:
            raise ValueError(
                f"rlhf.kl_target is {self.kl_target} and rlhf.kl 0: there is no weight to adapt; set rlhf.kl, e.g. 0.02"
            )

    def parts(self, reward_stage: bool = True) -> tuple[RewardPart, ...]:
        """Parts of the reward: those that are named, or the usual ones of a run with or without a reward stage."""
        return self.rewards or usual_parts(self.environment, reward_stage)

    @property
    def judged_by_stage(self) -> bool:
        """Whether the reward stage of the run has a say, where there is one."""
        return any(part.kind == "model" and not part.path for part in self.parts())

    def _check_rewards(self) -> None:
        check_parts(self.rewards)
        if any(part.kind == "environment" for part in self.rewards) and not self.environment.kind:
            raise ValueError(
                "rlhf.rewards has a part of kind environment and rlhf.environment.kind is empty; set it, e.g. calculator"
            )
        if self.environment.kind and self.overlong == "penalise":
            raise ValueError("rlhf.overlong is penalise, which is for single answers; with rlhf.environment set it to mask")
        if self.group < 2 and any(part.normalise != "none" for part in self.rewards):
            raise ValueError(
                f"rlhf.group is {self.group}, and a part of rlhf.rewards is normalised over a group; leave normalise out"
            )
