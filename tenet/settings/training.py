"""Settings of steps 3 to 5: check, pretrain, fine-tune, reward model, policy optimisation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from lightning_modules.config import (
    ComputeConfig,
    GuardLimits,
    OptimConfig,
    ParallelConfig,
    PolicyObjective,
    PreferenceObjective,
)
from tenet.settings.checks import Count, at_least, share, some_rows
from tenet.settings.phases import PhaseConfig, check_phases


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
    """

    start_from: str = ""
    data: str = field(default="domain", metadata={"path": True})
    most_refused: float = 0.05
    replay: float = 0.0
    steps: int = 300
    batch_tokens: int = 4096
    context: int = 384
    eval_rows: Count = 200
    checkpoint_every: int = 100
    optim: OptimConfig = field(default_factory=OptimConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
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
        pool: the score reads the last token or the mean over the answer.
        margin: score gap asked for; center: weight of the squared sum of the two scores, keeps scores near 0.
    """

    start_from: str = ""
    data: str = field(default="domain", metadata={"path": True})
    most_refused: float = 0.05
    steps: int = 200
    batch_pairs: int = 32
    context: int = 256
    eval_rows: Count = 400
    pool: Literal["last", "mean"] = "last"
    margin: float = 0.0
    center: float = 0.01
    freeze: bool = False
    checkpoint_every: int = 100
    optim: OptimConfig = field(default_factory=OptimConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
        at_least("reward", self, 0, "steps", "margin", "center")
        at_least("reward", self, 1, "batch_pairs", "checkpoint_every")
        at_least("reward", self, 8, "context")
        share("reward", self, "most_refused")
        some_rows("reward", self, "eval_rows")


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
    """

    start_from: str = ""
    data: str = field(default="domain", metadata={"path": True})
    most_refused: float = 0.05
    objective: PreferenceObjective = field(default_factory=PreferenceObjective)
    steps: int = 100
    batch_pairs: int = 16
    context: int = 512
    eval_rows: Count = 400
    checkpoint_every: int = 50
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=3e-4))
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
        at_least("dpo", self, 0, "steps")
        at_least("dpo", self, 1, "batch_pairs", "checkpoint_every")
        at_least("dpo", self, 8, "context")
        share("dpo", self, "most_refused")
        some_rows("dpo", self, "eval_rows")


@dataclass(frozen=True)
class RewardWeights:
    """What an answer is paid for: `verifier` x what the row's verifier says + `reward_model` x the learned reward, both
    from 0 to 1.

    Args:
        verifier: weight of the verifier that a prompt names.
        reward_model: weight of the learned reward; 0 leaves it out. Smaller than the verifier's: what can be argued
            with counts for less.
        both: the reward model judges prompts that name a verifier too, not only the others.
    """

    verifier: float = 1.0
    reward_model: float = 0.25
    both: bool = False

    def __post_init__(self) -> None:
        for name in ("verifier", "reward_model"):
            value = getattr(self, name)
            if not 0 <= value <= 1e6:
                raise ValueError(f"rlhf.rewards.{name} is {value}; a weight is 0 or more")


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
        rewards: what an answer is paid for.
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
    """

    start_from: str = ""
    data: str = field(default="domain", metadata={"path": True})
    most_refused: float = 0.05
    rewards: RewardWeights = field(default_factory=RewardWeights)
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
    eval_rows: Count = 200
    checkpoint_every: int = 10
    optim: OptimConfig = field(default_factory=OptimConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)

    def __post_init__(self) -> None:
        at_least("rlhf", self, 0, "steps", "kl", "kl_target", "refills", "overlong_buffer")
        at_least("rlhf", self, 1, "prompts", "group", "epochs", "minibatches", "max_tokens", "checkpoint_every")
        share("rlhf", self, "most_refused")
        some_rows("rlhf", self, "eval_rows")
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
        if self.overlong == "penalise" and not 0 < self.overlong_buffer <= self.max_tokens:
            raise ValueError(
                f"rlhf.overlong_buffer is {self.overlong_buffer}; with rlhf.overlong penalise it says over how many of the last "
                f"tokens the reward falls, 1 to rlhf.max_tokens ({self.max_tokens})"
            )
        if self.kl_target and not self.kl:
            raise ValueError(
                f"rlhf.kl_target is {self.kl_target} and rlhf.kl 0: there is no weight to adapt; set rlhf.kl, e.g. 0.02"
            )
