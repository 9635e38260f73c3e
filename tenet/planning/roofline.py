"""How long a step takes, and what it waits for: matrix units, memory or network.

A roofline (Williams et al., CACM 52(4), 2009) over the parts of a step. Matrix products wait for the matrix units, or
for their weights where there are few tokens; norms, activations and the optimiser wait for memory, after them; the
traffic of sharded weights hides behind both, as far as the assumed overlap goes; tensor parallel sums cannot hide. Free
of torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lightning_modules.model.config import ModelConfig
from tenet.hardware import Cluster
from tenet.planning import estimate, memory
from tenet.settings.plan import PlanConfig
from tenet.settings.preset import Preset

Bound = Literal["matrix units", "memory", "network"]
#: Times that a value of a block crosses the memory bus: written and read forward; read, and its gradient written and
#: read, backward.
CROSSINGS = 5
#: More of them where norms, rotations and the SwiGLU product are made again.
CROSSINGS_AGAIN = 2
#: The same for the fp32 logits and their gradient.
LOGIT_CROSSINGS = 4
#: A step reads weights, gradients and moments, and writes weights and moments.
UPDATE_CROSSINGS = 2


@dataclass(frozen=True)
class Step:
    """Seconds of one optimiser step.

    Args:
        tokens: in it, over all devices.
        matrix: matrix products at the assumed efficiency, those computed again included.
        memory: everything that waits for memory.
        sharding: gathering weights, scattering gradients and summing them over copies, context parallel rings; may
            overlap.
        tensor: sums of tensor parallelism; nothing else can be done meanwhile.
        seconds: of the step.
    """

    tokens: float
    matrix: float
    memory: float
    sharding: float
    tensor: float
    seconds: float

    @property
    def network(self) -> float:
        """All that waits for links, hidden or not."""
        return self.sharding + self.tensor

    @property
    def exposed(self) -> float:
        """What does not hide behind computation."""
        return self.seconds - self.matrix - self.memory

    @property
    def bound(self) -> Bound:
        """The part that takes longest."""
        parts: dict[Bound, float] = {"matrix units": self.matrix, "memory": self.memory, "network": self.network}
        return max(parts, key=lambda name: parts[name])


def attained(cluster: Cluster, config: PlanConfig) -> float:
    """FLOP/s that the matrix products of a model reach on one device."""
    return cluster.peak * (config.matrix_efficiency or cluster.instance.device.attained)


@dataclass(frozen=True)
class Layout:
    """How a stage's batch lies on devices.

    Args:
        devices: that work.
        rows: rows of one step that each group of ranks with different data computes; may be a fraction in
            post-training.
        micro: rows of one forward.
    """

    devices: int
    rows: float
    micro: float

    @property
    def passes(self) -> int:
        """Forward and backward passes of one step."""
        return max(1, math.ceil(self.rows / self.micro))


def layout(preset: Preset, cluster: Cluster, batch: float, context: int, copies: int = 0) -> Layout:
    """How a stage's batch lies on the cluster, whose devices hold a whole number of copies of the sharded model.

    Args:
        preset: sharding (`replicate` is ignored, the cluster says how many copies there are) and tokens of one forward.
        cluster: where.
        batch: tokens of one optimiser step; context: tokens of a row.
        copies: of the sharded model that work; 0 takes as many as the batch fills as pretraining does, at least one.
    """
    parallel, pre = preset.pretrain.parallel, preset.pretrain
    rows, micro = max(1.0, batch / context), max(1.0, pre.micro_batch * pre.context / context)
    one = parallel.shard * parallel.tensor * parallel.context
    used = copies or max(1, min(cluster.devices // one, int(rows / (parallel.shard * micro))))
    each = rows / (parallel.shard * used)
    return Layout(used * one, each, min(micro, max(1.0, each)))


def pretrain_step(preset: Preset, cluster: Cluster, config: PlanConfig) -> Step:
    """One step of pretraining, on the whole cluster."""
    parallel, pre = preset.pretrain.parallel, preset.pretrain
    return train_step(preset, cluster, config, pre.batch_tokens, pre.context, estimate.replicas(parallel, cluster.devices))


def train_step(preset: Preset, cluster: Cluster, config: PlanConfig, batch: float, context: int, copies: int = 0) -> Step:
    """One optimiser step under the preset's sharding.

    Args:
        preset: shape, sharding, precision.
        cluster: its machines.
        config: efficiencies and overlap.
        batch, context, copies: see `layout`.
    """
    model, parallel = preset.model, preset.pretrain.parallel
    placed = layout(preset, cluster, batch, context, copies)
    one_row = parallel.tensor * parallel.context
    tokens = placed.rows * context / one_row  # of one device, in a step
    again = estimate.FORWARD if parallel.recompute == "full" else 0.0
    matrix = (1 + again) * model.flops_per_token(context) * tokens / attained(cluster, config)
    bus = cluster.bandwidth * config.memory_efficiency
    # Forward, and for both gradients: each product reads its matrix once a pass.
    weights = 3 * placed.passes * 2 * model.parameters() / parallel.tensor / bus
    crossings = CROSSINGS + (CROSSINGS_AGAIN if parallel.recompute != "none" else 0)
    values = crossings * model.num_layers * memory.block_bytes(model, preset.pretrain.compute.precision)
    elementwise = tokens * (values + LOGIT_CROSSINGS * 4 * model.vocab_size) / bus
    kept = 2.0 * model.parameters() + memory.optimiser_values(model, preset.pretrain.optim)
    update = UPDATE_CROSSINGS * kept * memory.value_bytes(preset) / (parallel.shard * parallel.tensor) / bus
    local = max(matrix, weights) + elementwise + update
    sharding = _sharding(preset, cluster, config, placed) + _ring(preset, cluster, config, tokens)
    tensor = (1 + again / 2) * _sums(model, cluster, config, parallel.tensor, tokens, 4)
    exposed = max((1 - config.overlap) * sharding, sharding - local)
    return Step(batch, matrix, elementwise + update + max(0.0, weights - matrix), sharding, tensor, local + exposed + tensor)


def _sharding(preset: Preset, cluster: Cluster, config: PlanConfig, placed: Layout) -> float:
    """FSDP2: weights gathered forward and backward, gradients scattered, each pass; gradients summed over the copies,
    each step.

    Ranks lie tensor first, then context, shard, copies. A machine receives what its ranks need and none of them holds.
    """
    model, parallel = preset.model, preset.pretrain.parallel
    values = model.parameters() / parallel.tensor  # one tensor rank's weights
    kept = memory.value_bytes(preset)
    # Both gathers in the bytes that travel, gradients in those they are kept in.
    size = values * (2 * (config.gather_bytes or kept) + kept)
    one_row = parallel.tensor * parallel.context
    inside = min(parallel.shard, max(1, cluster.per_machine // one_row))
    efficiency = config.network_efficiency
    gather = size * (1 - 1 / parallel.shard) / (cluster.instance.device.link * efficiency)
    if inside < parallel.shard:
        groups = min(one_row, cluster.per_machine)
        gather = max(gather, groups * size * (1 - inside / parallel.shard) / (cluster.network * efficiency))
    copies = placed.devices // (one_row * parallel.shard) * parallel.context
    summed = 2 * (1 - 1 / copies) * values * kept / parallel.shard
    return placed.passes * gather + summed / (_per_device(cluster, placed.devices) * efficiency)


def _per_device(cluster: Cluster, span: int) -> float:
    """Bytes a second that one device gets when it talks to `span` ranks in a row: the link, or its share of the
    cards."""
    if span <= cluster.per_machine:
        return cluster.instance.device.link
    return min(cluster.instance.device.link, cluster.network / cluster.per_machine)


def _ring(preset: Preset, cluster: Cluster, config: PlanConfig, tokens: float) -> float:
    """Context parallelism: keys and values go round once forward; they and their gradients backward."""
    model, parallel = preset.model, preset.pretrain.parallel
    if parallel.context == 1:
        return 0.0
    width = 2 * model.num_kv_heads * model.head_dim * 2 / min(parallel.tensor, model.num_kv_heads)
    # A device's own tokens, before tensor ranks divide the work on them.
    held = tokens * parallel.tensor
    sent = 3 * model.num_layers * (parallel.context - 1) * held * width
    return sent / (_per_device(cluster, parallel.tensor * parallel.context) * config.network_efficiency)


def _sums(model: ModelConfig, cluster: Cluster, config: PlanConfig, split: int, tokens: float, times: int) -> float:
    """Tensor parallelism: `times` all-reduces of the bf16 residual stream a block, two of them in a forward pass.

    Args:
        tokens: of one device, its share of what its group computes.
    """
    if split == 1:
        return 0.0
    sent = times * model.num_layers * tokens * split * model.hidden_size * 2 * 2 * (1 - 1 / split)
    return sent / (_per_device(cluster, split) * config.network_efficiency)


def decode_step(
    model: ModelConfig, cluster: Cluster, config: PlanConfig, split: int, batch: int, length: float
) -> tuple[float, Bound]:
    """Seconds in which each of `batch` requests gets one token, and what they wait for.

    Args:
        model: bf16 weights.
        cluster: machines of it; a copy that needs more than one machine is a pipeline over them, all stages busy.
        split: devices of the copy; batch: requests at once; length: tokens in each one's cache.
    """
    bus, peak = cluster.bandwidth * config.memory_efficiency, attained(cluster, config)
    reading = (2 * model.parameters() + batch * length * model.kv_bytes_per_token()) / split / bus
    # Forward alone; attention over the whole cache, not half of a square.
    matrix = batch * model.flops_per_token(int(2 * length)) * estimate.FORWARD / split / peak
    within = min(split, cluster.per_machine)
    sums = _sums(model, cluster, config, within, batch / split, 2)
    parts: dict[Bound, float] = {"matrix units": matrix, "memory": reading, "network": sums}
    return max(reading, matrix) + sums, max(parts, key=lambda name: parts[name])


def prefill(model: ModelConfig, cluster: Cluster, config: PlanConfig, split: int, prompt: int) -> float:
    """Seconds in which one copy reads a prompt."""
    matrix = prompt * model.flops_per_token(prompt) * estimate.FORWARD / split / attained(cluster, config)
    within = min(split, cluster.per_machine)
    return matrix + _sums(model, cluster, config, within, prompt / split, 2)
