"""One token for each row: the decoder's own arithmetic in fewer calls.

At one row a step of a small model is several hundred operations of a few microseconds each, so what lies between them
counts: attributes of modules, hooks, views. The decoder's blocks are therefore written out once more for T = 1: queries
and keys turn together, the sign of the rotation lies in its table, the mask is made and the cache is cut once for all
layers. The results are `Decoder.forward`'s, bit for bit (tests/lightning_modules/test_step.py).

Shape letters: N rows, D hidden size, H query heads, K key-value heads, E width of a head, S cached positions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_modules.generation.cache import RowCache
from lightning_modules.generation.quantization import Int8Linear
from lightning_modules.model.decoder import Block, Decoder

Function = Callable[[Tensor], Tensor]


def is_plain(model: Decoder) -> bool:
    """Whether the blocks hold their weights themselves; FSDP2 puts classes of its own in their place."""
    return all(type(block) is Block for block in model.blocks)


class Step:
    """The step of one decoder, whose weights may change in place but not be replaced.

    Args:
        model: a plain decoder.
    """

    def __init__(self, model: Decoder) -> None:
        self._embedding, self._norm, self._rope = _function(model.embedding), _function(model.norm), model.rope
        self._layers = [_Layer(block) for block in model.blocks if isinstance(block, Block)]

    def __call__(
        self, ids_N: Tensor, positions_N: Tensor, mask_NS: Tensor | None, cache: RowCache, span: int, same: int | None = None
    ) -> Tensor:
        """Hidden states after the last norm, without gradients.

        Args:
            ids_N: the last token of each row of the cache, from its first row on.
            positions_N: its position.
            mask_NS: bool, true where a row may attend; None is everything.
            cache: keys and values of the rows.
            span: positions that are attended to.
            same: the position of all rows, where it is the same.

        Returns:
            [N, D].
        """
        x_ND = self._embedding(ids_N)
        cos_N1E, sin_N1E = self._rope(positions_N[:, None], x_ND.dtype)
        left, right = sin_N1E.chunk(2, dim=-1)
        sin_N1E = torch.cat((-left, right), dim=-1)
        mask = None
        if mask_NS is not None:
            mask = torch.zeros(mask_NS.shape, dtype=cache.k.dtype, device=mask_NS.device).masked_fill_(~mask_NS, float("-inf"))
            mask = mask[:, None, None]
        # One position for all needs no index, which costs more than the copy.
        where = same if same is not None else (torch.arange(len(ids_N), device=ids_N.device), slice(None), positions_N)
        kept = (tensor[:, : len(ids_N), :, :span].unbind() for tensor in (cache.k, cache.v))
        for layer, k_NKSE, v_NKSE in zip(self._layers, *kept, strict=True):
            x_ND = layer(x_ND, cos_N1E, sin_N1E, mask, where, k_NKSE, v_NKSE)
        return self._norm(x_ND)


class _Layer:
    """A block's functions, looked up once."""

    def __init__(self, block: Block) -> None:
        attention, mlp = block.attention, block.mlp
        self.heads, self.kv_heads, self.width = attention.heads, attention.kv_heads, attention.width
        self.attention_norm, self.mlp_norm = _function(block.attention_norm), _function(block.mlp_norm)
        self.q_norm, self.k_norm = _function(attention.q_norm), _function(attention.k_norm)
        self.turns_alike = isinstance(attention.q_norm, nn.Identity)
        self.qkv, self.out = _function(attention.qkv), _function(attention.out)
        self.gate_up, self.down = _function(mlp.gate_up), _function(mlp.down)

    def __call__(
        self,
        x_ND: Tensor,
        cos_N1E: Tensor,
        sin_N1E: Tensor,
        mask: Tensor | None,
        where: int | tuple[Tensor, slice, Tensor],
        k_NKSE: Tensor,
        v_NKSE: Tensor,
    ) -> Tensor:
        heads, both, rows = self.heads, self.heads + self.kv_heads, len(x_ND)
        all_NHE = self.qkv(self.attention_norm(x_ND)).view(rows, both + self.kv_heads, self.width)
        turning = all_NHE[:, :both]
        if not self.turns_alike:
            turning = torch.cat((self.q_norm(turning[:, :heads]), self.k_norm(turning[:, heads:])), dim=1)
        left, right = turning.chunk(2, dim=-1)
        # (-right, left) sin is (right, left) (-sin, sin): a change of sign rounds nothing.
        turned = (turning * cos_N1E).add_(torch.cat((right, left), dim=-1).mul_(sin_N1E))
        for kept, new in ((k_NKSE, turned[:, heads:]), (v_NKSE, all_NHE[:, both:])):
            if isinstance(where, int):
                kept[:, :, where].copy_(new)
            else:
                kept[where] = new.to(kept.dtype)
        q = turned[:, :heads].reshape(rows, self.kv_heads, -1, self.width).to(k_NKSE.dtype)
        y = F.scaled_dot_product_attention(q, k_NKSE, v_NKSE, attn_mask=mask)
        x_ND = x_ND + self.out(y.reshape(rows, -1))
        gate, up = self.gate_up(self.mlp_norm(x_ND)).chunk(2, dim=-1)
        return x_ND + self.down(F.silu(gate).mul_(up))


def _function(module: nn.Module) -> Function:
    """What a module computes, without the look for hooks around it and for the weight in it."""
    if type(module) is nn.Linear:
        return partial(_product if module.weight.dtype == torch.bfloat16 else F.linear, weight=module.weight, bias=module.bias)
    return module.product if isinstance(module, Int8Linear) else module.forward


def _product(x_NI: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """oneDNN adds a lone row of bf16 up in another order than rows in company, which costs no more."""
    return F.linear(x_NI.expand(2, -1), weight, bias)[:1] if len(x_NI) == 1 else F.linear(x_NI, weight, bias)
