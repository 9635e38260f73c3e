"""How much each stage computes and what it keeps in memory, from a preset alone; `roofline` and `plan` turn that into time and money.

Free of torch. Everything that a preset does not say is a constant with a name here, and `plan` prints it as an assumption.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightning_modules.config import OptimConfig, ParallelConfig
from lightning_modules.model.config import ModelConfig
from tenet.config import Preset

#: Principles of the constitution, attacks of a red-team round, checkpoints compared; answers of a benchmark row, their tokens.
PRINCIPLES, ATTACKS, CHECKPOINTS, CHOICES, CHOICE_TOKENS = 6, 500, 5, 4, 128
#: Rows of an evaluation task where the preset takes all of them.
ALL_ROWS = 2_000
#: A forward pass is a third of forward and backward.
FORWARD = 1 / 3
#: Share of a device that a plan may fill: the allocator, the communication library and the context need the rest.
USABLE = 0.9
#: Share of a device that the bf16 copy of the policy may fill while answers are drawn for training.
COPY_SHARE = 0.4

ASSUMPTIONS = (
    "a forward pass is a third of a training step (2 N of 6 N FLOPs a token)",
    "a prompt is as long as the longest answer asked of it, within finetune.context",
    f"{PRINCIPLES} principles, every revision allowed is drawn; {ATTACKS} attacks a red-team round, before and after the fix",
    f"an evaluation row scores {CHOICES} answers of {CHOICE_TOKENS} tokens and makes one answer, on {CHECKPOINTS} checkpoints; "
    f"`rows: 0` counts as {ALL_ROWS:,}",
)


@dataclass(frozen=True)
class Work:
    """What one stage does.

    Args:
        stage: its name.
        trained, scored, generated: tokens that go forward and backward, forward alone, and that are made one at a time.
        context: tokens of one row, for the share of attention.
        batch: tokens of one optimiser step; 0 where nothing is trained.
        answers: answers that can be made at the same time; answer: tokens of each.
    """

    stage: str
    trained: float = 0.0
    scored: float = 0.0
    generated: float = 0.0
    context: int = 1
    batch: float = 0.0
    answers: float = 0.0
    answer: int = 0

    @property
    def tokens(self) -> float:
        """All of them."""
        return self.trained + self.scored + self.generated

    def flops(self, model: ModelConfig) -> float:
        """FLOPs of the model; what is computed again to save memory is not counted."""
        return model.flops_per_token(self.context) * (self.trained + FORWARD * (self.scored + self.generated))


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
    batch = 2.0 * reward.batch_pairs * reward.context
    pairs = reward.steps * batch
    return [
        Work("pretrain", trained=tokens or pre.tokens, context=pre.context, batch=pre.batch_tokens),
        Work("finetune", trained=float(fine.steps * fine.batch_tokens), context=fine.context, batch=fine.batch_tokens),
        # Frozen: only the head learns, the decoder goes forward.
        Work("reward", 0.0 if reward.freeze else pairs, pairs if reward.freeze else 0.0, context=reward.context, batch=batch),
        _rlhf(preset),
        _constitutional(preset),
        _redteam(preset),
        _evaluate(preset),
    ]


def _rlhf(preset: Preset) -> Work:
    """Answers are made once, scored by the reference (and the reward model), then trained on."""
    rl = preset.rlhf
    together = float(rl.prompts * rl.group)
    prompt = prompt_tokens(preset, rl.max_tokens)
    length = prompt + rl.max_tokens
    whole = rl.steps * together * length
    judges = 1 + (rl.reward_model > 0)
    # A prompt is computed once for its whole group.
    prefill = rl.steps * rl.prompts * prompt
    made = rl.steps * together * rl.max_tokens
    batch = together / rl.minibatches * length
    return Work("rlhf", rl.epochs * whole, judges * whole + prefill, made, length, batch, together, rl.max_tokens)


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
        batch=c.batch_tokens,
        answers=float(PRINCIPLES * c.prompts * c.samples),
        answer=c.max_tokens,
    )


def _redteam(preset: Preset) -> Work:
    r = preset.redteam
    prompt = prompt_tokens(preset, r.max_tokens)
    attacks = 2.0 * r.rounds * ATTACKS
    trained = float(r.rounds * r.steps * r.batch_tokens)
    length = prompt + r.max_tokens
    made = attacks * r.max_tokens
    return Work("redteam", trained, attacks * prompt, made, length, r.batch_tokens, ATTACKS, r.max_tokens)


def _evaluate(preset: Preset) -> Work:
    e = preset.evaluate
    together = float(len(e.tasks) * (e.rows or ALL_ROWS))
    scored = CHECKPOINTS * together * CHOICES * CHOICE_TOKENS
    made = CHECKPOINTS * together * e.max_tokens
    return Work("evaluate", 0.0, scored, made, CHOICE_TOKENS, 0.0, together, e.max_tokens)


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


def value_bytes(preset: Preset) -> int:
    """Bytes of a weight, a gradient or a moment: `bf16-mixed` and `32-true` keep them in fp32, `bf16-true` in bf16."""
    return 2 if preset.pretrain.compute.precision == "bf16-true" else 4


def training_memory(preset: Preset) -> Memory:
    """Memory of pretraining, as Lightning with FSDP2 keeps it."""
    model, parallel, value = preset.model, preset.pretrain.parallel, value_bytes(preset)
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


def block_bytes(model: ModelConfig, precision: str) -> float:
    """Bytes that one block makes for a token and that its backward pass reads, counted one by one.

    After Korthikanti et al. (arXiv:2205.05198), with fused attention (no square of the context is stored).
    """
    value, stream = _values(precision)
    # Normalised residual twice; q, k, v before and after norm and rotation; attention's output; gate, up and their product.
    inner = 2 * model.hidden_size + 2 * _heads(model) + model.head_dim * model.num_heads + 3 * model.intermediate_size
    return 2 * model.hidden_size * stream + value * inner


def _values(precision: str) -> tuple[int, int]:
    """Bytes of an activation and of the residual stream, which autocast leaves in fp32."""
    return 4 if precision == "32-true" else 2, 2 if precision == "bf16-true" else 4


def _heads(model: ModelConfig) -> int:
    return model.head_dim * (model.num_heads + 2 * model.num_kv_heads)


def activations(model: ModelConfig, rows: int, preset: Preset) -> float:
    """Bytes kept between forward and backward for `rows` tokens on one device, the logits included."""
    parallel = preset.pretrain.parallel
    precision = preset.pretrain.compute.precision
    value, stream = _values(precision)
    block = block_bytes(model, precision)
    queries = model.head_dim * model.num_heads
    share = rows / (parallel.tensor * parallel.context)
    kept = {
        "none": model.num_layers * block,
        # Matrix products stay, norms, rotations and the SwiGLU product are made again.
        "selective": model.num_layers
        * (2 * model.hidden_size * stream + value * (_heads(model) + queries + 2 * model.intermediate_size)),
        # Only the input of each block stays; one block at a time is made again.
        "full": model.num_layers * model.hidden_size * stream + block,
    }[parallel.recompute]
    # Logits and their gradient, fp32.
    return share * (kept + 2 * 4 * model.vocab_size)


@dataclass(frozen=True)
class Copies:
    """Copies of a bf16 model that answer.

    Args:
        split: devices of one copy; groups: copies.
        batch: requests that one copy decodes at once; 0 where not even one has room.
    """

    split: int
    groups: int
    batch: int


def copies(model: ModelConfig, devices: int, room: float, copy_share: float, length: int, wanted: float) -> Copies:
    """How a bf16 model and its cache are laid over devices: the fewest devices a copy, a power of two, that hold it.

    Args:
        model: what answers.
        devices: that may be used.
        room: bytes free on each.
        copy_share: most of the room that weights may take.
        length: tokens of one request, prompt and answer.
        wanted: requests that there are for all copies together.
    """
    weights = 2.0 * model.parameters()
    needed = max(1, math.ceil(weights / (copy_share * room))) if room > 0 else devices + 1
    split = 1 << (needed - 1).bit_length()
    if split > devices:
        return Copies(max(1, devices), 1, 0)
    groups = devices // split
    fits = max(0, int((room - weights / split) * split / (length * model.kv_bytes_per_token())))
    return Copies(split, groups, min(fits, max(1, math.ceil(wanted / groups))))


def answering(preset: Preset, devices: int, capacity: float, stage: Work) -> Copies:
    """Copies that draw a stage's answers, in what its training state leaves of each device."""
    room = USABLE * capacity - _state(preset) if stage.trained else USABLE * capacity
    length = prompt_tokens(preset, stage.answer) + stage.answer
    return copies(preset.model, devices, room, min(1.0, COPY_SHARE * capacity / max(room, 1.0)), length, stage.answers)


