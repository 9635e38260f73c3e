"""The engine beside transformers.generate, token by token, on real weights where the package that brings them is
installed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.generation.engine import generate
from lightning_modules.generation.protocol import Sampling
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.hub import save_model
from tenet.errors import ConfigError
from tenet.smollm2 import smollm2, smollm2_file
from tests.lightning_modules.tiny import tiny_model, tiny_tokenizer

QUESTIONS = ["List three fruits.", "What is the capital of France, and why is it known?", "Write a haiku about rain.", "2 + 2 ="]


def load(folder: Path) -> tuple[Decoder, Any, list[list[int]]]:
    """SmolLM2-135M here and in transformers with some questions; a small random model, and a warning, where the package
    is missing."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        file = smollm2_file()
        pytest.importorskip("gguf")
    except (ConfigError, pytest.skip.Exception) as error:
        warnings.warn(f"a small random model in the place of SmolLM2-135M: {error}", stacklevel=1)
        text = tiny_tokenizer()
        text.tokenizer.save(str(folder / "tokenizer.json"))
        model = tiny_model(3)
        save_model(model, folder, folder, text.stop_ids, text.end_of_text)
        hf = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        return model, hf.eval(), [text.prompt([{"role": "user", "content": q}]) for q in QUESTIONS]
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True)
    hf = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32, local_files_only=True)
    prompts = [tokenizer.encode(f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n") for q in QUESTIONS]
    return smollm2(), hf.eval(), prompts


def test_greedy_answers_are_those_of_transformers(tmp_path: Path) -> None:
    model, hf, prompts = load(tmp_path)
    count = 64
    # Together here, one by one there: neither a neighbour nor a mask changes a token.
    ours = [answers[0].ids for answers in generate(model, prompts, Sampling(max_tokens=count))]
    settings = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    for prompt, made in zip(prompts, ours, strict=True):
        ids = torch.tensor([prompt])
        with torch.inference_mode():
            theirs = hf.generate(ids, attention_mask=torch.ones_like(ids), **settings)
        assert made == theirs[0, len(prompt) :].tolist()
