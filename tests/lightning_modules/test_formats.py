"""int8: codes a block at a time, and a kernel of four bits that multiplies eight."""

from __future__ import annotations

import pytest
import torch

from lightning_modules.generation.formats import BLOCK, KERNEL_ROWS, Int8Linear, convert, pack, quantise
from tests.lightning_modules.tiny import tiny_model


def weight(outputs: int, inputs: int) -> torch.Tensor:
    """Columns of different sizes, one of them a hundred times as large as the rest."""
    made = torch.randn((outputs, inputs), generator=torch.Generator().manual_seed(2))
    made[:, 5] *= 100
    return made


def test_an_outlier_coarsens_its_own_block_alone() -> None:
    matrix = weight(32, 4 * BLOCK)
    codes, scales = quantise(matrix)
    values = (codes.unflatten(1, (4, BLOCK)) * scales.float()[..., None]).flatten(1)
    error = (values - matrix).abs()
    assert error[:, BLOCK:].max() < 0.02 < error[:, :BLOCK].max()
    assert codes.max() == 127 and codes.min() == -127


@pytest.mark.parametrize("code", [-127, -113, -17, -16, -1, 0, 1, 15, 16, 112, 120, 127])
def test_two_nibbles_are_the_code(code: int) -> None:
    codes = torch.full((16, BLOCK), code, dtype=torch.int8)
    packed, scales = pack(codes, torch.full((16, 1), 0.5, dtype=torch.bfloat16))
    x = torch.zeros((1, BLOCK), dtype=torch.bfloat16)
    x[0, 3] = 2.0
    out = torch.ops.aten._weight_int4pack_mm_for_cpu(torch.cat((x, x), -1), packed, BLOCK, scales)
    assert (out == code).all()


@pytest.mark.parametrize("rows", [1, 3, KERNEL_ROWS, KERNEL_ROWS + 1, 40])
@pytest.mark.parametrize(("outputs", "inputs"), [(64, 96), (50, 96), (64, 50)], ids=["packed", "odd outputs", "odd inputs"])
def test_the_product_is_that_of_the_codes(rows: int, outputs: int, inputs: int) -> None:
    matrix = weight(outputs, inputs)
    layer = Int8Linear(matrix)
    assert layer.packed == ((outputs, inputs) == (64, 96))
    codes, scales = quantise(matrix)
    values = (codes.unflatten(1, (scales.shape[1], -1)).double() * scales.double()[..., None]).flatten(1)
    x = torch.randn((rows, 1, inputs), generator=torch.Generator().manual_seed(3)).bfloat16()
    exact = x.double() @ values.T
    made = layer(x)
    assert made.shape == (rows, 1, outputs) and made.dtype == torch.bfloat16
    # Two roundings to bf16, of a value and of the product: 2^-8 each at most.
    assert (made.double() - exact).abs().max() < 2**-7 * exact.abs().max()


def test_a_row_has_the_same_result_whatever_stands_beside_it() -> None:
    layer = Int8Linear(weight(64, 96))
    x = torch.randn((KERNEL_ROWS, 96), generator=torch.Generator().manual_seed(4)).bfloat16()
    assert torch.equal(layer(x), torch.cat([layer(row[None]) for row in x]))


def test_all_matrices_are_converted_and_an_unknown_format_is_refused() -> None:
    model = convert(tiny_model(1), "int8")
    assert not [name for name, module in model.named_modules() if type(module) is torch.nn.Linear]
    assert model.embedding.weight.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="int4"):
        convert(tiny_model(1), "int4")  # type: ignore[arg-type]