def _state(preset: Preset) -> float:
    """Training state and what stands beside it during policy optimisation: reference and reward model in bf16."""
    base, parallel = training_memory(preset), preset.pretrain.parallel
    frozen = 1 + (preset.rlhf.reward_model > 0)
    beside = frozen * 2 * preset.model.parameters() / (parallel.shard * parallel.tensor)
    return base.weights + base.gradients + base.optimiser + beside


def rollout_memory(preset: Preset, devices: int, capacity: float) -> Memory:
    """Policy optimisation: the training state, reference and reward model, and the larger of drawing answers and learning from them."""
    base, model, parallel, rl = training_memory(preset), preset.model, preset.pretrain.parallel, preset.rlhf
    found = answering(preset, devices, capacity, _rlhf(preset))
    # A single device draws from the weights that it trains.
    copy = 0.0 if devices == 1 else 2 * model.parameters() / found.split
    length = prompt_tokens(preset, rl.max_tokens) + rl.max_tokens
    cache = max(1, found.batch) * length * model.kv_bytes_per_token() / found.split
    groups = max(1, devices // (parallel.tensor * parallel.context))
    micro = max(1, rl.prompts * rl.group // (rl.minibatches * groups))
    kept = activations(model, micro * length, preset)
    # Drawing and learning take turns: the copy and the cache are gone while activations are kept.
    if copy + cache > kept:
        kept = 0.0
    else:
        copy = cache = 0.0
    weights = _state(preset) - base.gradients - base.optimiser + copy
    return Memory("rlhf", weights, base.gradients, base.optimiser, kept, cache)


def replicas(parallel: ParallelConfig, devices: int) -> int:
    """Copies of the sharded model that so many devices hold; 0 where they do not divide."""
    one = parallel.shard * parallel.tensor * parallel.context
    return devices // one if devices % one == 0 else 0
