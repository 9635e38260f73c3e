"""Number formats of the weights: fp32 is exact, bf16 reads half as many bytes, int8 a third for a few rows.

Decoding one token reads every weight once, so bytes are what it costs. `benchmarks/formats.py` shows quality beside speed.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.model.decoder import Decoder

Format = Literal["fp32", "bf16", "int8"]
FORMATS: tuple[Format, ...] = get_args(Format)
#: Inputs that share a scale, as in llama.cpp's q8_0.
BLOCK = 32
#: Rows up to which multiplying the codes beats one bf16 product: the kernel works on four rows at a time, and a fifth costs a second pass.
KERNEL_ROWS = 4


def quantise(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
    """Codes of -127..127 [O, I] and a bf16 scale for each block of inputs [O, I / 32] (for each row where 32 does not divide I)."""
    outputs, inputs = weight_OI.shape
    blocks_OGB = weight_OI.detach().float().reshape(outputs, -1, BLOCK if inputs % BLOCK == 0 else inputs)
    # A block of zeros keeps a scale above 0, so that nothing is divided by it.
    scale_OG = blocks_OGB.abs().amax(-1).clamp(min=1e-12).div(127).bfloat16()
    codes_OGB = (blocks_OGB / scale_OG.float()[..., None]).round().clamp(-127, 127).to(torch.int8)
    return codes_OGB.flatten(1), scale_OG


def pack(codes_OI: Tensor, scale_OG: Tensor) -> tuple[Tensor, Tensor]:
    """Codes and scales for torch's 4-bit kernel, the only one on a CPU that takes a scale for each block.

    A code is 16 high + low, both of four bits: a matrix of twice as many inputs, [high | low], whose scales are 16 s and s, multiplied by
    the inputs twice. The kernel adds in fp32, so the product is that of the 8-bit code.
    """
    low_OI = codes_OI.int() & 15
    high_OI = (codes_OI.int() - low_OI) // 16
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(torch.cat((high_OI + 8, low_OI), 1), 1)
    # The kernel computes (nibble - 8) scale + zero. Powers of two times a bf16 scale are exact.
    scales = torch.cat((16 * scale_OG, scale_OG), 1)
    zeros = torch.cat((torch.zeros_like(scale_OG), 8 * scale_OG), 1)
    return packed, torch.stack((scales, zeros), -1).transpose(0, 1).contiguous()


class Int8Linear(nn.Module):
    """Weights as int8 with a scale for each block of 32 inputs; inputs and products stay bf16, so rows never share a scale.

    Beside the codes lie their values in bf16: many rows are bound by arithmetic, not by reading, and there a bf16 product is the fastest.
    So a weight takes 3.25 bytes of memory, of which a step of a few rows reads 1.25. The two round differently: where two tokens are
    nearly as likely, a greedy answer can depend on whether more than four requests run. fp32 has no such second path.

    Args:
        weight_OI: the matrix; O outputs, I inputs.
    """

    def __init__(self, weight_OI: Tensor) -> None:
        super().__init__()
        codes_OI, scale_OG = quantise(weight_OI)
        outputs, inputs = codes_OI.shape
        values_OI = (codes_OI.unflatten(1, (scale_OG.shape[1], -1)) * scale_OG.float()[..., None]).flatten(1).bfloat16()
        self.register_buffer("weight", values_OI)
        # The kernel's own conditions; a matrix that does not meet them is multiplied by its values.
        self.packed = outputs % 16 == 0 and inputs % BLOCK == 0 and codes_OI.device.type == "cpu"
        if self.packed:
            codes, scales = pack(codes_OI, scale_OG)
            self.register_buffer("codes", codes)
            self.register_buffer("scales", scales)

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] to [..., O]."""
        if not self.packed or x.numel() > KERNEL_ROWS * x.shape[-1]:
            return F.linear(x, self.weight)
        flat = x.view(-1, x.shape[-1])
        out = torch.ops.aten._weight_int4pack_mm_for_cpu(torch.cat((flat, flat), -1), self.codes, BLOCK, self.scales)
        return out.view(*x.shape[:-1], -1)


def convert(model: Decoder, form: Format) -> Decoder:
    """Change the weights of a decoder that will not be trained; in place.

    Raises:
        ValueError: unknown format.
    """
    if form not in FORMATS:
        raise ValueError(f"weight format {form!r}; known are {', '.join(FORMATS)}")
    if form == "fp32":
        return model.float()
    if form == "int8":
        linears = [
            (parent, name) for parent in model.modules() for name, child in parent.named_children() if type(child) is nn.Linear
        ]
        for parent, name in linears:
            setattr(parent, name, Int8Linear(getattr(parent, name).weight))
        # Packed codes must not be cast, and the other buffers are bf16 already.
        for parameter in model.parameters():
            parameter.data = parameter.data.bfloat16()
        return model
    return model.bfloat16()
