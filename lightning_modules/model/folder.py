"""Whether a folder is a model that can be loaded exactly, known from its JSON files and the headers of its weights. No
torch here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning_modules.model.config import ModelConfig
from lightning_modules.model.errors import ModelFolderError
from lightning_modules.model.hf_config import from_hf, unknown_keys
from lightning_modules.model.tokenizer_files import fingerprint, read_json
from lightning_modules.model.weights import WeightFiles, check_shapes, find_weights, read_headers


def read_config(folder: Path) -> ModelConfig:
    """The shape of a model folder; what the folder says of its tokenizer must hold.

    Raises:
        ModelFolderError: no config.json, one that cannot be computed, or a tokenizer.json that is not the model's.
    """
    hf = _config(folder)
    try:
        config = from_hf(hf)
    except ModelFolderError as error:  # begins with the name of the file
        raise ModelFolderError(f"{folder}/{error}") from None
    known, found = hf.get("tokenizer_fingerprint"), fingerprint(folder)
    if known and found and known != found:
        raise ModelFolderError(
            f"{folder / 'tokenizer.json'}: not the tokenizer that the model was trained with (config.json has tokenizer_fingerprint {known[:12]}..., "
            f"this one is {found[:12]}...); its token ids mean something else. Put the model's own back"
        )
    return config


def check_model(folder: str | Path) -> list[str]:
    """Whether `load_model` will take the folder, from the headers alone: what is wrong is known before gigabytes are
    read.

    Returns:
        what is passed over, in words: files that nothing names, keys that nobody knows and that are switched off.

    Raises:
        ModelFolderError: as `load_model`, but for the values of the weights.
    """
    return checked(Path(folder))[2]


def checked(folder: Path) -> tuple[ModelConfig, WeightFiles, list[str]]:
    """Shape, files and what `check_model` returns.

    Raises:
        ModelFolderError: as `check_model`.
    """
    config, weights = read_config(folder), find_weights(folder)
    if (folder / "adapter_config.json").is_file():
        raise ModelFolderError(
            f"{folder / 'adapter_config.json'}: an adapter (LoRA) lies on these weights and is not computed; merge it into them, or move it away"
        )
    where = weights.files[0] if len(weights.files) == 1 else folder
    check_shapes(config, read_headers(weights), str(where))
    notes = [f"{folder / name}: not read; nothing says that it belongs to the model" for name in weights.ignored]
    notes += [f"{folder / 'config.json'}: {key} is not known here and switched off" for key in unknown_keys(_config(folder))]
    return config, weights, notes


def _config(folder: Path) -> dict[str, Any]:
    if not (folder / "config.json").is_file():
        raise ModelFolderError(f"{folder / 'config.json'}: no such file; give a folder in Hugging Face layout")
    return read_json(folder / "config.json")
