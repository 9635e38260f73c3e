"""Parameter groups, Muon beside AdamW in one optimiser, and the warm-up-stable-decay schedule.

One optimiser, not two, because Lightning's automatic optimisation (clipping, accumulation, precision) handles one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from lightning_modules.config import OptimConfig
from lightning_modules.distributed.sharding import local_part


def orthogonalise(momentum: Tensor, steps: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrices by the quintic Newton-Schulz iteration (Jordan et al., Muon, 2024).

    Args:
        momentum: [..., rows, columns]; a stack of equal shapes is one batched product, which is what makes it cheap.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = momentum.bfloat16() if momentum.is_cuda else momentum.float()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(momentum.dtype)


class MuonAdamW(torch.optim.Optimizer):
    """Muon for groups with `muon: True`, AdamW for the others.

    Args:
        groups: parameter groups with `params`, `lr`, `weight_decay` and `muon`.
        betas: of AdamW; momentum: of Muon (Nesterov).
    """

    def __init__(self, groups: list[dict[str, Any]], betas: tuple[float, float] = (0.9, 0.95), momentum: float = 0.95) -> None:
        super().__init__(
            groups, {"lr": 1e-3, "weight_decay": 0.0, "muon": False, "betas": betas, "momentum": momentum, "eps": 1e-8}
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """One update."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if parameters:
                (self._muon if group["muon"] else self._adamw)(group, parameters)
        return loss

    def initialise(self) -> None:
        """Make the moments before the first step, so that a checkpoint can be read into them."""
        for group in self.param_groups:
            for p in group["params"]:
                self._moments(p, group["muon"])

    def _moments(self, p: Tensor, muon: bool) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state[p]
        if not state and muon:
            state["momentum"] = torch.zeros_like(p)
        elif not state:
            state["step"] = torch.zeros((), device=p.device)
            state["first"], state["second"] = torch.zeros_like(p), torch.zeros_like(p)
        return state

    def _muon(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for p in parameters:
            by_shape[p.shape].append(p)
        for shape, same in by_shape.items():
            directions = []
            for p in same:
                momentum = self._moments(p, True)["momentum"]
                momentum.lerp_(p.grad, 1 - group["momentum"])
                directions.append(_whole(p.grad.lerp(momentum, group["momentum"])))
            # Scaled so that the update has the root mean square size of AdamW's (arXiv:2502.16982, equation 4).
            scale = 0.2 * max(shape[0], shape[1]) ** 0.5
            for p, update in zip(same, orthogonalise(torch.stack(directions)), strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"]).add_(_like(update, p), alpha=-group["lr"] * scale)

    def _adamw(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        states = [self._moments(p, False) for p in parameters]
        beta1, beta2 = group["betas"]
        # Element by element, so each process can work on its own shard.
        torch._fused_adamw_(
            [local_part(p) for p in parameters],
            [local_part(p.grad) for p in parameters],
            [local_part(s["first"]) for s in states],
            [local_part(s["second"]) for s in states],
            [],
            _counted([s["step"] for s in states]),
            amsgrad=False,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def _whole(tensor: Tensor) -> Tensor:
    """Gathered from all processes: Newton-Schulz needs the matrix, not rows of it. Each process then does the same
    products."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _like(whole: Tensor, p: Tensor) -> Tensor:
    """Cut as a parameter is; every process has the whole, so nothing is sent."""
    return distribute_tensor(whole, p.device_mesh, p.placements, src_data_rank=None) if isinstance(p, DTensor) else whole


def _counted(steps: list[Tensor]) -> list[Tensor]:
    torch._foreach_add_(steps, 1)
    return steps


def build_optimiser(module: nn.Module, config: OptimConfig) -> MuonAdamW:
    """Group the parameters: block matrices (Muon where it is on), other matrices (decayed), vectors (not decayed).

    Adapters (LoRA) are AdamW's: Muon makes an update of all directions alike, and a factor of a product of low rank is
    no matrix whose directions are.
    """
    matrices: list[Tensor] = []
    tables: list[Tensor] = []
    vectors: list[Tensor] = []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.dim() < 2:
            vectors.append(parameter)
        elif config.muon_lr and "blocks." in name and "lora_" not in name:
            matrices.append(parameter)
        else:
            tables.append(parameter)
    groups = [
        {"params": matrices, "lr": config.muon_lr, "weight_decay": config.weight_decay, "muon": True},
        {"params": tables, "lr": config.lr, "weight_decay": config.weight_decay, "muon": False},
        {"params": vectors, "lr": config.lr, "weight_decay": 0.0, "muon": False},
    ]
    return MuonAdamW([g for g in groups if g["params"]], (config.beta1, config.beta2))


def schedule(config: OptimConfig, steps: int) -> Callable[[int], float]:
    """Factor of the peak rate at a step: linear rise, constant, linear fall to 0 (warm-up-stable-decay)."""
    rise, fall = max(1, round(config.warmup * steps)), max(1, round(config.decay * steps))

    def factor(step: int) -> float:
        up = (step + 1) / rise
        down = (steps - step) / fall if config.decay else 1.0
        return max(0.0, min(1.0, up, down))

    return factor


def configure(module: nn.Module, config: OptimConfig, steps: int) -> dict[str, Any]:
    """What `configure_optimizers` of a LightningModule returns."""
    optimiser = build_optimiser(module, config)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, schedule(config, steps))
    return {"optimizer": optimiser, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
