"""Hugging Face layout in and out: safetensors only, the names that transformers, vLLM and llama.cpp's converter expect."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lightning_modules.model.config import ModelConfig
from lightning_modules.model.decoder import Decoder

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def to_hf_tensors(model: Decoder) -> dict[str, Tensor]:
    """State of the decoder under Hugging Face names; fused matrices are cut apart."""
    config = model.config
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    out = {"model.embed_tokens.weight": state["embedding.weight"], "model.norm.weight": state["norm.weight"]}
    if not config.tie_word_embeddings:
        out["lm_head.weight"] = state["head.weight"]
    sizes = [n * config.head_dim for n in (config.num_heads, config.num_kv_heads, config.num_kv_heads)]
    for i in range(config.num_layers):
        ours, theirs = f"blocks.{i}.", f"model.layers.{i}."
        q, k, v = state[ours + "attention.qkv.weight"].split(sizes)
        gate, up = state[ours + "mlp.gate_up.weight"].chunk(2)
        out |= {
            theirs + "self_attn.q_proj.weight": q,
            theirs + "self_attn.k_proj.weight": k,
            theirs + "self_attn.v_proj.weight": v,
            theirs + "self_attn.o_proj.weight": state[ours + "attention.out.weight"],
            theirs + "mlp.gate_proj.weight": gate,
            theirs + "mlp.up_proj.weight": up,
            theirs + "mlp.down_proj.weight": state[ours + "mlp.down.weight"],
            theirs + "input_layernorm.weight": state[ours + "attention_norm.weight"],
            theirs + "post_attention_layernorm.weight": state[ours + "mlp_norm.weight"],
        }
        if config.qk_norm:
            out[theirs + "self_attn.q_norm.weight"] = state[ours + "attention.q_norm.weight"]
            out[theirs + "self_attn.k_norm.weight"] = state[ours + "attention.k_norm.weight"]
    return {name: tensor.contiguous().clone() for name, tensor in out.items()}


def from_hf_tensors(config: ModelConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_hf_tensors`.

    Raises:
        ValueError: names the first tensor that is missing or has another shape.
    """
    missing: list[str] = []

    def take(name: str) -> Tensor:
        if name not in tensors:
            missing.append(name)
            return torch.empty(0)
        return tensors[name]

    state = {"embedding.weight": take("model.embed_tokens.weight"), "norm.weight": take("model.norm.weight")}
    state["head.weight"] = state["embedding.weight"] if config.tie_word_embeddings else take("lm_head.weight")
    for i in range(config.num_layers):
        ours, theirs = f"blocks.{i}.", f"model.layers.{i}."
        state |= {
            ours + "attention.qkv.weight": torch.cat([take(f"{theirs}self_attn.{x}_proj.weight") for x in "qkv"]),
            ours + "attention.out.weight": take(theirs + "self_attn.o_proj.weight"),
            ours + "mlp.gate_up.weight": torch.cat([take(f"{theirs}mlp.{x}_proj.weight") for x in ("gate", "up")]),
            ours + "mlp.down.weight": take(theirs + "mlp.down_proj.weight"),
            ours + "attention_norm.weight": take(theirs + "input_layernorm.weight"),
            ours + "mlp_norm.weight": take(theirs + "post_attention_layernorm.weight"),
        }
        if config.qk_norm:
            state[ours + "attention.q_norm.weight"] = take(theirs + "self_attn.q_norm.weight")
            state[ours + "attention.k_norm.weight"] = take(theirs + "self_attn.k_norm.weight")
    if missing:
        raise ValueError(f"model.safetensors lacks {missing[0]} ({len(missing)} tensors missing); does config.json belong to it?")
    return state


def save_model(model: Decoder, folder: Path, tokenizer: Path, stop_ids: tuple[int, ...], pad_id: int) -> None:
    """Write a folder that transformers, vLLM and the endpoint load.

    Args:
        model: on any device, any precision; written in its own precision.
        folder: made if missing; files already there under these names are replaced.
        tokenizer: folder whose tokenizer files are copied.
        stop_ids: ids that end an answer, written to generation_config.json.
        pad_id: id used for padding.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.cpu() for name, tensor in to_hf_tensors(model).items()}
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    ids = {"bos_token_id": None, "eos_token_id": list(stop_ids), "pad_token_id": pad_id}
    _replace(folder / "model.safetensors", lambda path: save_tensors(tensors, path, {"format": "pt"}))
    _json(folder / "config.json", model.config.to_hf(**{**ids, "eos_token_id": stop_ids[0]}, torch_dtype=dtype, dtype=dtype))
    _json(folder / "generation_config.json", {**ids, "do_sample": False})
    for name in TOKENIZER_FILES:
        if (tokenizer / name).is_file() and tokenizer.resolve() != folder.resolve():
            _replace(folder / name, lambda path, name=name: shutil.copyfile(tokenizer / name, path))


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """A safetensors file that whoever may read its neighbours may read; the library's own are their owner's alone."""
    path.touch()
    mode = path.stat().st_mode
    save_file(tensors, path, metadata=metadata)
    path.chmod(mode)


def load_model(folder: str | Path, dtype: torch.dtype = torch.float32) -> Decoder:
    """Read a Hugging Face folder of the Qwen3 or Llama shape, in one file or in shards.

    Raises:
        FileNotFoundError: config.json or weights are missing.
        ValueError: another shape, or weights that do not belong to config.json.
    """
    folder = Path(folder)
    try:
        config = ModelConfig.from_hf(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise ValueError(f"{folder / 'config.json'}: not valid JSON ({error})") from None
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder}: no *.safetensors file; only safetensors are loaded, never pickles")
    tensors: dict[str, Tensor] = {}
    for file in files:
        try:
            tensors |= load_file(file)
        except Exception as error:  # safetensors raises its own untyped errors for broken headers
            raise ValueError(f"{file}: not a readable safetensors file ({error}); copy it again") from error
    with torch.device("meta"):
        model = Decoder(config)
    state = {name: tensor.to(dtype) for name, tensor in from_hf_tensors(config, tensors).items()}
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, shape in expected.items():
        if tuple(state[name].shape) != shape:
            raise ValueError(f"{folder}: {name} has shape {tuple(state[name].shape)}, config.json asks for {shape}")
    model.load_state_dict(state, assign=True)
    if config.tie_word_embeddings:
        model.head.weight = model.embedding.weight
    return model.eval()


def _replace(path: Path, write: Any) -> None:
    """Write under a temporary name, then rename."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _json(path: Path, value: dict[str, Any]) -> None:
    _replace(path, lambda p: p.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8"))
