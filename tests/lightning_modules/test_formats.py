"""int8: one scale for each output channel, and the same product whatever stands beside a row."""

from __future__ import annotations

import pytest
import torch

from lightning_modules.generation.formats import KERNEL_ROWS, Int8Linear, convert
from tests.lightning_modules.tiny import tiny_model


def weight(outputs: int, inputs: int) -> torch.Tensor:
    """Rows of different sizes, one of them a hundred times as large as the rest."""
    made = torch.randn((outputs, inputs), generator=torch.Generator().manual_seed(2))
    made[5] *= 100
    return made


def values(layer: Int8Linear) -> torch.Tensor:
    return layer.weight.double() * layer.scale.double()[:, None]


def test_an_outlier_coarsens_its_own_channel_alone() -> None:
    matrix = weight(32, 96)
    layer = Int8Linear(matrix)
    error = (values(layer) - matrix).abs()
    assert torch.cat((error[:5], error[6:])).max() < 0.02 < error[5].max()
    assert layer.weight.max() == 127 and layer.weight.min() == -127


@pytest.mark.parametrize("rows", [1, 3, KERNEL_ROWS, KERNEL_ROWS + 1, 2 * KERNEL_ROWS])
@pytest.mark.parametrize(("outputs", "inputs"), [(64, 96), (50, 96), (64, 50)])
def test_the_product_is_that_of_the_codes(rows: int, outputs: int, inputs: int) -> None:
    layer = Int8Linear(weight(outputs, inputs))
    x = torch.randn((rows, 1, inputs), generator=torch.Generator().manual_seed(3)).bfloat16()
    exact = x.double() @ values(layer).T
    made = layer(x)
    assert made.shape == (rows, 1, outputs) and made.dtype == torch.bfloat16
    # Two roundings to bf16, of a product and of its product with the scale: 2^-8 each at most.
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
