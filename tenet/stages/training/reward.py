"""Step 5b: a reward model from preference pairs, held against the two judges that need no training: a coin, and "the
shorter (or longer) one"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from lightning_modules.data.packing import Packed, Tree, pack
from lightning_modules.data.steps import StepLoader, rows_of_step
from lightning_modules.distributed import ranks
from lightning_modules.modules.reward import RewardModel, RewardModule, save_reward
from tenet.files import write_jsonl
from tenet.posttrain.checkpoints import begin, mean_interval, start_model, subset, tokenizer_of
from tenet.posttrain.datasets import load, too_long
from tenet.posttrain.training import fit_stage, length_baseline, longer, pair_tree
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tenet.settings.training import RewardConfig


def run(config: RewardConfig, ws: Workspace) -> Summary:
    """Train on pairs; measure held-out accuracy."""
    begin(config.compute, ws)
    train, test, used, facts = load(config.data, "preferences", ws, most_refused=config.most_refused)
    tokenizer = tokenizer_of(ws)
    model = RewardModel(start_model(ws), config.pool)
    every = [pair_tree(tokenizer, row) for row in train]
    held_every = [(row, pair_tree(tokenizer, row)) for row in subset(test, config.eval_rows, ws.seed)]
    too_long("reward", "training pairs", [len(tree) for tree in every], config.context)
    too_long("reward", "held-out pairs", [len(tree) for _, tree in held_every], config.context)
    trees = [tree for tree in every if len(tree) <= config.context]
    held = [(row, tree) for row, tree in held_every if len(tree) <= config.context]

    def batch(step: int) -> Packed:
        chosen = ranks.own(rows_of_step(ws.seed, step, config.batch_pairs, len(trees)))
        return pack([trees[i] for i in chosen], config.context)

    module = RewardModule(model, config.optim, config.steps, config.margin, config.center, config.freeze)
    fit_stage(
        module,
        StepLoader(batch, config.steps),
        steps=config.steps,
        ws=ws,
        optim=config.optim,
        compute=config.compute,
        checkpoint_every=config.checkpoint_every,
    )
    model.eval()
    scores = ranks.on_first(lambda: score_pairs(model, [tree for _, tree in held]))
    rows = [_judged(row, *pair) for (row, _), pair in zip(held, scores, strict=True)]
    write_jsonl(ws.dir / "rows.jsonl", rows)
    ranks.on_first(lambda: save_reward(model, ws.dir / "reward", ws.start, tokenizer.stop_ids, tokenizer.end_of_text))
    accuracy, low, high = mean_interval([row["right"] for row in rows])
    length = length_baseline([row["chosen_longer"] for row in rows])
    temperature, error = calibrate([row["margin"] for row in rows])
    by_kind = {kind: [r["right"] for r in rows if r["kind"] == kind] for kind in sorted({r["kind"] for r in rows})}
    return Summary(
        headline=f"prefers the right answer in {accuracy:.1%} of {len(rows)} held-out pairs; length alone gets {length:.1%}",
        figures=[
            Figure(
                "held-out pairwise accuracy",
                accuracy,
                "share",
                0.5,
                length,
                low,
                high,
                len(rows),
                note="before: an untrained head, a coin",
            ),
            *(_kind_figure(kind, right) for kind, right in by_kind.items()),
            Figure("calibration error at the best temperature", error, "share", better="lower"),
            Figure("calibration temperature", temperature, "", better="neither"),
        ],
        tokens=module.tokens_seen,
        flops=module.tokens_seen * model.decoder.config.flops_per_token(config.context),
        details={"data": used, "pairs": len(trees), "left_out_too_long": len(train) - len(trees), **facts},
    )


def _kind_figure(kind: str, right: Sequence[float]) -> Figure:
    value, low, high = mean_interval(right)
    return Figure(f"accuracy: {kind or 'all'}", value, "share", None, 0.5, low, high, len(right))


@torch.no_grad()
def score_pairs(model: RewardModel, trees: Sequence[Tree], batch: int = 64) -> list[tuple[float, float]]:
    """Scores of chosen and rejected."""
    out: list[tuple[float, float]] = []
    for i in range(0, len(trees), batch):
        part = trees[i : i + batch]
        scores = model(pack(part, max(map(len, part))), 2 * len(part)).view(-1, 2)
        out += [(float(a), float(b)) for a, b in scores]
    return out


def _judged(row: dict[str, Any], chosen: float, rejected: float) -> dict[str, Any]:
    return {
        "stage": "reward",
        "task": "preference",
        "id": row.get("id", ""),
        "kind": row.get("kind", ""),
        "chosen_score": round(chosen, 5),
        "rejected_score": round(rejected, 5),
        "margin": round(chosen - rejected, 5),
        "right": 1.0 if chosen > rejected else 0.5 if chosen == rejected else 0.0,
        "chosen_longer": longer(row),
    }


def calibrate(margins: Sequence[float], bins: int = 10) -> tuple[float, float]:
    """Temperature that makes sigmoid(margin / t) likeliest, and the expected calibration error there
    (arXiv:1706.04599).

    Fitted on the pairs it is reported on: one number, so the optimism is small.
    """

    def nll(t: float) -> float:
        return sum(math.log1p(math.exp(-max(-60.0, min(60.0, m / t)))) for m in margins)

    temperature = min((0.1 * 1.15**i for i in range(40)), key=nll)
    confidence = [1 / (1 + math.exp(-max(-60.0, min(60.0, abs(m) / temperature)))) for m in margins]
    error = 0.0
    for b in range(bins):
        inside = [
            i
            for i, c in enumerate(confidence)
            if 0.5 + b * 0.5 / bins <= c < 0.5 + (b + 1) * 0.5 / bins or (b == bins - 1 and c == 1)
        ]
        if inside:
            accuracy = sum(margins[i] > 0 for i in inside) / len(inside)
            error += len(inside) / len(margins) * abs(accuracy - sum(confidence[i] for i in inside) / len(inside))
    return round(temperature, 3), round(error, 4)
