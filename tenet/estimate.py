"""How much each stage computes and what it keeps in memory, from a preset alone; `plan` turns that into time and money.

Free of torch. Everything that a preset does not say is a constant with a name here, and `plan` prints it as an assumption.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightning_modules.config import OptimConfig, ParallelConfig
from lightning_modules.model.config import ModelConfig
from tenet.config import Preset

#: Share of training's utilisation that generation reaches: each token reads all weights, so it waits for memory.
GENERATION_SHARE = 0.25
#: Principles of the constitution, attacks of a red-team round, checkpoints compared; answers of a benchmark row, their tokens.
PRINCIPLES, ATTACKS, CHECKPOINTS, CHOICES, CHOICE_TOKENS = 6, 500, 5, 4, 128
#: Rows of an evaluation task where the preset takes all of them.
ALL_ROWS = 2_000
#: A forward pass is a third of forward and backward.
FORWARD = 1 / 3

ASSUMPTIONS = (
    f"generation reaches {GENERATION_SHARE:g} of training's utilisation (each token reads all weights)",
    "a forward pass is a third of a training step (2 N of 6 N FLOPs a token)",
    "a prompt is as long as the longest answer asked of it, within finetune.context",
    f"{PRINCIPLES} principles, every revision allowed is drawn; {ATTACKS} attacks a red-team round, before and after the fix",
    f"an evaluation row scores {CHOICES} answers of {CHOICE_TOKENS} tokens and makes one answer, on {CHECKPOINTS} checkpoints; "
    f"`rows: 0` counts as {ALL_ROWS:,}",
    "validation, samples, checkpoints, restarts and start-up are not counted",
)


@dataclass(frozen=True)
class Work:
    """Tokens of one stage by what is done with them: forward and backward, forward alone, one at a time."""

    stage: str
    trained: float = 0.0
    scored: float = 0.0
    generated: float = 0.0
    context: int = 1

    @property
    def tokens(self) -> float:
        """All of them."""
        return self.trained + self.scored + self.generated

    def flops(self, model: ModelConfig) -> tuple[float, float]:
        """FLOPs at training's utilisation and FLOPs at generation's."""
        each = model.flops_per_token(self.context)
        return each * (self.trained + FORWARD * self.scored), each * FORWARD * self.generated


def prompt_tokens(preset: Preset, answer: int) -> int:
    """Length that a prompt is taken to have."""
    return max(1, min(answer, preset.finetune.context - answer))


def work(preset: Preset, tokens: float = 0.0) -> list[Work]:
    """What every stage that computes has to do, in the order of the pipeline.

    Args:
        preset: whose settings say how much.
        tokens: pretraining tokens; 0 takes the preset's own.
    """
    pre, fine, reward = preset.pretrain, preset.finetune, preset.reward
    pairs = 2.0 * reward.steps * reward.batch_pairs * reward.context
    return [
        Work("pretrain", trained=tokens or pre.tokens, context=pre.context),
        Work("finetune", trained=float(fine.steps * fine.batch_tokens), context=fine.context),
        # Frozen: only the head learns, the decoder goes forward.
        Work("reward", **{"scored" if reward.freeze else "trained": pairs}, context=reward.context),
        _rlhf(preset),
        _constitutional(preset),
        _redteam(preset),
        _evaluate(preset),
    ]


def _rlhf(preset: Preset) -> Work:
    """Answers are made once, scored by the reference (and the reward model), then trained on."""
    rl = preset.rlhf
    answers = float(rl.steps * rl.prompts * rl.group)
    prompt = prompt_tokens(preset, rl.max_tokens)
    whole = answers * (prompt + rl.max_tokens)
    judges = 1 + (rl.reward_model > 0)
    # A prompt is computed once for its whole group.
    prefill = answers / rl.group * prompt
    return Work("rlhf", rl.epochs * whole, judges * whole + prefill, answers * rl.max_tokens, prompt + rl.max_tokens)


def _constitutional(preset: Preset) -> Work:
    """Answers, critiques and revisions are made; then a supervised and a preference part (policy trained, reference scored)."""
    c = preset.constitutional
    prompt = prompt_tokens(preset, c.max_tokens)
    # Each answer has one critique and at most `revisions` revisions; the evaluation answers before and after.
    drawn = PRINCIPLES * (c.prompts * c.samples * (2.0 + c.revisions) + 2 * c.eval_prompts)
    return Work(
        "constitutional",
        trained=float((c.steps + c.preference_steps) * c.batch_tokens),
        scored=drawn * prompt + c.preference_steps * c.batch_tokens,
        generated=drawn * c.max_tokens,
        context=prompt + c.max_tokens,
    )


def _redteam(preset: Preset) -> Work:
    r = preset.redteam
    prompt = prompt_tokens(preset, r.max_tokens)
    attacks = 2.0 * r.rounds * ATTACKS
    trained = float(r.rounds * r.steps * r.batch_tokens)
    return Work("redteam", trained, attacks * prompt, attacks * r.max_tokens, prompt + r.max_tokens)


def _evaluate(preset: Preset) -> Work:
    e = preset.evaluate
    rows = float(CHECKPOINTS * len(e.tasks) * (e.rows or ALL_ROWS))
    return Work("evaluate", 0.0, rows * CHOICES * CHOICE_TOKENS, rows * e.max_tokens, CHOICE_TOKENS)


@dataclass(frozen=True)
class Memory:
    """Bytes on one device at the worst moment of a stage."""

    stage: str
    weights: float
    gradients: float
    optimiser: float
    activations: float
    cache: float

    @property
    def total(self) -> float:
        """All parts."""
        return self.weights + self.gradients + self.optimiser + self.activations + self.cache


def training_memory(preset: Preset) -> Memory:
    """Memory of pretraining, as Lightning with FSDP2 keeps it.

    `bf16-mixed` and `32-true` keep weights, gradients and moments in fp32; `bf16-true` keeps all of them in bf16.
    """
    model, parallel = preset.model, preset.pretrain.parallel
    value = 2 if preset.pretrain.compute.precision == "bf16-true" else 4
    cut = parallel.shard * parallel.tensor
    held = model.parameters() * value / cut
    # FSDP2 gathers one block while it computes and the next one ahead of it.
    gathered = 0.0 if parallel.shard == 1 else 2 * model.layer_parameters() * value / parallel.tensor
    # Autocast keeps the bf16 copy of each matrix for the backward pass, unless its block is computed again.
    copied = preset.pretrain.compute.precision == "bf16-mixed" and parallel.recompute != "full"
    gathered += 2 * model.parameters() / parallel.tensor if copied else 0.0
    moments = optimiser_values(model, preset.pretrain.optim) * value / cut
    rows = preset.pretrain.micro_batch * preset.pretrain.context
    return Memory("pretrain", held + gathered, held, moments, activations(model, rows, preset), 0.0)


def optimiser_values(model: ModelConfig, optim: OptimConfig) -> float:
    """Numbers that the optimiser keeps: two a parameter under AdamW, one under Muon (the blocks' matrices)."""
    matrices = model.num_layers * model.layer_parameters() if optim.muon_lr else 0
    return 2.0 * model.parameters() - matrices


def activations(model: ModelConfig, rows: int, preset: Preset) -> float:
    """Bytes kept between forward and backward for `rows` tokens on one device, the logits included.

    The values a block keeps are counted one by one, after Korthikanti et al. (arXiv:2205.05198), with fused attention
    (no square of the context is stored).
    """
    parallel = preset.pretrain.parallel
    precision = preset.pretrain.compute.precision
    value = 4 if precision == "32-true" else 2
    # Autocast leaves the residual stream in fp32.
    stream = 2 if precision == "bf16-true" else 4
    heads = model.head_dim * (model.num_heads + 2 * model.num_kv_heads)
    queries = model.head_dim * model.num_heads
    residual = 2 * model.hidden_size * stream
    # Normalised residual twice; q, k, v before and after norm and rotation; attention's output; gate, up and their product.
    block = residual + value * (2 * model.hidden_size + 2 * heads + queries + 3 * model.intermediate_size)
    share = rows / (parallel.tensor * parallel.context)
    kept = {
        "none": model.num_layers * block,
        # Matrix products stay, norms, rotations and the SwiGLU product are made again.
        "selective": model.num_layers * (residual + value * (heads + queries + 2 * model.intermediate_size)),
        # Only the input of each block stays; one block at a time is made again.
        "full": model.num_layers * model.hidden_size * stream + block,
    }[parallel.recompute]
    # Logits and their gradient, fp32.
    return share * (kept + 2 * 4 * model.vocab_size)


def rollout_memory(preset: Preset, devices: int) -> Memory:
    """Policy optimisation: the training state, reference and reward model in bf16, and the cache of the running answers."""
    base, model, parallel, rl = training_memory(preset), preset.model, preset.pretrain.parallel, preset.rlhf
    cut = parallel.shard * parallel.tensor
    others = (1 + (rl.reward_model > 0)) * 2 * model.parameters() / cut
    length = prompt_tokens(preset, rl.max_tokens) + rl.max_tokens
    groups = max(1, devices // (parallel.tensor * parallel.context))
    answers = -(-rl.prompts * rl.group // groups)
    # Cached keys and values are split by head over the tensor ranks.
    cache = answers * length * model.kv_bytes_per_token() / min(parallel.tensor, model.num_kv_heads)
    micro = max(1, rl.prompts * rl.group // (rl.minibatches * groups))
    kept = activations(model, micro * length, preset)
    return Memory("rlhf", base.weights + others, base.gradients, base.optimiser, kept, cache)


def replicas(parallel: ParallelConfig, devices: int) -> int:
    """Copies of the sharded model that so many devices hold; 0 where they do not divide."""
    one = parallel.shard * parallel.tensor * parallel.context
    return devices // one if devices % one == 0 else 0
