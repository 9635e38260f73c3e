"""What each weight format costs in quality and gains in speed: nats per token on a held-out text beside tokens per
CPU-second.

    python benchmarks/formats.py                                   # SmolLM2-135M from its package, README and docs as text
    python benchmarks/formats.py --model runs/demo/redteam/model --text some.txt

The formats run one after the other in this process on one thread. `int8 blocks of 64` is a simulation in fp32 (exact
inputs, no kernel of torch's takes such scales): what finer scales would gain. "same" is the share of positions whose
likeliest token is fp32's.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from lightning_modules.generation.engine import SlotEngine
from lightning_modules.generation.protocol import Sampling
from lightning_modules.generation.quantization import FORMATS, convert
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.hub import load_model


def load(folder: Path | None) -> Decoder:
    """The model in fp32."""
    from transformers.utils import logging

    from tenet.smollm2 import smollm2

    logging.disable_progress_bar()
    return load_model(folder) if folder else smollm2()


def encode(folder: Path | None, text: str) -> list[int]:
    """Token ids of the held-out text."""
    if folder:
        from tokenizers import Tokenizer

        return list(Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids)
    from transformers import AutoTokenizer

    from tenet.smollm2 import smollm2_file

    file = smollm2_file()
    return list(AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, local_files_only=True).encode(text))


def blocks_of_64(model: Decoder) -> Decoder:
    """Round every matrix to int8 with a scale for each 64 inputs, and back to fp32."""
    for module in model.modules():
        if type(module) is nn.Linear:
            grouped = module.weight.data.unflatten(1, (-1, 64)) if module.in_features % 64 == 0 else module.weight.data[:, None]
            scale = grouped.abs().amax(-1, keepdim=True).clamp(min=1e-12) / 127
            module.weight = nn.Parameter(((grouped / scale).round() * scale).flatten(1))
    return model


@torch.inference_mode()
def predict(model: Decoder, ids: list[int], window: int) -> tuple[float, Tensor]:
    """Mean negative log-likelihood in nats per token, and the likeliest token at each position."""
    rows = torch.tensor(ids[: len(ids) // (window + 1) * (window + 1)]).view(-1, window + 1)
    nats, best = [], []
    for row in rows:
        logits = model.logits(model(row[None, :-1])).float()[0]
        nats.append(nn.functional.cross_entropy(logits, row[1:], reduction="none"))
        best.append(logits.argmax(-1))
    return float(torch.cat(nats).mean()), torch.cat(best)


def speed(model: Decoder, ids: list[int], streams: int, steps: int) -> float:
    """Tokens per CPU-second of decoding after a prompt of 128 tokens."""
    engine = SlotEngine(model, streams, min(model.config.max_position_embeddings, 160 + steps))
    for i in range(streams):
        engine.submit([*ids[i : i + 127], i + 1], Sampling(max_tokens=steps + 2))
    while engine.waiting:
        engine.step()
    engine.step()
    start, tokens = time.process_time(), 0
    for _ in range(steps):
        tokens += len(engine.step())
    return tokens / (time.process_time() - start)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=None, help="Hugging Face folder; SmolLM2-135M when left out")
    parser.add_argument("--text", type=Path, default=None, help="held-out text; this repository's documents when left out")
    parser.add_argument("--tokens", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=12)
    options = parser.parse_args()
    torch.set_num_threads(1)
    here = Path(__file__).parent.parent
    text = options.text.read_text() if options.text else "\n".join(p.read_text() for p in sorted((here / "docs").glob("*.md")))
    ids = encode(options.model, text)[: options.tokens]
    exact: Tensor | None = None
    print(f"{len(ids)} tokens of text, windows of 250, one thread")
    print(f"{'format':>20} {'nats/token':>10} {'same':>6} {'1 stream':>9} {'16 streams':>10}  (tokens per CPU-second)")
    for name in (*FORMATS, "int8 blocks of 64"):
        model = load(options.model)
        model = convert(model, name) if name in FORMATS else blocks_of_64(model)  # type: ignore[arg-type]
        nats, best = predict(model, ids, 250)
        exact = best if exact is None else exact
        line = f"{name:>20} {nats:10.4f} {float((best == exact).float().mean()):6.3f}"
        if name in FORMATS:
            line += f" {speed(model, ids, 1, options.steps):9.1f} {speed(model, ids, 16, options.steps):10.1f}"
        print(line, flush=True)


if __name__ == "__main__":
    main()
