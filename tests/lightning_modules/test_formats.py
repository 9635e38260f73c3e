"""int8: the model stays the same model, products are exact sums of integers, and nothing depends on what stands beside
a row."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from lightning_modules.generation import quantization
from lightning_modules.generation.engine import SlotEngine
from lightning_modules.generation.protocol import Sampling, Token
from lightning_modules.generation.quantization import FEW_ROWS, KERNEL, Format, Int8Linear, convert, hadamard, rotate
from lightning_modules.model.config import ModelConfig
from lightning_modules.model.decoder import Decoder

BF16 = torch.cpu.get_capabilities().get("avx512_bf16", False)
#: The products that this machine can compute.
WAYS = sorted({KERNEL, False})
SHAPES = [(64, 96), (50, 96), (64, 50), (7, 33)]


def noise(*shape: int, seed: int = 2) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def defined(weight: torch.Tensor, x: torch.Tensor, rounded: bool, eps: float | None) -> torch.Tensor:
    """The product from the definition, in double precision: the codes of the weights, and of the inputs or their
    values."""
    scale, peak = (t.double().abs().amax(-1, keepdim=True).clamp(min=1e-300) / 127 for t in (weight, x))
    codes = (weight / scale).round() * scale
    inputs = (x / peak).round() * peak if rounded else x.double()
    norm = 1.0 if eps is None else (x.double().square().mean(-1, keepdim=True) + eps).rsqrt()
    return inputs @ codes.T * norm


@pytest.mark.parametrize("width", [64, 96, 576, 50, 33])
def test_rotating_twice_changes_nothing_and_products_stay(width: int) -> None:
    x, weight = noise(5, width), noise(7, width, seed=3)
    assert (hadamard(width) @ hadamard(width) - torch.eye(len(hadamard(width)))).abs().max() < 1e-6
    assert width % len(hadamard(width)) == 0
    assert torch.allclose(rotate(rotate(x, width), width), x, atol=1e-6)
    assert torch.allclose(rotate(x, width) @ rotate(weight, width).T, x @ weight.T, atol=1e-4)


@pytest.mark.parametrize("kernel", WAYS)
@pytest.mark.parametrize(("outputs", "inputs"), SHAPES)
@pytest.mark.parametrize("rotated_width", [0, 1])
@pytest.mark.parametrize("eps", [None, 1e-5])
def test_the_product_is_that_of_the_codes(kernel: bool, outputs: int, inputs: int, rotated_width: int, eps: float | None) -> None:
    weight = noise(inputs, outputs).T
    weight[5] *= 100
    layer = Int8Linear(weight, rotated_width and inputs, eps, kernel)
    for rows in (1, 3, FEW_ROWS + 1):
        x = noise(rows, 1, inputs, seed=rows)
        x[0] *= 1000
        x[-1, :, 1:] = 0
        made = layer(x)
        assert made.shape == (rows, 1, outputs) and made.dtype == torch.float32
        exact = defined(weight, rotate(x, inputs) if rotated_width else x, kernel, eps)
        off = (made.double() - exact).abs() / exact.abs().amax(-1, keepdim=True)
        # A value between two codes may be rounded to either, seldom; bf16 keeps 8 bits of an input and of a sum.
        assert off.max() < 0.015 and off.median() < (1e-6 if kernel else 2**-9)


@pytest.mark.skipif(
    not KERNEL, reason="this machine lacks AVX-512 VNNI, so inputs are not rounded, and few rows are multiplied as they are"
)
def test_a_row_has_the_same_result_whatever_stands_beside_it() -> None:
    layer = Int8Linear(noise(960, 576), rotated_width=576, eps=1e-5)
    x = noise(200, 576, seed=4)
    whole = layer(x)
    for first, last in ((0, 1), (7, 8), (3, 19), (100, 165), (0, 199)):
        assert torch.equal(layer(x[first:last]), whole[first:last])


@pytest.mark.parametrize("kernel", WAYS)
def test_zeros_stay_zeros(kernel: bool) -> None:
    assert torch.equal(Int8Linear(noise(8, 16), eps=1e-5, kernel=kernel)(torch.zeros(3, 16)), torch.zeros(3, 8))
    assert torch.equal(Int8Linear(torch.zeros(8, 16), kernel=kernel)(noise(3, 16)), torch.zeros(3, 8))


class _Exact(torch.nn.Module):
    """An Int8Linear without its rounding."""

    def __init__(
        self, weight: torch.Tensor, rotated_width: int = 0, eps: float | None = None, bias_O: torch.Tensor | None = None
    ) -> None:
        super().__init__()
        self.weight, self.rotated_width, self.eps, self.bias = weight, rotated_width, eps, bias_O

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = rotate(x, self.rotated_width) if self.rotated_width else x
        return F.linear(x if self.eps is None else F.rms_norm(x, x.shape[-1:], eps=self.eps), self.weight, self.bias)


@pytest.mark.parametrize(("qk_norm", "qkv_bias"), [(True, False), (False, False), (False, True)])
@pytest.mark.parametrize("width", [64, 48])
def test_the_rotated_model_is_the_same_model(qk_norm: bool, qkv_bias: bool, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for rounding: the turns cancel and every norm's weight is where it belongs."""
    monkeypatch.setattr(quantization, "Int8Linear", _Exact)
    monkeypatch.setattr(quantization, "Bf16Embedding", torch.nn.Embedding)
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda self: self)
    model = _model(width, qk_norm, qkv_bias=qkv_bias)
    turned = convert(copy.deepcopy(model), "int8")
    ids = torch.randint(256, (2, 40), generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        exact, made = (m.logits(m(ids)) for m in (model, turned))
    assert (exact - made).abs().max() < 1e-4 * exact.abs().max()
    assert not [name for name, module in turned.named_modules() if type(module) is torch.nn.Linear]


@pytest.mark.skipif(not KERNEL, reason="this machine lacks AVX-512 VNNI, so no row of inputs has a scale")
def test_a_large_channel_does_not_spoil_a_row() -> None:
    """Why the turn is there: one input a hundred times as large as the rest takes their precision, unless it is spread
    first."""
    weight, x = noise(64, 128), noise(50, 128, seed=6)
    x[:, 3] *= 100
    exact = x @ weight.T
    errors = {
        width: float(
            (Int8Linear(rotate(weight, width) if width else weight, rotated_width=width)(x) - exact).square().mean() ** 0.5
        )
        for width in (0, 128)
    }
    assert errors[128] < 0.5 * errors[0]


@pytest.mark.parametrize(
    "form",
    [
        "fp32",
        pytest.param(
            "bf16",
            marks=pytest.mark.skipif(not BF16, reason="this machine lacks AVX-512 BF16, so few and many rows round differently"),
        ),
        pytest.param(
            "int8",
            marks=pytest.mark.skipif(
                not KERNEL, reason="this machine lacks AVX-512 VNNI, so few and many rows round differently"
            ),
        ),
    ],
)
def test_answers_do_not_depend_on_neighbours(form: Format) -> None:
    """To the last bit of the log-probabilities in bf16 and int8; in fp32 sums of one to three rows are added up in
    another order."""
    model = convert(_model(64, True, positions=256), form)
    prompts = [[(7 * i + 11 * j) % 250 for j in range(1 + 13 * i % 97)] for i in range(12)]

    def answers(group: list[list[int]]) -> list[list[Token]]:
        """One prompt comes at each step, so that each runs beside longer and shorter ones."""
        engine, coming, numbers, made = SlotEngine(model, 8, 256), list(group), [], dict[int, list[Token]]()
        while coming or not engine.idle:
            if coming:
                numbers.append(engine.submit(coming.pop(0), Sampling(max_tokens=24)))
            for token in engine.step():
                made.setdefault(token.request, []).append(token)
        return [made[number] for number in numbers]

    for alone, beside in zip([answers([prompt])[0] for prompt in prompts], answers(prompts), strict=True):
        assert [token.id for token in alone] == [token.id for token in beside]
        logprobs = [token.logprob for token in alone], [token.logprob for token in beside]
        assert logprobs[0] == (pytest.approx(logprobs[1], abs=1e-4) if form == "fp32" else logprobs[1])


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="int4"):
        convert(_model(64, True), "int4")  # type: ignore[arg-type]


def _model(width: int, qk_norm: bool, positions: int = 64, qkv_bias: bool = False) -> Decoder:
    """Norms of uneven weights and biases that are not 0, so that one that is lost shows."""
    shape = ModelConfig(256, width, 1024, 3, 4, 2, 16, positions, qk_norm=qk_norm, tie_word_embeddings=qk_norm, qkv_bias=qkv_bias)
    model = Decoder(shape).initialise(5).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.mul_(1 + 0.5 * noise(*parameter.shape, seed=len(name)))
            if name.endswith("bias"):
                parameter.copy_(noise(*parameter.shape, seed=len(name)))
    return model
