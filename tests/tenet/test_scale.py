"""Presets cut over as many processes as they ask for, without those processes: a made-up process group, weights without
memory.

What one of them holds must be what `tenet plan` says, or the plan would promise what does not fit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from lightning_modules.config import ParallelConfig
from lightning_modules.distributed.sharding import shard
from lightning_modules.model.decoder import Decoder
from lightning_modules.training.optim import build_optimiser
from tenet.planning.memory import training_memory
from tenet.settings.preset import load_preset
from tests.lightning_modules.tiny import tiny_model


@pytest.fixture
def processes(request: pytest.FixtureRequest) -> Iterator[int]:
    """A process group of so many, of which this is the first; what is sent goes nowhere."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=request.param)
    yield request.param
    dist.destroy_process_group()


def local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@pytest.mark.parametrize(
    ("name", "processes", "parallel"),
    [
        ("1b", 32, ParallelConfig(shard=8, replicate=4)),
        ("8b", 256, ParallelConfig(shard=64, replicate=4)),
        # As the refusal of `tensor: 8` advises: sharded instead.
        ("70b", 1024, ParallelConfig(shard=512, replicate=2)),
    ],
    indirect=["processes"],
)
def test_a_process_holds_what_the_plan_says(name: str, processes: int, parallel: ParallelConfig) -> None:
    preset = load_preset(name)
    if name != "70b":
        assert dataclasses.replace(preset.pretrain.parallel, recompute="none") == parallel
    with torch.device("meta"):
        model = Decoder(preset.model)
    whole = sum(p.numel() for p in model.parameters())
    assert whole == preset.model.parameters()
    mesh = init_device_mesh("cpu", (parallel.replicate, parallel.shard), mesh_dim_names=("replicate", "shard"))
    shard(model, parallel, mesh=mesh)
    ends = [] if preset.model.tie_word_embeddings else [model.embedding, model.head]
    assert all(isinstance(part, FSDPModule) for part in (*model.blocks, *ends, model))
    cut = dataclasses.replace(preset, pretrain=dataclasses.replace(preset.pretrain, parallel=parallel))
    plan = training_memory(cut)
    held = sum(local(p).numel() * p.element_size() for p in model.parameters())
    # The plan's gradients are as large as the weights held. Padding to whole rows makes up the difference.
    assert held == pytest.approx(plan.gradients, rel=0.03)
    optimiser = build_optimiser(model, preset.pretrain.optim)
    optimiser.initialise()
    moments = sum(local(t).numel() * t.element_size() for state in optimiser.state.values() for t in state.values())
    assert moments == pytest.approx(plan.optimiser, rel=0.03)


@pytest.mark.parametrize("processes", [2], indirect=True)
@pytest.mark.parametrize("tied", [True, False])
def test_what_is_gathered_when(processes: int, tied: bool) -> None:
    """The table goes back once it was read, the head after its backward pass; a table that is its own head stays in
    between."""
    model = tiny_model(1, tie_word_embeddings=tied)
    shard(model, ParallelConfig(shard=2), mesh=init_device_mesh("cpu", (1, 2), mesh_dim_names=("replicate", "shard")))

    def gathered() -> set[str]:
        return {name for name, p in model.named_parameters() if not isinstance(p, DTensor)}

    seen = []
    for block in model.blocks:
        block.attention.register_forward_pre_hook(lambda *_: seen.append(gathered()))
    hidden = model(torch.arange(12).view(2, 6))
    table = {"embedding.weight", "norm.weight"} if tied else {"norm.weight"}
    blocks = [{name for name, _ in model.named_parameters() if name.startswith(f"blocks.{i}.")} for i in range(2)]
    assert seen == [table | block for block in blocks] and gathered() == table
    logits = model.logits(hidden)
    assert gathered() == table | (set() if tied else {"head.weight"})
    logits.sum().backward()
    assert not gathered()
