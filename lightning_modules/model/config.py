"""Shape of the decoder. No torch here: `tenet plan` reads this for a 400B model in milliseconds.

The shape is Qwen3's (RMSNorm, SwiGLU, RoPE, grouped-query attention, query-key norm, no biases); `qk_norm: false` gives
Llama's, with `qkv_bias: true` Qwen2's. All three load as they are in transformers, vLLM and llama.cpp's converter.
`hf_config.py` reads a `config.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lightning_modules.config import LoraConfig
from lightning_modules.model import rope
from lightning_modules.model.rope import RopeScaling, YarnScaling


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of one decoder.

    Args:
        vocab_size: entries of the token table.
        hidden_size: width of the residual stream.
        intermediate_size: inner width of the SwiGLU block.
        num_layers: transformer blocks.
        num_heads: query heads.
        num_kv_heads: key and value heads; must divide num_heads (GQA, arXiv:2305.13245).
        head_dim: width of one head.
        max_position_embeddings: longest context in tokens.
        rope_theta: base of the rotary frequencies (RoFormer, arXiv:2104.09864); larger for longer context.
        rms_norm_eps: epsilon of RMSNorm, written into the export because its default differs between libraries.
        tie_word_embeddings: share the token table with the output head.
        qk_norm: RMSNorm over each query and key head, as in Qwen3; false is Llama's shape.
        qkv_bias: biases of queries, keys and values, as in Qwen2.
        rope_scaling: longer wavelengths, by `rope_type`: llama3 (Llama 3.1) or yarn; none is plain RoPE.
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_position_embeddings: int
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6
    tie_word_embeddings: bool = True
    qk_norm: bool = True
    qkv_bias: bool = False
    rope_scaling: RopeScaling | YarnScaling | None = None

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden_size", "intermediate_size", "num_layers", "num_heads", "num_kv_heads", "head_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"model.{name} is {getattr(self, name)}; it must be at least 1")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"model.num_heads is {self.num_heads} and model.num_kv_heads is {self.num_kv_heads}: "
                "the first must be a multiple of the second"
            )
        if self.head_dim % 2:
            raise ValueError(f"model.head_dim is {self.head_dim}; rotary embeddings need an even width")
        if self.max_position_embeddings < 2:
            raise ValueError(f"model.max_position_embeddings is {self.max_position_embeddings}; it must be at least 2")
        if self.qk_norm and self.qkv_bias:
            raise ValueError(
                "model.qk_norm and model.qkv_bias are both true: no exchange format has that shape; set one to false"
            )

    def layer_parameters(self) -> int:
        """Parameters of one block."""
        attention = self.hidden_size * self.head_dim * (2 * self.num_heads + 2 * self.num_kv_heads)
        mlp = 3 * self.hidden_size * self.intermediate_size
        norms = 2 * self.hidden_size + (2 * self.head_dim if self.qk_norm else 0)
        biases = self.head_dim * (self.num_heads + 2 * self.num_kv_heads) if self.qkv_bias else 0
        return attention + biases + mlp + norms

    def projections(self) -> dict[str, tuple[int, int]]:
        """Matrices of a block under their names in exchange formats, as (outputs, inputs)."""
        queries, keys = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        wide = (self.intermediate_size, self.hidden_size)
        return {
            "q_proj": (queries, self.hidden_size),
            "k_proj": (keys, self.hidden_size),
            "v_proj": (keys, self.hidden_size),
            "o_proj": (self.hidden_size, queries),
            "gate_proj": wide,
            "up_proj": wide,
            "down_proj": wide[::-1],
        }

    def adapter_parameters(self, lora: LoraConfig) -> int:
        """Parameters of all adapters: rank x (outputs + inputs) a matrix."""
        return self.num_layers * lora.rank * sum(sum(self.projections()[name]) for name in lora.targets)

    def embedding_parameters(self) -> int:
        """Parameters of the token table and, where it is not shared, of the head."""
        return self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)

    def parameters(self) -> int:
        """All parameters."""
        return self.num_layers * self.layer_parameters() + self.embedding_parameters() + self.hidden_size

    def flops_per_token(self, context: int) -> float:
        """Training FLOPs (forward and backward) for one token at a context length, causal attention counted once.

        6 N for the matrices (Kaplan et al., arXiv:2001.08361; the token table counts only as the output head) and
        6 * layers * heads * head_dim * context for causal attention (half of the full square).
        """
        matrices = self.num_layers * self.layer_parameters() + self.vocab_size * self.hidden_size
        attention = self.num_layers * self.num_heads * self.head_dim * context
        return 6.0 * matrices + 6.0 * attention

    def kv_bytes_per_token(self, bytes_per_value: int = 2) -> int:
        """Key-value cache for one token of one sequence, in bytes."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * bytes_per_value

    def to_hf(self, **extra: Any) -> dict[str, Any]:
        """`config.json` of the Hugging Face layout.

        Both spellings of the rotary base and the dtype are written: transformers 5 reads `rope_parameters` and `dtype`,
        older readers fall back silently to a base of 10,000 when `rope_theta` is missing.
        """
        kind, name = ("qwen3", "Qwen3ForCausalLM") if self.qk_norm else ("llama", "LlamaForCausalLM")
        if self.qkv_bias:
            kind, name = "qwen2", "Qwen2ForCausalLM"
        scaled = rope.to_hf(self.rope_scaling)
        return {
            "architectures": [name],
            "model_type": kind,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "max_position_embeddings": self.max_position_embeddings,
            "rope_theta": self.rope_theta,
            "rope_parameters": {**scaled, "rope_theta": self.rope_theta},
            **({"rope_scaling": scaled} if self.rope_scaling else {}),
            "rms_norm_eps": self.rms_norm_eps,
            "tie_word_embeddings": self.tie_word_embeddings,
            **({} if self.qkv_bias else {"attention_bias": False, "mlp_bias": False}),  # a Qwen2's are no setting
            "hidden_act": "silu",
            "use_sliding_window": False,
            "initializer_range": 0.02,
            "torch_dtype": "float32",
            "dtype": "float32",
            **extra,
        }
