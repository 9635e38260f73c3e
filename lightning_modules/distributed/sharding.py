"""How the decoder is cut over devices: a plan beside the model, not code inside it."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from lightning_modules.config import ParallelConfig
from lightning_modules.model.decoder import Decoder


def check(parallel: ParallelConfig, processes: int) -> None:
    """Refuse a cut that is not built, or that the processes that were started do not make up.

    `replicate` of 1 means as many copies as there are processes for.

    Raises:
        ValueError: names the key, the value and the way out.
    """
    for name in ("tensor", "context"):
        if getattr(parallel, name) > 1:
            raise ValueError(
                f"parallel.{name} is {getattr(parallel, name)}: the plan knows it, training does not (docs/scale.md). "
                f"Set it to 1 and shard further, e.g. --parallel.{name} 1 --parallel.shard {parallel.shard * getattr(parallel, name)}"
            )
    if processes % parallel.shard or (parallel.replicate > 1 and processes != parallel.world):
        wanted = parallel.world if parallel.replicate > 1 else f"a multiple of {parallel.shard}"
        raise ValueError(
            f"parallel.shard x replicate is {parallel.shard} x {parallel.replicate} and {processes} processes were started; start {wanted} "
            "with `python -m tenet.torchrun`, or set parallel.shard to a divisor of them and parallel.replicate to 1 (as many as there are)"
        )


def shard(model: nn.Module, parallel: ParallelConfig, device: str = "cpu", mesh: Any = None) -> None:
    """FSDP2, a block at a time, so that one block's weights are gathered while another computes; copies of the shards
    where there are more processes than shards (HSDP).

    Args:
        model: a decoder or what holds one; changed in place, its weights move to the mesh's device a block at a time.
        parallel: how many shards.
        device: kind of device that trains, "cpu" or "cuda".
        mesh: DeviceMesh (copies, shards); made of all processes when left out.
    """
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if mesh is None:
        shape = (dist.get_world_size() // parallel.shard, parallel.shard)
        mesh = init_device_mesh(device, shape, mesh_dim_names=("replicate", "shard"))
    cut = mesh if mesh.shape[0] > 1 else mesh["shard"]
    decoder = decoder_in(model)
    for block in decoder.blocks:
        fully_shard(block, mesh=cut)
    if decoder.head.weight is not decoder.embedding.weight:
        fully_shard(decoder.embedding, mesh=cut)
        # Its backward pass follows at once, so gathering twice would buy nothing.
        fully_shard(decoder.head, mesh=cut, reshard_after_forward=False)
    # What is left is the last norm, and a table that is its own head. The head is called after `forward`, so these stay
    # gathered until the backward pass is over.
    fully_shard(model, mesh=cut, reshard_after_forward=False)


def decoder_in(model: nn.Module) -> Decoder:
    """The decoder itself, or the backbone of a reward model."""
    return next(part for part in model.modules() if isinstance(part, Decoder))


def copy_weights(sharded: nn.Module, whole: nn.Module) -> None:
    """Gather sharded weights into a whole model of the same shape; called by all processes."""
    target = dict(whole.named_parameters())
    with torch.no_grad():
        for name, parameter in sharded.named_parameters():
            target[name].copy_(parameter.full_tensor() if isinstance(parameter, DTensor) else parameter)


def local_part(tensor: Tensor) -> Tensor:
    """This process's share; the tensor itself where it is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def in_host_memory(tensor: Tensor) -> Tensor:
    """A copy of this process's share that takes nothing of the device's memory."""
    return local_part(tensor.detach()).to("cpu", copy=True)


def put_aside(model: nn.Module) -> dict[str, Tensor]:
    """Copies of what is trained: this process's share of it, in host memory."""
    return {name: in_host_memory(p) for name, p in model.named_parameters() if p.requires_grad}


def put_back(model: nn.Module, kept: dict[str, Tensor]) -> None:
    """The inverse of `put_aside`."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in kept:
                local_part(parameter).copy_(kept[name])


def sharded_like(part: Tensor, whole: Tensor) -> Tensor:
    """A share as the tensor that `whole` is, on its device; on a CPU both hold the same numbers in the same place."""
    part = part.to(local_part(whole).device)
    if not isinstance(whole, DTensor):
        return part
    return DTensor.from_local(part, whole.device_mesh, whole.placements, shape=whole.shape, stride=whole.stride())


def recompute(model: nn.Module, how: Literal["none", "selective", "full"]) -> None:
    """Set what the backward pass computes again instead of keeping; see `decoder.Block`."""
    for block in decoder_in(model).blocks:
        block.recompute = how  # type: ignore[assignment]


def compile_blocks(model: nn.Module, on: bool = True) -> None:
    """torch.compile, a block at a time: equal blocks are compiled once, and parameters keep their names. `on=False`
    goes back."""
    for block in decoder_in(model).blocks:
        if on:
            block.compile()
        else:
            block._compiled_call_impl = None
