"""A Hugging Face `config.json` as the shape of a decoder, or a sentence that says why not.

Whatever changes what is computed is computed or refused by name; nothing is loaded nearly right. The measure is what
transformers computes from the same folder (tests/lightning_modules/test_model_folders.py). No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lightning_modules.model import rope
from lightning_modules.model.config import ModelConfig
from lightning_modules.model.errors import ModelFolderError
from lightning_modules.model.rope import number, short

Json = dict[str, Any]


@dataclass(frozen=True)
class Family:
    """A `model_type` that the decoder computes, with what transformers assumes where its `config.json` is silent.

    Args:
        architecture: the class whose weights these are; a classifier's or an encoder's have another head.
        qk_norm, qkv_bias: see `ModelConfig`.
        kv_heads, head_dim: assumed where the key is missing; None is one key head a query head, and `hidden_size /
            heads`.
        window: assumed for a missing `sliding_window`.
        switched: the window counts only where `use_sliding_window` is true.
    """

    architecture: str
    qk_norm: bool = False
    qkv_bias: bool = False
    kv_heads: int | None = None
    head_dim: int | None = None
    window: int | None = None
    switched: bool = False


FAMILIES = {
    "llama": Family("LlamaForCausalLM"),
    "mistral": Family("MistralForCausalLM", kv_heads=8, window=4096),
    "qwen2": Family("Qwen2ForCausalLM", qkv_bias=True, kv_heads=32, window=4096, switched=True),
    "qwen3": Family("Qwen3ForCausalLM", qk_norm=True, kv_heads=32, head_dim=128, window=4096, switched=True),
}

#: Read below, one by one.
READ = """
    model_type architectures vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads head_dim
    max_position_embeddings rope_theta rope_scaling rope_parameters rms_norm_eps tie_word_embeddings sliding_window use_sliding_window
    max_window_layers layer_types attention_bias
