"""How fast the packed scorer is: the same rows and weights through transformers, one padded request a row, as lm-eval
does it.

    python benchmarks/loglikelihood.py runs/demo/redteam/model --tasks arc_easy hellaswag --rows 30
    python benchmarks/loglikelihood.py runs/demo/redteam/model --shape smol        # random weights of a larger shape

Both run on one thread, one after the other, in this process; CPU seconds are printed, so a busy machine changes the
ratio little. The log-likelihoods are compared too: a faster wrong answer would be worth nothing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.generation.scoring import Pair, Score, score
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.hub import load_model, save_model
from tenet.assistant.local import LocalAssistant
from tenet.evaluate.items import load_items
from tenet.evaluate.tasks import load_task
from tenet.settings.preset import load_preset

#: Requests of one padded forward that the other side may choose from; the fastest counts.
BATCHES = (1, 8, 32)


def plain_scores(model: Any, pairs: Sequence[Pair], batch: int) -> list[Score]:
    """Every pair by itself: sorted by length, padded on the right, all positions projected."""
    order = sorted(range(len(pairs)), key=lambda i: -len(pairs[i][0]) - len(pairs[i][1]))
    out: dict[int, Score] = {}
    for first in range(0, len(order), batch):
        chosen = order[first : first + batch]
        wholes = [(list(pairs[i][0]) + list(pairs[i][1]))[-(model.config.max_position_embeddings + 1) :] for i in chosen]
        longest = max(len(whole) - 1 for whole in wholes)
        ids = torch.tensor([whole[:-1] + [0] * (longest - len(whole) + 1) for whole in wholes])
        logprobs = model(ids).logits.float().log_softmax(-1)
        for i, whole, row in zip(chosen, wholes, logprobs, strict=True):
            wanted = torch.tensor(list(pairs[i][1]))
            here = row[len(whole) - 1 - len(wanted) : len(whole) - 1]
            loglik = here.gather(1, wanted[:, None]).sum().item()
            out[i] = Score(loglik, bool((here.argmax(-1) == wanted).all()), len(wanted))
    return [out[i] for i in range(len(pairs))]


def timed(work: Callable[[], list[Score]]) -> tuple[list[Score], float]:
    """Result and CPU seconds."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def pairs_of(task: str, rows: int, assistant: LocalAssistant) -> list[Pair]:
    """Encoded requests of a task, encoded before any clock runs."""
    from tenet.evaluate.runner import request_pairs

    loaded = load_items(load_task(task), rows)
    return [assistant.encode_pair(*pair) for item in loaded.items for pair in request_pairs(item, loaded.task.separator)]


@torch.inference_mode()
def compare(task: str, pairs: Sequence[Pair], ours: Decoder, theirs: Any) -> None:
    """Print one line for a task."""
    packed, own = timed(lambda: score(ours, pairs))
    runs = {batch: timed(lambda batch=batch: plain_scores(theirs, pairs, batch)) for batch in BATCHES}  # type: ignore[misc]
    best = min(runs, key=lambda batch: runs[batch][1])
    plain, other = runs[best]
    difference = max(abs(a.loglik - b.loglik) for a, b in zip(packed, plain, strict=True))
    greedy = sum(a.greedy != b.greedy for a, b in zip(packed, plain, strict=True))
    others = ", ".join(f"batch {batch}: {seconds:.2f}" for batch, (_, seconds) in runs.items())
    print(
        f"{task}: {len(pairs)} requests; packed {own:.2f} CPU s, transformers {others}; {other / own:.2f}x its best "
        f"(batch {best}); largest difference {difference:.1e}, greedy mismatches {greedy}"
    )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="Hugging Face folder with weights and tokenizer")
    parser.add_argument("--shape", default="", help="preset whose shape gets random weights in place of the folder's")
    parser.add_argument("--tasks", nargs="+", default=["arc_easy", "hellaswag"])
    parser.add_argument("--rows", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    from transformers import AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as scratch:
        folder = options.model
        if options.shape:
            folder, chat = Path(scratch), ChatTokenizer.from_folder(options.model)
            model = Decoder(load_preset(options.shape).model).initialise(0)
            save_model(model, folder, options.model, chat.stop_ids, chat.end_of_text)
        ours = load_model(folder)
        theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assistant = LocalAssistant(ours, ChatTokenizer.from_folder(options.model))
    print(f"{ours.config.parameters() / 1e6:.1f} M parameters, vocabulary {ours.config.vocab_size}, one thread, fp32")
    for task in options.tasks:
        compare(task, pairs_of(task, options.rows, assistant), ours, theirs)


if __name__ == "__main__":
    main()
