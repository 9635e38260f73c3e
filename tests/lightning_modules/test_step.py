"""The written-out step is the decoder's forward, bit for bit."""

from __future__ import annotations

import pytest
import torch

from lightning_modules.generation.cache import RowCache
from lightning_modules.generation.quantization import FORMATS, Format, convert
from lightning_modules.generation.step import Step, is_plain
from lightning_modules.model.config import ModelConfig
from lightning_modules.model.decoder import Decoder


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("qk_norm", "qkv_bias"), [(True, False), (False, False), (False, True)])
@pytest.mark.parametrize("lengths", [(9,), (9, 9, 9), (3, 14, 8, 1, 6, 7)])
def test_it_equals_the_forward(form: Format, qk_norm: bool, qkv_bias: bool, lengths: tuple[int, ...]) -> None:
    config = ModelConfig(256, 64, 128, 3, 4, 2, 16, 32, qk_norm=qk_norm, tie_word_embeddings=qk_norm, qkv_bias=qkv_bias)
    plain = Decoder(config).initialise(5).eval()
    for name, parameter in plain.named_parameters():
        if name.endswith("bias"):
            parameter.data.uniform_(-1, 1, generator=torch.Generator().manual_seed(2))
    model = convert(plain, form)
    caches = [RowCache(model, len(lengths) + 1, 32) for _ in range(2)]
    for cache in caches:
        noise = torch.Generator().manual_seed(1)
        for tensor in (cache.k, cache.v):
            tensor.copy_(torch.randn(tensor.shape, generator=noise))
    ends = torch.tensor(lengths)
    positions, span = (ends - 1)[:, None], max(lengths)
    mask = None if min(lengths) == span else torch.arange(span) < ends[:, None]
    ids = torch.arange(7, 7 + len(lengths))
    with torch.inference_mode():
        wide = None if mask is None else mask[:, None, None]
        expected = model(ids[:, None], positions, wide, caches[0].view(0, positions, span))[:, 0]
        made = Step(model)(ids, positions[:, 0], mask, caches[1], span, lengths[0] - 1 if mask is None else None)
    assert torch.equal(made, expected)
    assert torch.equal(caches[0].k, caches[1].k) and torch.equal(caches[0].v, caches[1].v)


def test_wrapped_blocks_are_seen() -> None:
    model = Decoder(ModelConfig(64, 32, 64, 2, 2, 1, 16, 32))
    assert is_plain(model)
    block = model.blocks[0]
    # What fully_shard does to a module.
    block.__class__ = type("FSDPBlock", (type(block),), {})
    assert not is_plain(model)
