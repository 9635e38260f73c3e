"""Does transformers compute the same from an exported folder? Logits and greedy tokens, held against ours."""

from __future__ import annotations

from pathlib import Path

import torch

from lightning_modules.generation.engine import generate
from lightning_modules.generation.protocol import Sampling
from lightning_modules.model.hub import load_model


@torch.no_grad()
def parity(folder: Path, seed: int, length: int = 48) -> tuple[float, bool]:
    """Largest difference of logits from transformers on random tokens, and whether 16 greedy tokens are the same."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    ours = load_model(folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    ids = torch.randint(0, ours.config.vocab_size, (2, length), generator=torch.Generator().manual_seed(seed))
    difference = float((theirs(ids).logits - ours.logits(ours(ids))).abs().max())
    answer = generate(ours, [ids[0].tolist()], Sampling(max_tokens=16))[0][0].ids
    expected = theirs.generate(ids[:1], max_new_tokens=16, do_sample=False, eos_token_id=None, pad_token_id=0)
    return difference, answer == expected[0, length:].tolist()
