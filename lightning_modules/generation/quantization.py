"""Number formats of the weights: fp32 is exact, bf16 reads half as many bytes, int8 a quarter.

Decoding one token reads every weight once, so bytes are what it costs. `benchmarks/formats.py` shows quality beside
speed.

int8 multiplies integers: one scale for each output channel of the weights, one for each row of the inputs. A few large
channels would spoil a row's scale, so both sides are rotated by a Hadamard matrix in blocks of channels first, which
spreads them and leaves the product as it was (QuaRot, arXiv:2404.00456). Where the turn can be part of a neighbouring
matrix it is: the residual stream and the values are rotated for good, the weights of the norms lie in the matrices
after them, and only the input of `down` is rotated while running. Sums of integers are exact, so what else is in a
batch cannot change an answer. Where the processor has no instructions for that product, the inputs keep their values
and rows are few or many: the two ways round differently.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.model.decoder import Block, Decoder, RMSNorm

Format = Literal["fp32", "bf16", "int8"]
FORMATS: tuple[Format, ...] = get_args(Format)
#: Rows up to which torch's weight-only kernel is used; with more, unpacking the weights once is cheaper.
FEW_ROWS = 48
#: Channels rotated together, at most: it must divide the width, and 64 divides that of every preset.
TURN = 64
#: oneDNN saturates sums of int8 products on machines without these instructions, so there only the weights are int8.
KERNEL = torch.cpu.get_capabilities().get("avx512_vnni", False) and torch.backends.mkldnn.is_available()


def hadamard(width: int) -> Tensor:
    """Sylvester's matrix, [R, R] with R the largest power of two that divides `width`, at most `TURN`; symmetric, its
    own inverse."""
    size = min(TURN, width & -width)
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.cat((torch.cat((matrix, matrix), 1), torch.cat((matrix, -matrix), 1)))
    return matrix * size**-0.5


def rotate(x: Tensor, width: int) -> Tensor:
    """[..., I] with each block of channels rotated, the blocks chosen for channels that come in groups of `width`."""
    matrix = hadamard(width)
    return (x.unflatten(-1, (-1, len(matrix))) @ matrix).flatten(-2)


class Int8Linear(nn.Module):
    """A matrix of int8 whose inputs are made int8 too, each row with a scale of its own.

    Args:
        weight_OI: the matrix; O outputs, I inputs. The caller has rotated it on the side of its inputs.
        rotated_width: rotate the inputs in blocks made for this width; 0 where they come rotated.
        eps: of the RMS norm before this layer; None where there is none. Dividing a row by its root mean square does
            not change its codes, so the norm is one more factor of the row's scale.
        kernel: oneDNN's product of integers; or else the inputs stay as they are, and only the weights are int8.
        bias_O: added to the product, in fp32.
    """

    def __init__(
        self,
        weight_OI: Tensor,
        rotated_width: int = 0,
        eps: float | None = None,
        kernel: bool = KERNEL,
        bias_O: Tensor | None = None,
    ) -> None:
        super().__init__()
        weight_OI = weight_OI.detach().float()
        # A channel of zeros keeps a scale above 0, so that nothing is divided by it.
        scale_O = weight_OI.abs().amax(1).clamp(min=1e-12).div(127)
        # oneDNN packs a transposed matrix as if it were not one (torch 2.13).
        codes_OI = (weight_OI / scale_O[:, None]).round().to(torch.int8).contiguous()
        self.kernel, self.normed = kernel, eps is not None
        self.weight = torch.ops.onednn.qlinear_prepack(codes_OI, None) if kernel else codes_OI
        # The inputs' codes are multiplied by 127 over their largest value.
        self.scale = scale_O / 127 if kernel else scale_O
        self.ones = torch.ones(len(scale_O), dtype=torch.bfloat16)
        self.zeros = torch.zeros(len(scale_O), dtype=torch.int32)
        self.hadamard = hadamard(rotated_width) if rotated_width else None
        # The kernel takes bytes without sign, 128 for 0; half a step more, and cutting off rounds to the nearest.
        self.middle = torch.tensor([128.5])
        self.eps = torch.tensor([eps or 0.0])
        self.bias = None if bias_O is None else bias_O.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] of any float type to fp32 [..., O]."""
        return self.product(x.flatten(0, -2)).view(*x.shape[:-1], -1)

    def product(self, x_NI: Tensor) -> Tensor:
        """[N, I] to [N, O], as above."""
        if self.hadamard is not None:
            x_NI = torch.mm(x_NI.float().view(-1, len(self.hadamard)), self.hadamard).view(x_NI.shape)
        out, scale_N1 = self._coded(x_NI) if self.kernel else (self._weight_only(x_NI), None)
        if self.normed:
            size_N1 = torch.linalg.vector_norm(x_NI, 2, -1, keepdim=True)
            norm_N1 = torch.addcmul(self.eps, size_N1, size_N1, value=1 / x_NI.shape[1]).rsqrt_()
            scale_N1 = norm_N1 if scale_N1 is None else norm_N1.mul_(scale_N1)
        out = out if scale_N1 is None else out.mul_(scale_N1)
        return out if self.bias is None else out.add_(self.bias)

    def _coded(self, x_NI: Tensor) -> tuple[Tensor, Tensor]:
        # A row of zeros makes 0 / 0, some byte or other, and a scale of 0.
        peak_N1 = x_NI.abs().amax(-1, keepdim=True).float()
        codes = torch.addcdiv(self.middle, x_NI, peak_N1, value=127).to(torch.uint8)
        out = torch.ops.onednn.qlinear_pointwise(
            codes, 1.0, 128, self.weight, self.scale, self.zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return out, peak_N1

    def _weight_only(self, x_NI: Tensor) -> Tensor:
        # torch's kernel reads 16 inputs at a time, past the end of a row of any other length, without a word (2.13).
        if len(x_NI) <= FEW_ROWS and x_NI.shape[1] % 16 == 0:
            return torch._weight_int8pack_mm(x_NI.bfloat16(), self.weight, self.ones).float().mul_(self.scale)
        return F.linear(x_NI.float(), self.weight.float()).mul_(self.scale)


class Bf16Embedding(nn.Embedding):
    """Kept as bf16, given out as fp32: what is added to it stays fp32."""

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids).float()


