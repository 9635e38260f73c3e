"""Settings of training that every module shares. Free of torch, so that planning and `--help` are instant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser and schedule.

    Args:
        lr: peak learning rate of AdamW: token table, head, norms; every parameter when `muon_lr` is 0.
        muon_lr: peak learning rate of Muon (orthogonalised momentum) for the matrices of the blocks; 0 turns Muon off.
        weight_decay: decoupled decay, applied to matrices only.
        beta1, beta2: moments of AdamW.
        warmup: share of the steps in which the rate rises linearly from 0.
        decay: share of the steps at the end in which it falls linearly to 0 (warm-up-stable-decay).
        clip: largest gradient norm; 0 does not clip.
    """

    lr: float = 1e-3
    muon_lr: float = 0.0
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.95
    warmup: float = 0.05
    decay: float = 0.4
    clip: float = 1.0

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"optim.lr is {self.lr}; it must be above 0")
        if not 0 <= self.warmup + self.decay <= 1:
            raise ValueError(f"optim.warmup + optim.decay is {self.warmup + self.decay}; it must lie between 0 and 1")


#: Matrices of a block that an adapter may lie on, by their names in exchange formats.
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters (LoRA, arXiv:2106.09685) in the place of full training: AdamW trains them at `optim.lr`, which is
    usually ten times that of full training; every other weight is frozen.

    Args:
        rank: of the two thin matrices of an adapter; 0 trains the whole model.
        alpha: an adapter's product counts alpha / rank times, so that another rank keeps the rate.
        targets: matrices that get one: q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj.
    """

    rank: int = 0
    alpha: float = 16.0
    targets: tuple[str, ...] = PROJECTIONS

    def __post_init__(self) -> None:
        if self.rank < 0:
            raise ValueError(f"lora.rank is {self.rank}; it must be 0 (train the whole model) or more, usually 8 to 64")
        if not 0 < self.alpha <= 1e6:
            raise ValueError(f"lora.alpha is {self.alpha}; it must be above 0, usually once or twice lora.rank")
        if unknown := [name for name in self.targets if name not in PROJECTIONS]:
            raise ValueError(f"lora.targets names {unknown[0]!r}; there are {', '.join(PROJECTIONS)}")
        if len(set(self.targets)) < max(1, len(self.targets)):
            raise ValueError(f"lora.targets is {', '.join(self.targets) or 'empty'}; name each matrix once, at least one")

    @property
    def cost(self) -> float:
        """FLOPs of a training step over those of full training: frozen matrices get no gradients, a third of the work;
        the adapters' own are left out, rank over width of it."""
        return 2 / 3 if self.rank else 1.0


