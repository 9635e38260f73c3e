"""Which engine answers: one function makes any of them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal, get_args

from lightning_modules.generation.protocol import Engine
from tenet.errors import ConfigError

Name = Literal["torch", "echo", "openvino", "vllm"]
NAMES: tuple[str, ...] = get_args(Name)
#: Bytes that the key-value cache may take; a longer context gets fewer tokens a slot.
CACHE_BYTES = 4 << 30
#: Bytes of it for prompts that may come again.
PREFIX_BYTES = 512 << 20
#: Prompt tokens between two steps of decoding: more keeps running answers waiting, fewer makes prompts slower.
PREFILL_TOKENS = 512


def make_engine(
    name: str, folder: Path | None = None, dtype: str = "fp32", max_slots: int = 16, threads: int = 0, process: bool = False
) -> Engine:
    """An engine with its weights loaded.

    Args:
        name: one of `NAMES`.
        folder: config.json, *.safetensors, tokenizer.json; not read by echo.
        dtype: weight format: fp32, bf16 or int8 (torch), fp32 or bf16 (vllm); openvino computes in its file's own.
        max_slots: requests decoded at once.
        threads: CPU threads; 0 keeps the engine's own choice.
        process: in a process of its own, see `process.ProcessEngine`.

    Raises:
        ConfigError: unknown name or dtype, or the package of that engine is not installed.
    """
    if name not in NAMES:
        raise ConfigError(f"engine {name!r} is unknown; choose one of {', '.join(NAMES)}")
    if process:
        from tenet.serving.engines.process import ProcessEngine

        return ProcessEngine(partial(make_engine, name, folder, dtype, max_slots, threads))
    if name == "echo":
        from tenet.serving.engines.echo import EchoEngine

        return EchoEngine(max_slots)
    if folder is None:
        raise ConfigError(f"engine {name} needs a model folder")
    if name == "torch":
        return _torch(folder, dtype, max_slots, threads)
    if name == "openvino":
        from tenet.serving.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(folder, max_slots, threads)
    from tenet.serving.engines.vllm import VllmEngine

    return VllmEngine(folder, dtype, max_slots)


def _torch(folder: Path, dtype: str, max_slots: int, threads: int) -> Engine:
    import torch

    from lightning_modules.data.chat import ChatTokenizer
    from lightning_modules.generation.engine import SlotEngine
    from lightning_modules.generation.grammar import Grammars
    from lightning_modules.generation.quantization import FORMATS, convert
    from lightning_modules.model.hub import load_model

    if dtype not in FORMATS:
        raise ConfigError(f"dtype {dtype!r} is unknown; the torch engine has {', '.join(FORMATS)}")
    if threads:
        torch.set_num_threads(threads)
    model, text = convert(load_model(folder), dtype), ChatTokenizer.from_folder(folder)
    if dtype != "int8" and torch.cuda.is_available():  # the int8 kernels are the CPU's
        model = model.to("cuda")
    token_bytes = model.config.kv_bytes_per_token(model.embedding.weight.element_size())
    context = max(2, min(model.config.max_position_embeddings, CACHE_BYTES // (max_slots * token_bytes)))
    grammars = Grammars(text.tokenizer, model.config.vocab_size, text.stop_ids)
    # No more blocks than all rows could fill eight times: a tiny model would keep a million tokens otherwise.
    prefix = min(PREFIX_BYTES // token_bytes, 8 * max_slots * context)
    return SlotEngine(model, max_slots, context, PREFILL_TOKENS, prefix, grammars)
