"""Adapters as the folder that `peft` loads beside the base model: adapter_config.json and adapter_model.safetensors."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from lightning_modules.model.decoder import Decoder
from lightning_modules.model.hub import save_tensors
from lightning_modules.model.lora import adapted
from lightning_modules.model.tensors import check_finite
from lightning_modules.model.tokenizer_files import replace

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def adapter_tensors(model: Decoder) -> dict[str, Tensor]:
    """A [rank, inputs] and B [outputs, rank] of each adapter under peft's names; empty where there are none."""
    out: dict[str, Tensor] = {}
    for i, block in enumerate(model.blocks):
        for part in adapted(block):
            for adapter in part.adapters():
                room = "self_attn" if adapter.target in ("q_proj", "k_proj", "v_proj", "o_proj") else "mlp"
                name = f"base_model.model.model.layers.{i}.{room}.{adapter.target}"
                out[f"{name}.lora_A.weight"] = adapter.a_RI.cpu().contiguous().clone()
                out[f"{name}.lora_B.weight"] = adapter.b_OR.cpu().contiguous().clone()
    return out


def save_adapter(model: Decoder, folder: Path, base: str) -> None:
    """Write the adapters of a model.

    Args:
        model: with adapters.
        folder: made if missing.
        base: what the adapters lie on, as peft's `base_model_name_or_path` has it.

    Raises:
        NotFinite: a number of an adapter is none; nothing is written.
    """
    tensors, parts = adapter_tensors(model), adapted(model)
    check_finite(tensors, f"{folder / WEIGHTS}: not written")
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": parts[0].rank,
        "lora_alpha": parts[0].scale * parts[0].rank,
        "target_modules": sorted({target for part in parts for target in part.targets}),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "inference_mode": True,
    }
    replace(folder / WEIGHTS, lambda path: save_tensors(tensors, path, {"format": "pt"}))
    replace(folder / CONFIG, lambda path: path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8"))