"""
#: Why a key changes no logit -> the keys. None is read by the four architectures when they answer.
HARMLESS = {
    "which tokens begin, end and pad; read by the tokenizer and by generation_config.json": """
        bos_token_id eos_token_id pad_token_id unk_token_id sep_token_id decoder_start_token_id bos_token eos_token pad_token
        unk_token tokenizer_class tokenizer_fingerprint model_max_length max_sequence_length""",
    "how the file came to be, and a number format that each tensor says itself": """
        _name_or_path name_or_path _commit_hash transformers_version torch_dtype dtype unsloth_version unsloth_fixed
        transformers.js_config is_llama_config""",
    "how a model is trained, initialised or cut; dropout is off in answers, and training has settings of its own here": """
        initializer_range attention_dropout hidden_dropout dropout embd_pdrop resid_pdrop pretraining_tp gradient_checkpointing""",
    "which kernel computes the same thing": """
        _attn_implementation attn_implementation _attn_implementation_autoset _flash_attn_2_enabled use_flash_attention torchscript
        use_bfloat16 chunk_size_feed_forward use_cache""",
    "what a call returns beside logits": "output_attentions output_hidden_states output_scores return_dict return_dict_in_generate is_decoder",
    "defaults of `generate` that older versions wrote here": """
        max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p typical_p
        repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids num_return_sequences
        forced_bos_token_id forced_eos_token_id remove_invalid_values suppress_tokens begin_suppress_tokens
        exponential_decay_length_penalty prefix tf_legacy_loss""",
    "names of classes: there is no classifier here": """
        id2label label2id num_labels problem_type finetuning_task task_specific_params""",
}
#: Keys that would change what is computed, with the values at which they do not.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish"),
    "mlp_bias": (False, None),
    "partial_rotary_factor": (1, 1.0, None),
    "rope_interleaved": (False, None),
    "use_mrope": (False, None),
    "embedding_multiplier": (1, 1.0, None),
    "residual_multiplier": (1, 1.0, None),
    "attention_multiplier": (None,),
    "logits_scaling": (1, 1.0, None),
    "logit_scale": (1, 1.0, None),
    "final_logit_softcapping": (None,),
    "attn_logit_softcapping": (None,),
    "query_pre_attn_scalar": (None,),
    "quantization_config": (None,),
    "compression_config": (None,),
    "auto_map": (None, {}),
    "is_encoder_decoder": (False, None),
    "add_cross_attention": (False, None),
    "pruned_heads": (None, {}),
}
KNOWN = frozenset(NEUTRAL) | frozenset(" ".join((READ, *HARMLESS.values())).split())
#: What a refusal says beside key and value.
WHY = {
    "hidden_act": "the decoder computes silu alone",
    "quantization_config": "the weights are stored quantised; load a folder in bf16, fp16 or fp32",
    "compression_config": "the weights are stored compressed; load a folder in bf16, fp16 or fp32",
    "auto_map": "the folder brings code of its own, which is never run",
    "is_encoder_decoder": "only decoders can be loaded",
}


def from_hf(hf: Json) -> ModelConfig:
    """The shape that a `config.json` describes.

    Raises:
        ModelFolderError: names the key that cannot be computed, its value and what can be.
    """
    kind = hf.get("model_type")
    if kind not in FAMILIES:
        raise ModelFolderError(f"config.json has model_type {kind!r}; what can be loaded is {', '.join(FAMILIES)}")
    family = FAMILIES[kind]
    _refuse(hf, kind, family)
    heads, positions = _count(hf, "num_attention_heads"), _count(hf, "max_position_embeddings")
    layers = _count(hf, "num_hidden_layers")
    _refuse_window(hf, family, positions, layers)
    theta, scaling = rope.from_hf(hf, positions)
    try:
        return ModelConfig(
            vocab_size=_count(hf, "vocab_size"),
            hidden_size=_count(hf, "hidden_size"),
            intermediate_size=_count(hf, "intermediate_size"),
            num_layers=layers,
            num_heads=heads,
            num_kv_heads=_count(hf, "num_key_value_heads", family.kv_heads or heads, heads),
            head_dim=_count(hf, "head_dim", family.head_dim or hf["hidden_size"] // heads, hf["hidden_size"] // heads),
            max_position_embeddings=positions,
            rope_theta=theta,
            rms_norm_eps=number(hf.get("rms_norm_eps", 1e-6), "rms_norm_eps"),
            tie_word_embeddings=_truth(hf, "tie_word_embeddings"),
            qk_norm=family.qk_norm,
            qkv_bias=family.qkv_bias,
            rope_scaling=scaling,
        )
    except ModelFolderError:
        raise
    except ValueError as error:
        raise ModelFolderError(f"config.json: {error}") from None


def unknown_keys(hf: Json) -> list[str]:
    """Keys that nobody here knows and that are switched off (null, false, 0 or empty): passed over, but not in
    silence."""
    return sorted(key for key in hf if key not in KNOWN and not hf[key])


def _refuse(hf: Json, kind: str, family: Family) -> None:
    named = hf.get("architectures") or [family.architecture]
    if named != [family.architecture]:
        raise ModelFolderError(
            f"config.json has architectures {named!r}; of model_type {kind} only {family.architecture} can be loaded"
        )
    for key, values in NEUTRAL.items():
        if key in hf and hf[key] not in values:
            why = WHY.get(
                key, f"only {values[0]!r} can be computed" if values[0] is not None else "the decoder does not compute it"
            )
            raise ModelFolderError(f"config.json has {key} {short(hf[key])}: {why}")
    # Qwen2's queries, keys and values always have biases, whatever is written; the other families' setting adds one to
    # the output too.
    bias = hf.get("attention_bias")
    if bias is not None and bool(bias) != family.qkv_bias:
        says = "has biases" if family.qkv_bias else "is computed without biases"
        raise ModelFolderError(f"config.json has attention_bias {bias!r}: a {kind} {says}, and only so can it be loaded")
    strange = {key: value for key, value in hf.items() if value and key not in KNOWN}
    if strange:
        listed = ", ".join(f"{key} {short(value)}" for key, value in sorted(strange.items()))
        raise ModelFolderError(
            f"config.json has {listed}: not known here, and it may change what is computed; if it does not, delete it from a copy of the folder"
        )


def _refuse_window(hf: Json, family: Family, positions: int, layers: int) -> None:
    """Attention to the last tokens alone is not computed; a window that no text outgrows is none."""
    types = hf.get("layer_types") or []
    other = sorted({str(name) for name in types} - {"full_attention", "sliding_attention"})
    if other:
        raise ModelFolderError(f"config.json has layer_types {', '.join(other)}; only full_attention can be computed")
    window = hf.get("sliding_window", family.window)
    if family.switched and not hf.get("use_sliding_window"):
        window = None
    # A Mistral's window is every layer's; a Qwen's is that of the layers named, or of those from max_window_layers on.
    slides = not family.switched or "sliding_attention" in types or (not types and hf.get("max_window_layers", 28) < layers)
    if "sliding_attention" in types and window is None:
        raise ModelFolderError(
            "config.json has sliding_attention in layer_types and no sliding_window in use; write full_attention in a copy"
        )
    if window is not None and slides and window < positions:
        raise ModelFolderError(
            f"config.json has sliding_window {window} and max_position_embeddings {positions}: attention to a window is not computed. "
            f"Up to {window} tokens it makes no difference: set max_position_embeddings to {window} in a copy of the folder"
        )


def _count(hf: Json, key: str, missing: int | None = None, null: int | None = None) -> int:
    """A whole number above 0; `missing` stands for a key that is not there, `null` for one without a value."""
    value = hf.get(key, missing)
    value = null if value is None else value
    if value is None:
        raise ModelFolderError(f"config.json lacks {key}")
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ModelFolderError(f"config.json has {key} {value!r}; it must be a whole number above 0")
    return value


def _truth(hf: Json, key: str) -> bool:
    value = hf.get(key)
    if value not in (True, False, None):
        raise ModelFolderError(f"config.json has {key} {value!r}; it must be true or false")
    return bool(value)
