"""Step 3: does the training code compute what it says, on this machine?

Three checks before any time is spent: logits equal transformers' through the exported folder, greedy tokens too; one
batch can be overfit; and how many tokens per second this machine trains, which the plan can be held against.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path

import torch

from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.data.shards import TokenRows
from lightning_modules.generation.parity import parity
from lightning_modules.model.config import ModelConfig
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.hub import save_model
from lightning_modules.objectives.logprobs import token_losses
from lightning_modules.training.optim import build_optimiser
from lightning_modules.training.trainer import prepare
from tenet.errors import StageError
from tenet.files import write_json
from tenet.posttrain.checkpoints import check_vocabulary, corpus_tokenizer, token_rows
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tenet.settings.training import ModelCheckConfig

#: Above this many parameters the check runs on a copy with two layers: the code is the same, the time is not.
LARGE = 50_000_000


def run(config: ModelCheckConfig, ws: Workspace) -> Summary:
    """Check parity, learning and speed."""
    prepare(config.compute)
    whole: ModelConfig = ws.setting("model")
    shape = whole if whole.parameters() <= LARGE else dataclasses.replace(whole, num_layers=2)
    tokenizer = ChatTokenizer.from_folder(corpus_tokenizer(ws))
    check_vocabulary(shape.vocab_size, tokenizer)
    model = Decoder(shape).initialise(ws.seed)
    ws.progress(0, 3, "logits against transformers")
    with tempfile.TemporaryDirectory() as scratch:
        save_model(model, Path(scratch), corpus_tokenizer(ws), tokenizer.stop_ids, tokenizer.end_of_text)
        difference, tokens_equal = parity(Path(scratch), ws.seed)
    if difference > config.tolerance or not tokens_equal:
        raise StageError(
            f"logits differ from transformers by {difference:.2e} (check.tolerance is {config.tolerance:g}), greedy tokens "
            f"{'equal' if tokens_equal else 'differ'}: the export or the decoder is wrong on this machine, do not train"
        )
    ws.progress(1, 3, "overfitting one batch")
    shard = ws.input("corpus") / "tokens" / "train.ds"
    rows = token_rows(shard, ws.setting("pretrain.context"), tokenizer.vocab_size > 65_536)
    first, last, seconds, tokens = memorise(model, rows, config.steps, ws)
    if last >= first:
        raise StageError(
            f"{config.steps} steps on one batch left the loss at {last:.3f} (from {first:.3f}); gradients do not arrive"
        )
    checks = {
        "parameters": whole.parameters(),
        "checked_layers": shape.num_layers,
        "logits_max_difference": float(f"{difference:.1e}"),
        "greedy_tokens_equal": tokens_equal,
        "loss_first": round(first, 4),
        "loss_last": round(last, 4),
    }
    write_json(ws.dir / "checks.json", checks)
    return Summary(
        headline=f"{whole.parameters():,} parameters; logits equal transformers' to {difference:.0e}, one batch is learnt in {config.steps} steps",
        figures=[
            Figure(
                "largest logit difference from transformers",
                checks["logits_max_difference"],
                "",
                baseline=config.tolerance,
                better="lower",
            ),
            Figure("loss on one batch after learning it", round(last, 4), "nats/token", before=round(first, 4), better="lower"),
            Figure("parameters", whole.parameters(), "", better="neither"),
        ],
        tokens=tokens,
        flops=tokens * shape.flops_per_token(rows.context),
        timings={"training_tokens_per_s": round(tokens / seconds, 1)},
    )


def memorise(model: Decoder, rows: TokenRows, steps: int, ws: Workspace) -> tuple[float, float, float, int]:
    """Train on one batch.

    Returns:
        first and last loss in nats per token, seconds, and tokens.
    """
    micro_batch, document_mask, optim = (ws.setting(f"pretrain.{key}") for key in ("micro_batch", "document_mask", "optim"))
    batch = rows.batch(list(range(min(micro_batch, len(rows)))), document_mask)
    optimiser = build_optimiser(model, optim)
    losses: list[float] = []
    start = time.perf_counter()
    for step in range(steps):
        ws.check()
        loss = token_losses(model, batch).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip or float("inf"))
        optimiser.step()
        losses.append(float(loss.detach()))
        ws.progress(1 + 2 * (step + 1) / steps, 3, f"overfitting one batch: loss {losses[-1]:.3f}")
    return losses[0], losses[-1], time.perf_counter() - start, steps * batch.ids.numel()
