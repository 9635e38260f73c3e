"""Hugging Face layout in and out: safetensors only, the names that transformers, vLLM and llama.cpp's converter
expect."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from lightning_modules.model.config import ModelConfig
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.folder import checked
from lightning_modules.model.lora import merged
from lightning_modules.model.tensors import check_finite, check_tied, read_tensors
from lightning_modules.model.tokenizer_files import copy_tokenizer_files, fingerprint, replace, special_tokens, token_id
from lightning_modules.model.weights import HEAD, TABLE, WHOLE, check_shapes

log = logging.getLogger(__name__)


def to_hf_tensors(model: Decoder) -> dict[str, Tensor]:
    """State of the decoder under Hugging Face names; fused matrices are cut apart, adapters merged."""
    config = model.config
    state = {name: tensor.detach() for name, tensor in merged(model).state_dict().items()}
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
        if config.qkv_bias:
            biases = state[ours + "attention.qkv.bias"].split(sizes)
            out |= {f"{theirs}self_attn.{x}_proj.bias": bias for x, bias in zip("qkv", biases, strict=True)}
        if config.qk_norm:
            out[theirs + "self_attn.q_norm.weight"] = state[ours + "attention.q_norm.weight"]
            out[theirs + "self_attn.k_norm.weight"] = state[ours + "attention.k_norm.weight"]
    return {name: tensor.contiguous().clone() for name, tensor in out.items()}


def from_hf_tensors(config: ModelConfig, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_hf_tensors`.

    Raises:
        ModelFolderError: names the first tensor that is missing, left over, of another shape or not what it is tied to.
    """
    check_shapes(config, {name: tuple(tensor.shape) for name, tensor in tensors.items()}, "the model")
    if config.tie_word_embeddings:
        check_tied(tensors, "the model")
    state = {"embedding.weight": tensors[TABLE], "norm.weight": tensors["model.norm.weight"]}
    state["head.weight"] = tensors[TABLE if config.tie_word_embeddings else HEAD]
    for i in range(config.num_layers):
        ours, theirs = f"blocks.{i}.", f"model.layers.{i}."
        state |= {
            ours + "attention.qkv.weight": torch.cat([tensors[f"{theirs}self_attn.{x}_proj.weight"] for x in "qkv"]),
            ours + "attention.out.weight": tensors[theirs + "self_attn.o_proj.weight"],
            ours + "mlp.gate_up.weight": torch.cat([tensors[f"{theirs}mlp.{x}_proj.weight"] for x in ("gate", "up")]),
            ours + "mlp.down.weight": tensors[theirs + "mlp.down_proj.weight"],
            ours + "attention_norm.weight": tensors[theirs + "input_layernorm.weight"],
            ours + "mlp_norm.weight": tensors[theirs + "post_attention_layernorm.weight"],
        }
        if config.qkv_bias:
            state[ours + "attention.qkv.bias"] = torch.cat([tensors[f"{theirs}self_attn.{x}_proj.bias"] for x in "qkv"])
        if config.qk_norm:
            state[ours + "attention.q_norm.weight"] = tensors[theirs + "self_attn.q_norm.weight"]
            state[ours + "attention.k_norm.weight"] = tensors[theirs + "self_attn.k_norm.weight"]
    return state


def save_model(model: Decoder, folder: Path, tokenizer: Path, stop_ids: tuple[int, ...], pad_id: int) -> None:
    """Write a folder that transformers, vLLM and the endpoint load.

    Args:
        model: on any device, any precision; written in its own precision.
        folder: made if missing; files already there under these names are replaced.
        tokenizer: folder whose tokenizer files are copied.
        stop_ids: ids that end an answer, written to generation_config.json.
        pad_id: id used for padding.

    Raises:
        ModelFolderError: a weight is NaN or infinite; nothing is written.
    """
    tensors = {name: tensor.cpu() for name, tensor in to_hf_tensors(model).items()}
    check_finite(tensors, f"{folder / WHOLE}: not written")
    folder.mkdir(parents=True, exist_ok=True)
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    begin = token_id(tokenizer, special_tokens(tokenizer).get("bos_token"))
    ids = {"bos_token_id": begin, "eos_token_id": list(stop_ids), "pad_token_id": pad_id}
    mark = {"tokenizer_fingerprint": fingerprint(tokenizer)} if (tokenizer / "tokenizer.json").is_file() else {}
    replace(folder / WHOLE, lambda path: save_tensors(tensors, path, {"format": "pt"}))
    _json(
        folder / "config.json", model.config.to_hf(**{**ids, "eos_token_id": stop_ids[0]}, torch_dtype=dtype, dtype=dtype, **mark)
    )
    _json(folder / "generation_config.json", {**ids, "do_sample": False})
    copy_tokenizer_files(tokenizer, folder)


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """A safetensors file that whoever may read its neighbours may read; the library's own are their owner's alone.

    The same tensors and metadata are the same bytes: the library writes metadata in another order in each process.
    """
    path.touch()
    mode = path.stat().st_mode
    save_file(tensors, path, metadata=metadata)
    if len(metadata) > 1:
        _in_order(path, metadata)
    path.chmod(mode)


def _in_order(path: Path, metadata: dict[str, str]) -> None:
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(metadata.items()))
        settled = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
        if len(settled) != size:
            raise ValueError(
                f"{path}: its header has {size} bytes and {len(settled)} with its metadata in order; nothing was changed"
            )
        file.seek(8)
        file.write(settled)


def load_model(folder: str | Path, dtype: torch.dtype = torch.float32) -> Decoder:
    """Read a Hugging Face folder whose `model_type` is one of `hf_config.FAMILIES`, in one file or in shards.

    Raises:
        ModelFolderError: something is missing, or would not be computed exactly; names the file, the key or tensor and
            the way out.
    """
    config, weights, notes = checked(Path(folder))
    for note in notes:
        log.warning("%s", note)
    with torch.device("meta"):
        model = Decoder(config)
    model.load_state_dict(from_hf_tensors(config, read_tensors(weights, dtype)), assign=True)
    if config.tie_word_embeddings:
        model.head.weight = model.embedding.weight
    return model.eval()


def _json(path: Path, value: dict[str, Any]) -> None:
    replace(path, lambda p: p.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8"))
