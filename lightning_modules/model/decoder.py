"""The decoder: Qwen3's shape, about 200 lines, read from top to bottom in call order.

Shape letters: B rows, T tokens, D hidden size, H query heads, K key-value heads, E width of a head, V vocabulary, S
cached positions. Queries, keys and values are one matrix, gate and up another: half as many calls, which is what counts
on a CPU at small widths. `hub.py` cuts them apart for the exchange format.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from lightning_modules.model.config import ModelConfig


class Cache(Protocol):
    """Keys and values of earlier tokens; `update` stores the new ones of a layer and returns all that may be attended
    to."""

    def update(self, layer: int, k_BKTE: Tensor, v_BKTE: Tensor) -> tuple[Tensor, Tensor]:
        """Store and return [B, K, S, E]."""
        ...


class RMSNorm(nn.Module):
    """Root mean square norm (arXiv:1910.07467)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rotate(x_BHTE: Tensor, cos_BTE: Tensor, sin_BTE: Tensor) -> Tensor:
    """Rotary position embedding, half rotation as in Hugging Face checkpoints: the pair of channel i is channel i +
    E/2."""
    left, right = x_BHTE.chunk(2, dim=-1)
    return x_BHTE * cos_BTE.unsqueeze(1) + torch.cat((-right, left), dim=-1) * sin_BTE.unsqueeze(1)


class Attention(nn.Module):
    """Grouped-query attention, with query-key norm or biases where the shape has them."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.heads, self.kv_heads, self.width = layer, config.num_heads, config.num_kv_heads, config.head_dim
        self.qkv = nn.Linear(config.hidden_size, (self.heads + 2 * self.kv_heads) * self.width, bias=config.qkv_bias)
        self.out = nn.Linear(self.heads * self.width, config.hidden_size, bias=False)
        self.q_norm = RMSNorm(self.width, config.rms_norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(self.width, config.rms_norm_eps) if config.qk_norm else nn.Identity()

    def forward(self, x_BTD: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None, cache: Cache | None) -> Tensor:
        B, T, _ = x_BTD.shape
        heads = self.qkv(x_BTD).view(B, T, self.heads + 2 * self.kv_heads, self.width)
        q, k, v = heads.split((self.heads, self.kv_heads, self.kv_heads), dim=2)
        q = rotate(self.q_norm(q).transpose(1, 2), *rope)
        k = rotate(self.k_norm(k).transpose(1, 2), *rope)
        v = v.transpose(1, 2)
        if cache is not None:
            k, v = cache.update(self.layer, k, v)
            q = q.to(k.dtype)  # a cache may be of a smaller type
        if T == 1:
            # The query heads of a group stand where tokens would: keys are read once for all of them, in place. On a
            # CPU this is seven times as fast at 16 rows in bf16 as expanding the keys.
            y = F.scaled_dot_product_attention(q.view(B, self.kv_heads, -1, self.width), k, v, attn_mask=mask)
            return self.out(y.reshape(B, 1, -1))
        # Expanding by hand keeps the fused CPU kernel, which enable_gqa does not reach.
        k, v = self._expand(k), self._expand(v)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
        return self.out(y.transpose(1, 2).reshape(B, T, -1))

    def _expand(self, x_BKSE: Tensor) -> Tensor:
        groups = self.heads // self.kv_heads
        return x_BKSE if groups == 1 else x_BKSE.repeat_interleave(groups, dim=1)


class Mlp(nn.Module):
    """SwiGLU (arXiv:2002.05202)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


#: Kept under selective recomputation: the results of matrix products and of attention, which are what takes time.
KEPT = (
    torch.ops.aten.mm.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
)


class Block(nn.Module):
    """Pre-norm transformer block.

    `recompute` says what the backward pass computes again instead of keeping it: "none", "selective" (norms, rotations
    and the SwiGLU product; matrix products and attention stay, arXiv:2205.05198) or "full" (everything but the block's
    input).
    """

    recompute: Literal["none", "selective", "full"] = "none"

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = Attention(config, layer)
        self.mlp_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None, cache: Cache | None) -> Tensor:
        if self.recompute == "none" or not torch.is_grad_enabled():
            return self._compute(x, rope, mask, cache)
        # Nothing here draws random numbers, so their state need not be kept.
        options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
        if self.recompute == "selective":
            options["context_fn"] = partial(create_selective_checkpoint_contexts, list(KEPT))
        return checkpoint(self._compute, x, rope, mask, cache, **options)

    def _compute(self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None, cache: Cache | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rope, mask, cache)
        return x + self.mlp(self.mlp_norm(x))


class Decoder(nn.Module):
    """Token ids to hidden states; `logits` is apart so that a loss can ask for the few positions it needs.

    Args:
        config: the shape. Build under `torch.device("meta")` to have it without memory.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.head.weight = self.embedding.weight

    def initialise(self, seed: int) -> Decoder:
        """Normal weights with 1/sqrt(fan in); what writes into the residual stream is scaled down by depth (GPT-2's
        rule)."""
        generator = torch.Generator().manual_seed(seed)
        residual = (2 * self.config.num_layers) ** -0.5
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
                continue
            scale = 0.02 if "embedding" in name or "head" in name else parameter.shape[1] ** -0.5
            if name.endswith(("out.weight", "down.weight")):
                scale *= residual
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
        return self

    def rope(self, positions_BT: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines [B, T, E] of the rotary angles, computed in fp32."""
        half = torch.arange(0, self.config.head_dim, 2, device=positions_BT.device, dtype=torch.float32)
        theta, width, scaling = self.config.rope_theta, self.config.head_dim, self.config.rope_scaling
        inverse = theta ** -(half / width)
        if scaling:
            kept = torch.tensor(scaling.kept(theta, width), device=inverse.device)
            inverse = inverse * (kept + (1 - kept) / scaling.factor)
        angles = positions_BT.float().unsqueeze(-1) * inverse
        angles = torch.cat((angles, angles), dim=-1)
        if scaling and scaling.sharper != 1:
            return (angles.cos() * scaling.sharper).to(dtype), (angles.sin() * scaling.sharper).to(dtype)
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def forward(
        self, ids_BT: Tensor, positions_BT: Tensor | None = None, mask: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """Hidden states after the last norm.

        Args:
            ids_BT: token ids.
            positions_BT: position of each token in its own document; counted from 0 when left out.
            mask: bool [B, 1, T, S], true where a query may attend; None is causal over the row.
            cache: keys and values of earlier tokens.

        Returns:
            [B, T, D].
        """
        if positions_BT is None:
            positions_BT = torch.arange(ids_BT.shape[1], device=ids_BT.device).expand_as(ids_BT)
        x = self.embedding(ids_BT)
        rope = self.rope(positions_BT, x.dtype)
        for block in self.blocks:
            x = block(x, rope, mask, cache)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores over the vocabulary: [..., D] to [..., V]."""
        return self.head(hidden)