@dataclass(frozen=True)
class ComputeConfig:
    """Where and how precisely to compute.

    Args:
        accelerator: Lightning's name of the device kind.
        devices: devices of one machine, as `tenet plan` counts them; one process is started for each (torchrun).
        nodes: machines; like `devices` it is where, not what: a run goes on with another number of processes.
        precision: "32-true" or "bf16-mixed".
        threads: CPU threads of one process; a result is repeatable only with the same number. 0 keeps torch's own
            choice.
        compile: torch.compile the blocks for the time of a fit; pays on GPUs, costs a minute at the start.
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int | Literal["auto"] = 1
    nodes: int = 1
    precision: Literal["32-true", "bf16-mixed", "bf16-true"] = "32-true"
    threads: int = 0
    compile: bool = False


@dataclass(frozen=True)
class ParallelConfig:
    """How the model is cut over devices. The product of the four numbers is the number of processes. Training builds
    `shard` and `replicate`; `tensor` and `context` are planned with, and refused at the start of training
    (docs/scale.md).

    Args:
        shard: ranks over which weights, gradients and optimiser state are sharded (FSDP2).
        tensor: ranks that split each matrix.
        context: ranks that split each sequence.
        replicate: copies of the sharded model (DDP, HSDP); 1 is as many as there are processes for.
        recompute: what the backward pass computes again: "none", "selective" (all but matrix products and attention) or
            "full" (whole blocks).
    """

    shard: int = 1
    tensor: int = 1
    context: int = 1
    replicate: int = 1
    recompute: Literal["none", "selective", "full"] = "none"

    def __post_init__(self) -> None:
        for name in ("shard", "tensor", "context", "replicate"):
            if getattr(self, name) < 1:
                raise ValueError(f"parallel.{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def world(self) -> int:
        """Devices that the plan needs."""
        return self.shard * self.tensor * self.context * self.replicate


@dataclass(frozen=True)
class PolicyObjective:
    """Which policy gradient. The defaults are GRPO without its length and difficulty biases; docs/researcher.md has the
    settings of Dr. GRPO, DAPO, GSPO, CISPO and PPO.

    Args:
        ratio: the ratio of policy to sampler, of each "token" or of the whole answer ("sequence", GSPO).
        clip: "ppo" takes the worse of ratio and clipped ratio; "cispo" weighs each token's log-probability by the
            clipped ratio.
        clip_low, clip_high: the ratio is held between 1 - clip_low and 1 + clip_high.
        aggregate: what counts alike: each "token", each "answer", or each token of an answer of `max_tokens`
            ("constant", Dr. GRPO).
        scale: advantages divided by nothing ("none"), by the deviation of their "group", or of the "batch".
        importance_cap: largest weight of a token whose sampler computed in another precision.
        value_weight, value_clip: of PPO's value loss; its clip, 0 for none.
        value_rate: learning rate of the value head over that of the other tables.
        gae_lambda, gamma: of the advantage estimate with a value head (arXiv:1506.02438).
    """

    ratio: Literal["token", "sequence"] = "token"
    clip: Literal["ppo", "cispo"] = "ppo"
    clip_low: float = 0.2
    clip_high: float = 0.28
    aggregate: Literal["token", "answer", "constant"] = "token"
    scale: Literal["none", "group", "batch"] = "none"
    importance_cap: float = 2.0
    value_weight: float = 0.5
    value_clip: float = 0.2
    value_rate: float = 10.0
    gae_lambda: float = 0.95
    gamma: float = 1.0

    def __post_init__(self) -> None:
        for name in ("clip_low", "gae_lambda", "gamma"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"rlhf.objective.{name} is {getattr(self, name)}; it must lie between 0 and 1")
        for name in ("clip_high", "value_weight", "value_clip"):
            if not 0 <= getattr(self, name) <= 1e6:
                raise ValueError(f"rlhf.objective.{name} is {getattr(self, name)}; it must be 0 or more")
        for name in ("importance_cap", "value_rate"):
            if not 0 < getattr(self, name) <= 1e6:
                raise ValueError(f"rlhf.objective.{name} is {getattr(self, name)}; it must be above 0")


@dataclass(frozen=True)
class GuardLimits:
    """When policy optimisation halts and hands on the last weights that nothing spoke against; 0 switches one off.

    Args:
        kl: nats per token from the input model; halts at once.
        ratio: distance of the mean ratio of trainer to sampler from 1, on fresh answers: they compute differently.
        entropy: share of the first round's entropy that must be left.
        length: times the first round's 95th percentile of lengths.
        truncated: share of the answers that are cut at the longest length, where the first round's was not above it.
        no_signal: share of the groups whose answers all got the same reward.
        gold: standard errors by which the gold measure may lie below its best while what is paid lies above what it was
            then; looked at where a part of the rewards is gold.
        patience: rounds in a row that a sign must stay, all but the divergence.
        gold_patience: looks in a row that gold must stay low; one look resembles the next, so more of them tell little.
    """

    kl: float = 0.5
    ratio: float = 0.05
    entropy: float = 0.02
    length: float = 4.0
    truncated: float = 0.95
    no_signal: float = 0.0
    gold: float = 2.0
    patience: int = 5
    gold_patience: int = 1

    def __post_init__(self) -> None:
        for name in ("kl", "ratio", "entropy", "length", "truncated", "no_signal", "gold"):
            if not 0 <= getattr(self, name) <= 1e6:
                raise ValueError(f"rlhf.guards.{name} is {getattr(self, name)}; it must be 0 (off) or more")
        for name in ("patience", "gold_patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"rlhf.guards.{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True)
class PreferenceObjective:
    """Which preference loss.

    Args:
        loss: dpo; ipo (the gap is drawn to 1 / (2 beta)); simpo (no reference, mean log-probabilities, a gap); kto
            (single answers with thumbs up or down; pairs are taken apart).
        beta: strength of the pull to the input model; small lets the policy move further. SimPO's is a scale, 2 to 10.
        label_smoothing: share of labels that are taken to be wrong (cDPO); of dpo alone.
        gap: SimPO's lead that the chosen answer is asked for.
        sft: weight of the chosen (liked) answers' own cross-entropy: preference losses alone may lower both sides.
        liked_weight, disliked_weight: of KTO, where one kind is much rarer than the other.
    """

    loss: Literal["dpo", "ipo", "simpo", "kto"] = "dpo"
    beta: float = 0.1
    label_smoothing: float = 0.0
    gap: float = 0.5
    sft: float = 0.2
    liked_weight: float = 1.0
    disliked_weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"dpo.objective.beta is {self.beta}; it must be above 0, usually 0.05 to 0.5 (SimPO: 2 to 10)")
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(f"dpo.objective.label_smoothing is {self.label_smoothing}; it must be 0 or more and below 0.5")
        if self.label_smoothing and self.loss != "dpo":
            raise ValueError(f"dpo.objective.label_smoothing is {self.label_smoothing}; {self.loss} has none, set it to 0")
        for name in ("gap", "sft", "liked_weight", "disliked_weight"):
            if not 0 <= getattr(self, name) <= 1e6:
                raise ValueError(f"dpo.objective.{name} is {getattr(self, name)}; it must be 0 or more")
