"""Direct preference optimisation: from pairs to a model, without a reward model between (arXiv:2305.18290).

Judged on held-out pairs by what the model itself thinks of them: how often it finds the chosen answer likelier than the
rejected one, and how often it moved further towards the chosen one than towards the other (its implicit reward),
against length alone. Both log-ratios are shown, because a margin can grow while both answers get less likely.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_modules.data.packing import Tree
from lightning_modules.distributed import ranks
from tenet.files import write_jsonl
from tenet.posttrain.checkpoints import begin, export, mean_interval, start_model, subset, tokenizer_of
from tenet.posttrain.datasets import load, too_long
from tenet.posttrain.training import fit_preferences, length_baseline, longer, pair_tree, reference
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tenet.settings.training import DpoConfig

Row = dict[str, Any]


def run(config: DpoConfig, ws: Workspace) -> Summary:
    """Train on pairs; compare the model with its input on held-out ones."""
    begin(config.compute, ws)
    train, test, used, facts = load(config.data, "preferences", ws, most_refused=config.most_refused)
    tokenizer, model = tokenizer_of(ws), start_model(ws)
    every = [pair_tree(tokenizer, row) for row in train]
    held_every = [(row, pair_tree(tokenizer, row)) for row in subset(test, config.eval_rows, ws.seed)]
    too_long("dpo", "training pairs", [len(tree) for tree in every], config.context)
    too_long("dpo", "held-out pairs", [len(tree) for _, tree in held_every], config.context)
    trees = [tree for tree in every if len(tree) <= config.context]
    held = [(row, tree) for row, tree in held_every if len(tree) <= config.context]
    held_trees = [tree for _, tree in held]
    before = ranks.on_first(lambda: reference(model, held_trees).tolist())
    module = fit_preferences(
        model,
        trees,
        steps=config.steps,
        batch_pairs=config.batch_pairs,
        beta=config.beta,
        ws=ws,
        optim=config.optim,
        compute=config.compute,
        checkpoint_every=config.checkpoint_every,
    )
    after = ranks.on_first(lambda: reference(model, held_trees).tolist())
    rows = [judged(row, tree, old, new) for (row, tree), old, new in zip(held, before, after, strict=True)]
    write_jsonl(ws.dir / "rows.jsonl", rows)
    export(model, ws, tokenizer)
    return _summary(rows, module.tokens_seen, model.config.flops_per_token(config.context), used, len(trees), len(train), facts)


def judged(row: Row, tree: Tree, before: Sequence[float], after: Sequence[float]) -> Row:
    """One held-out pair: log-ratios to the input model per answer, and whether they point the right way."""
    chosen, rejected = (new - old for new, old in zip(after, before, strict=True))
    lengths = [len(answer) for answer in tree.answers]
    return {
        "stage": "dpo",
        "task": "preference",
        "id": row.get("id", ""),
        "chosen_logratio": round(chosen, 4),
        "rejected_logratio": round(rejected, 4),
        "right": _side(chosen - rejected),
        "likelier_before": _side(before[0] / lengths[0] - before[1] / lengths[1]),
        "likelier": _side(after[0] / lengths[0] - after[1] / lengths[1]),
        "chosen_longer": longer(row),
    }


def _side(difference: float) -> float:
    """1 for the chosen one, 0 for the rejected one, a half for a tie."""
    return 1.0 if difference > 0 else 0.5 if difference == 0 else 0.0


def _summary(
    rows: Sequence[Row], tokens: int, flops_per_token: float, used: str, trained: int, given: int, facts: Row
) -> Summary:
    right, low, high = mean_interval([row["right"] for row in rows])
    likelier, likelier_low, likelier_high = mean_interval([row["likelier"] for row in rows])
    before = mean_interval([row["likelier_before"] for row in rows])[0]
    chosen, rejected = (mean_interval([row[key] for row in rows]) for key in ("chosen_logratio", "rejected_logratio"))
    length = length_baseline([row["chosen_longer"] for row in rows])
    return Summary(
        headline=(
            f"moved towards the chosen answer in {right:.1%} of {len(rows)} held-out pairs (length alone: {length:.1%}); the chosen one is "
            f"likelier per token in {before:.1%} before, {likelier:.1%} after"
        ),
        figures=[
            Figure("held-out pairs with the larger gain on the chosen answer", right, "share", 0.5, length, low, high, len(rows)),
            Figure("held-out pairs with the chosen answer likelier per token", likelier, "share", before, 0.5, likelier_low,
                   likelier_high, len(rows)),
            Figure("log-ratio of chosen answers", chosen[0], "nats", 0.0, None, chosen[1], chosen[2], len(rows)),
            Figure("log-ratio of rejected answers", rejected[0], "nats", 0.0, None, rejected[1], rejected[2], len(rows), "lower"),
        ],
        tokens=tokens,
        flops=tokens * flops_per_token,
        details={"data": used, "pairs": trained, "left_out_too_long": given - trained, **facts},
    )  # fmt: skip
