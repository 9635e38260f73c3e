"""Number formats of the weights: fp32 is exact, bf16 reads half as many bytes, int8 a quarter.

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
#: Rows up to which torch's int8 kernel beats unpacking the weights for one bf16 product (measured by benchmarks/formats.py).
KERNEL_ROWS = 48


class Int8Linear(nn.Module):
    """Weights as int8 with one scale for each output channel; inputs and products stay bf16, so rows never share a scale.

    Args:
        weight_OI: the matrix; O outputs, I inputs.
    """

    def __init__(self, weight_OI: Tensor) -> None:
        super().__init__()
        weight_OI = weight_OI.detach().float()
        # A channel of zeros keeps a scale above 0, so that nothing is divided by it.
        scale_O = weight_OI.abs().amax(1).clamp(min=1e-12).div(127).bfloat16()
        codes_OI = (weight_OI / scale_O.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
        self.register_buffer("weight", codes_OI)
        self.register_buffer("scale", scale_O)
        # torch's kernel reads 16 inputs at a time, past the end of a row of any other length, without a word (2.13).
        self.kernel = codes_OI.shape[1] % 16 == 0

    def forward(self, x: Tensor) -> Tensor:
        """[..., I] to [..., O]."""
        flat = x.flatten(0, -2)
        if self.kernel and len(flat) <= KERNEL_ROWS and x.device.type == "cpu":
            out = torch.ops.aten._weight_int8pack_mm(flat.contiguous(), self.weight, self.scale)
        else:
            # A prompt's many rows pay for unpacking once. The scale goes on the product: small integers are exact in bf16.
            out = F.linear(flat, self.weight.to(flat.dtype)) * self.scale
        return out.unflatten(0, x.shape[:-1])


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
        # Buffers of int8 must not be cast, and the scales are bf16 already.
        for parameter in model.parameters():
            parameter.data = parameter.data.bfloat16()
        return model
    return model.bfloat16()
