"""How the decoder is cut over devices: a plan beside the model, not code inside it."""

from __future__ import annotations

from typing import Any

from lightning_modules.model.decoder import Decoder


def shard(model: Decoder, mesh: Any) -> None:
    """FSDP2 over the data dimension of Lightning's mesh, a block at a time, so that one block's weights are gathered while another computes.

    Args:
        model: not yet sharded; changed in place.
        mesh: DeviceMesh with a dimension `data_parallel`, as `ModelParallelStrategy` builds it.
    """
    from torch.distributed.fsdp import fully_shard

    data = mesh["data_parallel"]
    for block in model.blocks:
        fully_shard(block, mesh=data)
    fully_shard(model, mesh=data)
