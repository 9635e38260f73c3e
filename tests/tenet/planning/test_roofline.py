"""The roofline against arithmetic by hand, its limits, and what must always hold."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_modules.config import ParallelConfig
from tenet.hardware import Cluster, cluster_of
from tenet.planning import memory, roofline
from tenet.settings.plan import PlanConfig
from tenet.settings.preset import Preset, load_preset

cached = functools.cache(load_preset)  # presets are frozen
ASSUMED = PlanConfig(matrix_efficiency=0.5, memory_efficiency=0.8, network_efficiency=0.8, overlap=0.9)


def cut(preset: Preset, **changes: Any) -> Preset:
    """The preset under another sharding."""
    parallel = dataclasses.replace(preset.pretrain.parallel, **changes)
    return dataclasses.replace(preset, pretrain=dataclasses.replace(preset.pretrain, parallel=parallel))


def networked(cluster: Cluster, gigabits: float) -> Cluster:
    return Cluster(dataclasses.replace(cluster.instance, network=gigabits), cluster.count)


def test_matrix_time_by_hand() -> None:
    """8b, one row of 8,192 tokens on each of 256 devices, two passes: FLOPs over what the matrix units reach."""
    preset, where = cached("8b"), cluster_of("p5.48xlarge:32")
    step = roofline.pretrain_step(preset, where, ASSUMED)
    flops = preset.model.flops_per_token(8192) * preset.pretrain.batch_tokens
    assert step.matrix == pytest.approx(flops / (256 * 989.4e12 * 0.5))
    full = roofline.pretrain_step(cut(preset, recompute="full"), where, ASSUMED)
    assert full.matrix == pytest.approx(step.matrix * 4 / 3)


def test_sharding_traffic_by_hand() -> None:
    """8b over 64 ranks on eight machines: each machine receives the 7/8 of the weights that it does not hold, three
    times a pass."""
    preset, where = cut(cached("8b"), replicate=1), cluster_of("p5.48xlarge:8")
    step = roofline.pretrain_step(preset, where, ASSUMED)
    passes = preset.pretrain.batch_tokens // 8192 // 64
    network = 3200e9 / 8 * 0.8
    assert step.sharding == pytest.approx(passes * 3 * 4 * preset.model.parameters() * 7 / 8 / network)
    halved = roofline.pretrain_step(preset, where, dataclasses.replace(ASSUMED, gather_bytes=2))
    assert halved.sharding == pytest.approx(step.sharding * 8 / 12)


def test_tensor_sums_by_hand() -> None:
    """Four all-reduces of the bf16 residual stream a block, over NVLink."""
    preset, where = cached("70b"), cluster_of("p5.48xlarge:128")
    step = roofline.pretrain_step(preset, where, ASSUMED)
    tokens = preset.pretrain.batch_tokens / 256  # of a group of four tensor ranks
    sent = 4 * preset.model.num_layers * tokens * preset.model.hidden_size * 2 * 2 * 3 / 4
    assert step.tensor == pytest.approx(sent / (450e9 * 0.8))
    assert roofline.pretrain_step(cut(preset, tensor=1, shard=512), where, ASSUMED).tensor == 0


def test_one_machine_shards_over_its_links() -> None:
    preset = cut(cached("8b"), shard=8, replicate=1)
    step = roofline.pretrain_step(preset, cluster_of("p5.48xlarge:1"), ASSUMED)
    slow = roofline.pretrain_step(preset, networked(cluster_of("p5.48xlarge:1"), 1.0), ASSUMED)
    assert step.sharding == slow.sharding > 0


def test_context_ranks_send_keys_and_values_round() -> None:
    """One machine, nothing sharded: seven hops of keys and values forward, twice as many bytes backward, and the
    gradients' sum."""
    preset = cut(cached("8b"), context=8, shard=1, replicate=1)
    model, batch = preset.model, preset.pretrain.batch_tokens
    step = roofline.pretrain_step(preset, cluster_of("p5.48xlarge:1"), ASSUMED)
    hops = 3 * 7 * model.num_layers * batch / 8 * 2 * model.num_kv_heads * model.head_dim * 2
    gradients = 2 * 7 / 8 * 4 * model.parameters()
    assert step.sharding == pytest.approx((hops + gradients) / (450e9 * 0.8))


def test_the_bound_switches_where_it_should() -> None:
    preset, where = cached("8b"), cluster_of("p5.48xlarge:32")
    assert roofline.pretrain_step(preset, where, ASSUMED).bound == "matrix units"
    assert roofline.pretrain_step(preset, networked(where, 100.0), ASSUMED).bound == "network"
    # A few tokens on each device: every pass reads all weights for little work.
    few = cut(preset, shard=1, replicate=256, context=1)
    few = dataclasses.replace(few, pretrain=dataclasses.replace(few.pretrain, context=16, batch_tokens=256 * 16))
    step = roofline.pretrain_step(few, networked(where, 1e9), dataclasses.replace(ASSUMED, overlap=1.0))
    assert step.memory > step.matrix