def convert(model: Decoder, form: Format) -> Decoder:
    """Change the weights of a decoder that will not be trained; in place.

    In int8 the hidden states of `Decoder.forward` are rotated and come before the last norm: they are for `logits`
    alone.

    Raises:
        ValueError: unknown format.
    """
    if form not in FORMATS:
        raise ValueError(f"weight format {form!r}; known are {', '.join(FORMATS)}")
    if form == "fp32":
        return model.float()
    return _to_int8(model.float()) if form == "int8" else model.bfloat16()


@torch.no_grad()
def _to_int8(model: Decoder) -> Decoder:
    width = model.config.hidden_size
    for block in model.blocks:
        assert isinstance(block, Block)
        attention, mlp = block.attention, block.mlp
        both = (attention.heads + attention.kv_heads) * attention.width
        qk, v = attention.qkv.weight.split((both, len(attention.qkv.weight) - both))
        # The values of a head are rotated, and so is the sum of them that attention makes.
        qkv = torch.cat((qk, rotate(v.T, attention.width).T))
        out = rotate(attention.out.weight, attention.width)
        down = rotate(mlp.down.weight, mlp.down.in_features)
        bias = attention.qkv.bias
        if bias is not None:
            bias = torch.cat((bias[:both], rotate(bias[both:], attention.width)))
        attention.qkv, block.attention_norm = _after_norm(qkv, block.attention_norm, width, bias)
        attention.out = Int8Linear(rotate(out.T, width).T)
        mlp.gate_up, block.mlp_norm = _after_norm(mlp.gate_up.weight, block.mlp_norm, width)
        mlp.down = Int8Linear(rotate(down.T, width).T, rotated_width=mlp.down.in_features)
    model.head, model.norm = _after_norm(model.head.weight, model.norm, width)
    embedding = Bf16Embedding(*model.embedding.weight.shape, _weight=rotate(model.embedding.weight, width).bfloat16())
    model.embedding = embedding.requires_grad_(False)
    return model


def _after_norm(weight_OI: Tensor, norm: RMSNorm, width: int, bias_O: Tensor | None = None) -> tuple[Int8Linear, nn.Identity]:
    return Int8Linear(rotate(weight_OI * norm.weight, width), eps=norm.eps, bias_O=bias_O), nn.Identity()
