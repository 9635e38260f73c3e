"""What one device keeps in memory in each stage, by part, under the preset's sharding."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from lightning_modules.config import OptimConfig
from lightning_modules.model.config import ModelConfig
from tenet.planning.estimate import Work, prompt_tokens, reward_models
from tenet.settings.preset import Preset

#: Share of a device that a plan may fill: the allocator, the communication library and the context need the rest.
USABLE = 0.9
#: Share of a device that the bf16 copy of the policy may fill while answers are drawn for training.
COPY_SHARE = 0.4


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
    # FSDP2 gathers one block while it computes and the next one ahead of it; at the end the head, beside its gradient
    # before that is sharded. A head that is the token table stays gathered while the blocks compute.
    blocks, head = 2 * model.layer_parameters(), 2 * model.vocab_size * model.hidden_size
    most = blocks + head if model.tie_word_embeddings else max(blocks, head)
    gathered = 0.0 if parallel.shard == 1 else most * value / parallel.tensor
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
    # Normalised residual twice; q, k, v before and after norm and rotation; attention's output; gate, up and their
    # product.
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


def answering(preset: Preset, devices: int, capacity: float, work: Work) -> Copies:
    """Copies that draw a stage's answers, in what its training state leaves of each device."""
    room = USABLE * capacity - (_state(preset, work).total if work.batch else 0.0)
    length = prompt_tokens(preset, work.answer) + work.answer
    share = min(1.0, COPY_SHARE * capacity / room) if room > 0 else 1.0
    return copies(preset.model, devices, room, share, length, work.answers)


def _state(preset: Preset, work: Work) -> Memory:
    """What stays on a device all through a stage that trains: its own state, and frozen models in bf16 beside it,
    sharded alike."""
    base, parallel = training_memory(preset), preset.pretrain.parallel
    # The reference and the reward models of policy optimisation; the reference of learning from preferences. With
    # adapters the reference is the policy without them.
    own = 0 if work.lora.rank else 1
    frozen = {"rlhf": own + reward_models(preset), "constitutional": 1}.get(work.stage, 0)
    cut = parallel.shard * parallel.tensor
    beside = frozen * 2 * preset.model.parameters() / cut
    if not work.lora.rank:
        return Memory(work.stage, base.weights + beside, base.gradients, base.optimiser, 0.0, 0.0)
    adapters = work.trained_parameters(preset.model) * value_bytes(preset) / cut
    return Memory(work.stage, base.weights + beside + adapters, adapters, 2 * adapters, 0.0, 0.0)  # AdamW's two moments


def stage_memory(preset: Preset, devices: int, capacity: float, work: Work) -> Memory:
    """One device at the worst moment of a stage.

    Args:
        preset: shape, sharding, precision.
        devices: of the stage; capacity: bytes on each.
        work: of the stage. Drawing answers and learning from them take turns: the larger of the two counts.
    """
    copy = cache = 0.0
    if work.generated:
        found = answering(preset, devices, capacity, work)
        length = prompt_tokens(preset, work.answer) + work.answer
        cache = max(1, found.batch) * length * preset.model.kv_bytes_per_token() / found.split
        # A single device draws from the weights that it trains; from adapters, through matrices that they are merged into.
        copy = _merged(preset, work) if devices == 1 and work.batch else 2 * preset.model.parameters() / found.split
    if not work.batch:
        return Memory(work.stage, copy, 0.0, 0.0, 0.0, cache)
    state = _state(preset, work)
    kept = activations(preset.model, _tokens_of_a_pass(preset, devices, work), preset)
    if copy + cache > kept:
        return dataclasses.replace(state, weights=state.weights + copy, cache=cache)
    return dataclasses.replace(state, activations=kept)


def _merged(preset: Preset, work: Work) -> float:
    """Bytes of the matrices that are made anew where adapters lie on them; 0 without adapters."""
    shapes = preset.model.projections()
    values = sum(shapes[name][0] * shapes[name][1] for name in work.lora.targets) * preset.model.num_layers
    return float(values * value_bytes(preset)) if work.lora.rank else 0.0


def _tokens_of_a_pass(preset: Preset, devices: int, work: Work) -> int:
    """Tokens that go forward together on the devices that share a row: as in pretraining, but a minibatch of policy
    optimisation whole."""
    pre, parallel = preset.pretrain, preset.pretrain.parallel
    if work.stage != "rlhf":
        return max(pre.micro_batch * pre.context, work.context)
    groups = max(1, devices // (parallel.tensor * parallel.context))
    return max(1, int(work.batch / work.context / groups)) * work.context