def test_where_the_network_takes_over() -> None:
    """Traffic and matrix time cross where a hand-made equation says."""
    preset, where = cut(cached("8b"), replicate=1), cluster_of("p5.48xlarge:8")
    step = roofline.pretrain_step(preset, where, ASSUMED)
    crossing = 3200 * step.sharding / step.matrix
    assert roofline.pretrain_step(preset, networked(where, 1.01 * crossing), ASSUMED).bound == "matrix units"
    assert roofline.pretrain_step(preset, networked(where, 0.99 * crossing), ASSUMED).bound == "network"


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(["160m", "1b", "8b", "70b", "400b"]),
    shard=st.sampled_from([1, 2, 8, 64, 256]),
    tensor=st.sampled_from([1, 2, 4, 8]),
    recompute=st.sampled_from(["none", "selective", "full"]),
    matrix=st.floats(0.1, 1.0),
    overlap=st.floats(0.0, 1.0),
)
def test_a_step_is_no_shorter_than_its_parts(
    name: str, shard: int, tensor: int, recompute: Any, matrix: float, overlap: float
) -> None:
    preset = cached(name)
    parallel = ParallelConfig(shard, tensor, 1, 1, recompute)
    preset = dataclasses.replace(preset, pretrain=dataclasses.replace(preset.pretrain, parallel=parallel))
    where = cluster_of(f"p5.48xlarge:{max(1, shard * tensor // 8)}")
    config = dataclasses.replace(ASSUMED, matrix_efficiency=matrix, overlap=overlap)
    step = roofline.train_step(preset, where, config, 2.0**24, 8192)
    assert min(step.matrix, step.memory, step.sharding, step.tensor) >= 0
    assert step.seconds >= max(step.matrix + step.memory, step.sharding, step.tensor) * (1 - 1e-9)
    assert step.seconds <= (step.matrix + step.memory + step.network) * (1 + 1e-9)
    better = dataclasses.replace(config, matrix_efficiency=min(1.0, 1.2 * matrix), overlap=min(1.0, overlap + 0.1))
    assert roofline.train_step(preset, where, better, 2.0**24, 8192).seconds <= step.seconds * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["1b", "8b", "70b"]), st.integers(0, 5), st.sampled_from(["none", "full"]))
def test_more_devices_never_raise_what_one_keeps(name: str, doubling: int, recompute: Any) -> None:
    def kept(shard: int) -> memory.Memory:
        return memory.training_memory(cut(cached(name), shard=shard, tensor=1, replicate=1, recompute=recompute))

    fewer, more = kept(2 ** (doubling + 1)), kept(2 ** (doubling + 2))
    assert more.weights < fewer.weights
    assert more.gradients == pytest.approx(fewer.gradients / 2)
    assert more.optimiser == pytest.approx(fewer.optimiser / 2)
    assert more.total < fewer.total


def test_a_small_batch_leaves_devices_alone() -> None:
    preset, where = cached("400b"), cluster_of("p5.48xlarge:1024")
    assert roofline.layout(preset, where, preset.pretrain.batch_tokens, 8192, 4).devices == 8192
    assert roofline.layout(preset, where, 2_097_152, 8192).devices == 2048
    assert roofline.layout(preset, where, 1024, 1024).devices == 2048, "never less than one copy"


@pytest.mark.parametrize("batch", [1, 64, 1024])
def test_decoding_by_hand(batch: int) -> None:
    """Weights and cache are read once a step, or the matrix units are busy for longer."""
    model, where = cached("8b").model, cluster_of("p5.48xlarge:1")
    seconds, bound = roofline.decode_step(model, where, ASSUMED, 1, batch, 1000)
    read = (2 * model.parameters() + batch * 1000 * model.kv_bytes_per_token()) / (3.35e12 * 0.8)
    attention = 4 * model.num_layers * model.num_heads * model.head_dim * 1000
    matrices = 2 * (model.num_layers * model.layer_parameters() + model.vocab_size * model.hidden_size)
    computed = batch * (matrices + attention) / (989.4e12 * 0.5)
    assert seconds == pytest.approx(max(read, computed))
    assert bound == ("memory" if read > computed else "matrix units")


def test_long_batches_without_a_cache_wait_for_matrix_units() -> None:
    model, where = cached("8b").model, cluster_of("p5.48xlarge:1")
    assert roofline.decode_step(model, where, ASSUMED, 1, 4096, 1)[1] == "matrix units"
    assert roofline.decode_step(model, where, ASSUMED, 1, 1, 1)[1] == "memory"
