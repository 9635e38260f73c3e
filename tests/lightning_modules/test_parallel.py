"""Recomputation and compilation change how a result is reached, not the result; a sharded model is sharded; settings
that do nothing are refused."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_modules.config import ComputeConfig, ParallelConfig
from lightning_modules.data.packing import Tree, pack
from lightning_modules.distributed import sharding
from lightning_modules.model.decoder import Decoder
from lightning_modules.objectives.logprobs import token_losses
from lightning_modules.training.trainer import check, fit
from tests.lightning_modules import fits
from tests.lightning_modules.tiny import tiny_model

HOW: tuple[Literal["none", "selective", "full"], ...] = ("none", "selective", "full")


def gradients(model: Decoder) -> tuple[float, list[Tensor], int]:
    """Loss, gradients, and bytes of what was kept for the backward pass, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        held.append(tensor)  # alive, so that no address is given out twice
        return tensor

    held: list[Tensor] = []
    batch = pack([Tree([1, 2, 3], [list(range(5, 60)), list(range(7, 50))])], 128)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = token_losses(model.train(), batch).mean()
    model.zero_grad()
    loss.backward()
    return float(loss.detach()), [p.grad.clone() for p in model.parameters() if p.grad is not None], sum(kept.values())


def test_recomputation_gives_the_same_gradients_and_keeps_less() -> None:
    model = tiny_model(3, num_layers=4)
    found = {}
    for how in HOW:
        sharding.recompute(model, how)
        found[how] = gradients(model)
    loss, expected, _ = found["none"]
    for how in HOW[1:]:
        assert found[how][0] == loss
        assert all(torch.equal(a, b) for a, b in zip(found[how][1], expected, strict=True))
    # What selective recomputation keeps is held by its own store, outside the hook: here it counts like full.
    assert found["full"][2] < 0.6 * found["none"][2] and found["selective"][2] < 0.6 * found["none"][2]


class _Products(TorchDispatchMode):
    """Counts matrix products that are really computed: what recomputation hands out from its store does not get this
    far."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten.mm.default
        return func(*args, **(kwargs or {}))


def products(how: Literal["none", "selective", "full"]) -> int:
    model = tiny_model(3)
    sharding.recompute(model, how)
    with _Products() as counted:
        gradients(model)
    return counted.count


def test_selective_recomputation_keeps_the_matrix_products() -> None:
    # Of a block's four (qkv, out, gate and up, down) the backward pass needs the results of the first three.
    assert products("none") == products("selective") == products("full") - 3 * tiny_model().config.num_layers


@pytest.mark.parametrize("how", HOW[1:])
def test_a_fit_recomputes_where_it_is_told_to(tmp_path: Path, how: Literal["selective", "full"]) -> None:
    fits.shard_of(tmp_path)
    seen: set[str] = set()
    module, loader, accumulate = fits.pretrain(tmp_path)
    fetch = loader.fetch

    def watching(step: int) -> object:
        seen.update(block.recompute for block in module.model.blocks)
        return fetch(step)

    loader.fetch = watching
    assert fit(
        module, loader, steps=fits.STEPS, folder=tmp_path / how, compute=ComputeConfig(accelerator="cpu", threads=1), stop=threading.Event(),
        tell=lambda *_: None, checkpoint_every=100, accumulate=accumulate, parallel=ParallelConfig(recompute=how),
    )  # fmt: skip
    assert seen == {how}
    assert fits.run("pretrain", tmp_path, tmp_path / "none")
    assert {block.recompute for block in module.model.blocks} == {"none"}
    expected = load_file(tmp_path / "none" / "weights.safetensors")
    assert all(torch.equal(expected[name], p) for name, p in module.named_parameters())


def test_compiled_blocks_compute_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """With dynamo's own backend: tracing is ours to get right, code generation is not, and takes a minute."""
    model = tiny_model(3)
    loss, expected, _ = gradients(model)
    calls: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        calls.append(1)
        return graph.forward

    compile_of = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compile_of(self, backend=backend))
    names = [name for name, _ in model.named_parameters()]
    sharding.compile_blocks(model)
    assert [name for name, _ in model.named_parameters()] == names
    compiled, found, _ = gradients(model)
    assert calls and compiled == pytest.approx(loss, rel=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))
    sharding.compile_blocks(model, False)
    before = len(calls)
    model(torch.tensor([[1, 2, 3]]))
    assert len(calls) == before


@pytest.mark.parametrize(
    ("compute", "cut", "words"),
    [
        (ComputeConfig(devices=8), ParallelConfig(), "compute.devices is 8"),
        (ComputeConfig(nodes=4), ParallelConfig(), "nodes 4"),
        (ComputeConfig(), ParallelConfig(tensor=8, shard=2), "--parallel.shard 16"),
    ],
)
def test_what_is_not_started_or_not_built_is_refused(compute: ComputeConfig, cut: ParallelConfig, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check(compute, cut)
