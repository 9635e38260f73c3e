"""Step 5a: from a model of text to a model that answers, trained on what the assistant said and judged on what it never
saw."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import torch

from lightning_modules.data.chat import ChatTokenizer, parse_tool_calls
from lightning_modules.data.conversations import encode
from lightning_modules.data.packing import Packed, Tree, pack
from lightning_modules.distributed import ranks
from lightning_modules.generation.engine import generate
from lightning_modules.generation.protocol import Sampling
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.lora import merged
from lightning_modules.objectives.logprobs import token_losses
from tenet.files import write_jsonl
from tenet.posttrain.checkpoints import begin, export, groups_of, lora_facts, mean_interval, subset, tokenizer_of, trainee
from tenet.posttrain.datasets import OWN, load, too_long
from tenet.posttrain.plain_text import plain_text, replayed, tax
from tenet.posttrain.training import fit_conversations, validation, validation_facts, validation_rows
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tenet.settings.training import FinetuneConfig

#: Held-out conversations that are scored at once.
HELD_BATCH = 32


def run(config: FinetuneConfig, ws: Workspace) -> Summary:
    """Train on conversations; measure held-out loss and exact answers before and after."""
    begin(config.compute, ws)
    train, test, used, facts = load(config.data, "conversations", ws, most_refused=config.most_refused)
    train, valid = validation_rows(train, config.validation, ws)
    tokenizer, model = tokenizer_of(ws), trainee(ws, config.lora)
    trees, left_out = _encoded(tokenizer, train, "training conversations", config)
    held_trees, held_out = _encoded(tokenizer, subset(test, config.eval_rows, ws.seed), "held-out conversations", config)
    checks = validation(config.validation, _validation_batches(tokenizer, valid, config))
    asked = [row for row in test if row.get("exact") and len(row["messages"]) > 1]
    asked = subset(asked, config.eval_rows, ws.seed + 1)
    text = plain_text(ws, tokenizer.vocab_size)
    replay = replayed(text, trees, config.replay, config.context, ws)
    tax_before = text.bits(model) if text else None
    loss_before, _ = ranks.on_first(lambda: held_loss(model, held_trees, config.context))
    right_before = [row["right"] for row in ranks.on_first(lambda: answers(model, tokenizer, asked))]
    tokens = fit_conversations(
        model,
        [*trees, *replay],
        steps=config.steps,
        batch_tokens=config.batch_tokens,
        context=config.context,
        ws=ws,
        optim=config.optim,
        compute=config.compute,
        checkpoint_every=config.checkpoint_every,
        callbacks=checks,
    )
    tuned = merged(model)
    loss_after, losses = ranks.on_first(lambda: held_loss(tuned, held_trees, config.context))
    rows = ranks.on_first(lambda: answers(tuned, tokenizer, asked))
    write_jsonl(ws.dir / "rows.jsonl", [{"stage": "finetune", "task": row["kind"], **row} for row in rows])
    export(model, ws, tokenizer)
    loss_low, loss_high = loss_interval(loss_after, losses)
    told = _told(rows, groups_of(ws) if config.data == OWN else "rows")
    return Summary(
        headline=f"held-out loss {loss_before:.2f} to {loss_after:.2f} nats per token{told}",
        figures=[
            Figure("held-out loss on assistant tokens", round(loss_after, 4), "nats/token", round(loss_before, 4), None,
                   round(loss_low, 4), round(loss_high, 4), len(held_trees), "lower"),
            *_exact_figures(rows, right_before),
            *tax(tax_before, text.bits(tuned) if text else None),
        ],
        tokens=tokens,
        flops=tokens * model.config.flops_per_token(config.context) * config.lora.cost,
        details={"data": used, "conversations": len(trees), "replayed_documents": len(replay), "left_out_too_long": left_out,
                 "held_out_left_out_too_long": held_out, **validation_facts(checks, len(valid)),
                 **lora_facts(model, config.lora), **facts},
    )  # fmt: skip


def _encoded(
    tokenizer: ChatTokenizer, rows: Sequence[dict[str, Any]], what: str, config: FinetuneConfig
) -> tuple[list[Tree], int]:
    """Conversations that fit, and how many do not.

    Raises:
        ConfigError: none fits.
    """
    trees, left_out = encode(tokenizer, rows, config.context)
    if not trees:
        lengths = [len(tokenizer.conversation(row["messages"], row.get("tools"))[0]) for row in rows]
        too_long("finetune", what, lengths, config.context)
    return trees, left_out


def _validation_batches(tokenizer: ChatTokenizer, rows: Sequence[dict[str, Any]], config: FinetuneConfig) -> list[Packed]:
    if not rows:
        return []
    trees, _ = _encoded(tokenizer, rows, "validation conversations", config)
    return [pack(trees[i : i + HELD_BATCH], config.context) for i in range(0, len(trees), HELD_BATCH)]


def _told(rows: Sequence[dict[str, Any]], groups: str) -> str:
    """What the headline says of exact answers: nothing where the data has none, since no row says that its answer is
    the one right string."""
    if not rows:
        return ""
    return f"; {sum(row['right'] for row in rows) / len(rows):.0%} of the exact answers are right on unseen {groups}"


def _exact_figures(rows: Sequence[dict[str, Any]], before: Sequence[float]) -> list[Figure]:
    """Greedy answers that are the one right string, in all and by kind; no figure for what was not measured."""
    if not rows:
        return []
    right, low, high = mean_interval([row["right"] for row in rows])
    figures = [Figure("exact answers", right, "share", sum(before) / len(before), 0.0, low, high, len(rows))]
    for kind in dict.fromkeys(row["kind"] for row in rows if row["kind"]):
        of_kind = [row["right"] for row in rows if row["kind"] == kind]
        figures.append(Figure(f"exact answers: {kind}", sum(of_kind) / len(of_kind), "share", None, 0.0, n=len(of_kind)))
    return figures


@torch.no_grad()
def held_loss(
    model: Decoder, trees: Sequence[Tree], context: int, batch: int = HELD_BATCH
) -> tuple[float, list[tuple[float, int]]]:
    """Mean loss over the supervised tokens of held-out conversations, and of each conversation the sum and the number
    of its tokens."""
    total, count = 0.0, 0
    each: list[tuple[float, int]] = []
    for i in range(0, len(trees), batch):
        packed = pack(trees[i : i + batch], context)
        losses = token_losses(model, packed).double()
        for j in range(len(trees[i : i + batch])):
            own = losses[packed.sequence_ids == j]
            each.append((float(own.sum()), len(own)))
        total, count = total + float(losses.sum()), count + len(losses)
    return total / count, each


def loss_interval(mean: float, each: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """95 % interval of a mean over tokens whose conversations are drawn whole (a ratio estimator); the point itself at
    one conversation."""
    n, tokens = len(each), sum(count for _, count in each)
    if n < 2:
        return mean, mean
    spread = sum((total - mean * count) ** 2 for total, count in each)
    error = 1.96 * math.sqrt(n / (n - 1) * spread) / tokens
    return mean - error, mean + error


def answers(
    model: Decoder, tokenizer: ChatTokenizer, rows: Sequence[dict[str, Any]], max_tokens: int = 96
) -> list[dict[str, Any]]:
    """Greedy answers to the last turn of conversations, compared with what the conversation says."""
    prompts = [tokenizer.prompt(row["messages"][:-1], row.get("tools")) for row in rows]
    made = generate(model, prompts, Sampling(max_tokens=max_tokens, stop_ids=tokenizer.stop_ids))
    out = []
    for row, completion in zip(rows, made, strict=True):
        text = tokenizer.decode(completion[0].ids)
        expected = row["messages"][-1]
        out.append(
            {
                "id": row.get("id", ""),
                "kind": row.get("kind", ""),
                "question": row["messages"][-2]["content"],
                "answer": text,
                "expected": expected.get("content") or json.dumps(expected["tool_calls"][0]["function"], ensure_ascii=False),
                "right": float(same_answer(text, expected)),
            }
        )
    return out


def same_answer(text: str, expected: dict[str, Any]) -> bool:
    """Equal text, or the same tool calls."""
    said, calls = parse_tool_calls(text)
    if expected.get("tool_calls"):
        wanted = [{k: call["function"][k] for k in ("name", "arguments")} for call in expected["tool_calls"]]
        return calls == wanted
    return not calls and said.strip() == str(expected["content"]).strip()
