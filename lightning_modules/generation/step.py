"""One token for each row: the decoder's own arithmetic in fewer calls.

At one row a step of a small model is several hundred operations of a few microseconds each, and their dispatch is a fifth of the time.
So the decoder's blocks are written out once more for T = 1: queries and keys turn together, the sign of the rotation lies in its table,
the mask is made once for all layers. The results are `Decoder.forward`'s, bit for bit (tests/lightning_modules/test_step.py).

Shape letters: N rows, D hidden size, H query heads, K key-value heads, E width of a head, S cached positions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_modules.model.decoder import Attention, Block, Cache, Decoder, Mlp


def is_plain(model: Decoder) -> bool:
    """Whether the blocks hold their weights themselves; FSDP2 puts classes of its own in their place."""
    return all(type(block) is Block for block in model.blocks)


def next_hidden(model: Decoder, ids_N1: Tensor, positions_N1: Tensor, mask: Tensor | None, cache: Cache) -> Tensor:
    """Hidden states after the last norm, without gradients.

    Args:
        model: a plain decoder.
        ids_N1: the last token of each row.
        positions_N1: its position.
        mask: bool [N, 1, 1, S], true where a row may attend; None is everything.
        cache: keys and values of the rows.

    Returns:
        [N, 1, D].
    """
    x_ND = model.embedding(ids_N1[:, 0])
    cos_N1E, sin_N1E = model.rope(positions_N1, x_ND.dtype)
    left, right = sin_N1E.chunk(2, dim=-1)
    sin_N1E = torch.cat((-left, right), dim=-1)
    if mask is not None:
        mask = torch.zeros(mask.shape, dtype=x_ND.dtype, device=mask.device).masked_fill_(~mask, float("-inf"))
    for block in model.blocks:
        assert isinstance(block, Block)
        x_ND = x_ND + _attend(block.attention, block.attention_norm(x_ND), cos_N1E, sin_N1E, mask, cache)
        x_ND = x_ND + _mlp(block.mlp, block.mlp_norm(x_ND))
    normed: Tensor = model.norm(x_ND)
    return normed[:, None]


def _attend(layer: Attention, x_ND: Tensor, cos_N1E: Tensor, sin_N1E: Tensor, mask: Tensor | None, cache: Cache) -> Tensor:
    heads, kv_heads, rows = layer.heads, layer.kv_heads, len(x_ND)
    both = heads + kv_heads
    all_NHE = layer.qkv(x_ND).view(rows, both + kv_heads, layer.width)
    turning = all_NHE[:, :both]
    if not isinstance(layer.q_norm, torch.nn.Identity):
        turning = torch.cat((layer.q_norm(turning[:, :heads]), layer.k_norm(turning[:, heads:])), dim=1)
    left, right = turning.chunk(2, dim=-1)
    # (-right, left) sin is (right, left) (-sin, sin): a change of sign rounds nothing.
    turned = (turning * cos_N1E).add_(torch.cat((right, left), dim=-1).mul_(sin_N1E))
    k, v = cache.update(layer.layer, turned[:, heads:, None], all_NHE[:, both:, None])
    q = turned[:, :heads].reshape(rows, kv_heads, -1, layer.width)
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    out: Tensor = layer.out(y.reshape(rows, -1))
    return out


def _mlp(layer: Mlp, x_ND: Tensor) -> Tensor:
    gate, up = layer.gate_up(x_ND).chunk(2, dim=-1)
    out: Tensor = layer.down(F.silu(gate).mul_(up))
    return out
