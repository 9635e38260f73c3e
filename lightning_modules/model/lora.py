"""LoRA (Hu et al., 2021, arXiv:2106.09685): beside frozen matrices, products of two thin ones, which alone are trained.

W x becomes W x + (alpha / rank) B A x (equation 3), with A drawn at random and B zero, so that training begins with the
model as it is. The decoder's fused matrices (queries, keys and values; gate and up) carry one adapter for each part that
exchange formats name, so that what is trained is the same adapter there. Sampling, evaluation and export read a merged
view, a plain decoder; the input model, which policy optimisation is held near, is the same weights without adapters.

Shape letters: O outputs, I inputs of a matrix, R rank.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.config import LoraConfig
from lightning_modules.model.decoder import Decoder

M = TypeVar("M", bound=nn.Module)
#: Matrices of a block, and the parts that exchange formats cut each into, in order.
PARTS: dict[str, tuple[str, ...]] = {
    "attention.qkv": ("q_proj", "k_proj", "v_proj"),
    "attention.out": ("o_proj",),
    "mlp.gate_up": ("gate_proj", "up_proj"),
    "mlp.down": ("down_proj",),
}


class Adapter(NamedTuple):
    """One adapter of one matrix.

    Args:
        target: its matrix, by its name in exchange formats.
        rows: of the fused matrix, that it adds to.
        a_RI, b_OR: the two thin matrices.
    """

    target: str
    rows: slice
    a_RI: Tensor
    b_OR: Tensor


class AdaptedLinear(nn.Module):
    """A frozen matrix with adapters on some of its parts. It has no `weight`: whoever reads one must ask for a merged
    view.

    Args:
        base: the matrix.
        sizes: outputs of each part that exchange formats name.
        lora: rank, alpha and targets, of which at least one is among these parts.
        generator: draws A.
    """

    def __init__(self, base: nn.Linear, sizes: dict[str, int], lora: LoraConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.base, self.sizes, self.rank, self.scale = base, sizes, lora.rank, lora.alpha / lora.rank
        self.targets = [name for name in sizes if name in lora.targets]
        rows = self.rank * len(self.targets)
        drawn = torch.randn(rows, base.in_features, generator=generator) * base.in_features**-0.5
        self.lora_a = nn.Parameter(drawn.to(base.weight))
        self.lora_b = nn.Parameter(base.weight.new_zeros(sum(sizes[name] for name in self.targets), self.rank))

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] to [..., O]."""
        parts = list(self.base(x).split(list(self.sizes.values()), dim=-1))
        lows = F.linear(x, self.lora_a).split(self.rank, dim=-1)
        for target, low, b_OR in zip(self.targets, lows, self._of_targets(self.lora_b), strict=True):
            place = list(self.sizes).index(target)
            parts[place] = parts[place] + self.scale * F.linear(low, b_OR)
        return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]

    def _of_targets(self, stacked: Tensor) -> Sequence[Tensor]:
        return stacked.split([self.sizes[name] for name in self.targets])

    def adapters(self) -> Iterator[Adapter]:
        """Each with its place."""
        ends = dict(zip(self.sizes, accumulate(self.sizes.values()), strict=True))
        parts = zip(self.targets, self.lora_a.split(self.rank), self._of_targets(self.lora_b), strict=True)
        for target, a_RI, b_OR in parts:
            yield Adapter(target, slice(ends[target] - self.sizes[target], ends[target]), a_RI.detach(), b_OR.detach())

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """W + (alpha / rank) B A, as a matrix of its own."""
        weight = self.base.weight.detach().clone()
        for adapter in self.adapters():
            weight[adapter.rows] += self.scale * (adapter.b_OR @ adapter.a_RI)
        linear = _sharing(self.base)
        linear.weight = nn.Parameter(weight, requires_grad=False)
        return linear


def add_adapters(model: Decoder, lora: LoraConfig, seed: int) -> None:
    """Freeze a decoder and lay adapters on the targets of every block, in place.

    Args:
        model: a plain decoder.
        lora: with a rank above 0.
        seed: of the draw of A.

    Raises:
        ValueError: an adapter would be no smaller than its matrix.
    """
    shapes = model.config.projections()
    for name in lora.targets:
        if lora.rank >= min(shapes[name]):
            outputs, inputs = shapes[name]
            raise ValueError(
                f"lora.rank is {lora.rank} and {name} of this model is {outputs} x {inputs}: an adapter must be thinner; lower the rank, "
                "take the matrix out of lora.targets, or set the rank to 0 (train the whole model)"
            )
    generator = torch.Generator().manual_seed(seed)
    model.requires_grad_(False)
    for block in model.blocks:
        for path, parts in PARTS.items():
            if set(parts) & set(lora.targets):
                sizes = {name: shapes[name][0] for name in parts}
                block.set_submodule(path, AdaptedLinear(block.get_submodule(path), sizes, lora, generator))  # type: ignore[arg-type]


def adapted(model: nn.Module) -> list[AdaptedLinear]:
    """Matrices that carry adapters, in the order of the blocks."""
    return [part for part in model.modules() if isinstance(part, AdaptedLinear)]


def merged(model: Decoder) -> Decoder:
    """A plain decoder that computes what the adapted one does: merged matrices beside the very parameters of the
    others. A decoder without adapters is its own."""
    return _view(model, AdaptedLinear.merged) if adapted(model) else model


def input_model(model: Decoder) -> Decoder:
    """What training began with, frozen: the weights under the adapters themselves, or else a copy."""
    if adapted(model):
        return _view(model, lambda part: part.base)
    return copy.deepcopy(model).requires_grad_(False)


def _view(model: Decoder, linear_of: Callable[[AdaptedLinear], nn.Linear]) -> Decoder:
    view = _sharing(model)
    for block in view.blocks:
        for path in PARTS:
            part = block.get_submodule(path)
            if isinstance(part, AdaptedLinear):
                block.set_submodule(path, linear_of(part))
    return view


def _sharing(module: M) -> M:
    """Modules of its own over the same parameters: what moves one to a device or changes it in place does so in both."""
    return copy.deepcopy(module, {id(parameter): parameter for parameter in module.parameters()})
