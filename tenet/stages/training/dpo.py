"""Preference optimisation: from pairs, or from single ratings, to a model, without a reward model between (DPO,
arXiv:2305.18290, and its relatives).

Judged on held-out pairs by what the model itself thinks of them: how often it finds the chosen answer likelier than the
rejected one, and how often it moved further towards the chosen one than towards the other (its implicit reward),
against length alone. Both log-ratios are shown, because a margin can grow while both answers get less likely.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.data.packing import Tree
from lightning_modules.distributed import ranks
from lightning_modules.model.lora import merged
from tenet.errors import ConfigError, StageError
from tenet.files import write_jsonl
from tenet.posttrain.checkpoints import begin, export, lora_facts, mean_interval, subset, tokenizer_of, trainee
from tenet.posttrain.datasets import HH_NAMES, OWN, load, too_long
from tenet.posttrain.plain_text import plain_text, tax
from tenet.posttrain.training import (
    fit_preferences,
    length_baseline,
    longer,
    pair_tree,
    preference_batches,
    rating_tree,
    rating_trees,
    reference,
    validation,
    validation_facts,
    validation_rows,
)
from tenet.rows import guess_kind, taken_apart
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tenet.settings.training import DpoConfig

Row = dict[str, Any]


def run(config: DpoConfig, ws: Workspace) -> Summary:
    """Train on pairs or ratings; compare the model with its input on held-out ones."""
    begin(config.compute, ws)
    kind = _kind(config)
    train, test, used, facts = load(config.data, kind, ws, most_refused=config.most_refused)
    train, valid = validation_rows(train, config.validation, ws)
    tokenizer, model = tokenizer_of(ws), trainee(ws, config.lora)
    learnt = _encoded(tokenizer, train, kind, "training", config, ws.seed)
    held_rows = subset(test, config.eval_rows, ws.seed)
    held_trees = [(rating_tree if kind == "ratings" else pair_tree)(tokenizer, row) for row in held_rows]
    what = kind if kind == "ratings" else "pairs"
    too_long("dpo", f"held-out {what}", [len(tree) for tree in held_trees], config.context)
    held = [(row, tree) for row, tree in zip(held_rows, held_trees, strict=True) if len(tree) <= config.context]
    checked = _encoded(tokenizer, valid, kind, "validation", config, ws.seed) if valid else _Learnt([], None, 0)
    checks = validation(
        config.validation, preference_batches(model, checked.trees, config.batch_pairs, checked.liked) if valid else []
    )
    text = plain_text(ws, tokenizer.vocab_size)
    tax_before = text.bits(model) if text else None
    before = ranks.on_first(lambda: reference(model, [tree for _, tree in held]).tolist())
    module = fit_preferences(
        model,
        learnt.trees,
        steps=config.steps,
        batch_pairs=config.batch_pairs,
        objective=config.objective,
        ws=ws,
        optim=config.optim,
        compute=config.compute,
        checkpoint_every=config.checkpoint_every,
        liked=learnt.liked,
        callbacks=checks,
    )
    tuned = merged(model)
    after = ranks.on_first(lambda: reference(tuned, [tree for _, tree in held]).tolist())
    judge = rated_row if kind == "ratings" else judged
    rows = [judge(row, tree, old, new) for (row, tree), old, new in zip(held, before, after, strict=True)]
    write_jsonl(ws.dir / "rows.jsonl", rows)
    export(model, ws, tokenizer)
    headline, figures = _of_ratings(rows) if kind == "ratings" else _of_pairs(rows)
    figures += tax(tax_before, text.bits(tuned) if text else None)
    tokens = module.tokens_seen
    details = {
        "data": used,
        "loss": config.objective.loss,
        what: len(learnt.trees),
        "left_out_too_long": learnt.left_out,
        **validation_facts(checks, len(valid)),
        **lora_facts(model, config.lora),
        **facts,
    }
    flops = tokens * model.config.flops_per_token(config.context) * config.lora.cost
    return Summary(headline, figures, tokens, flops, details=details)


class _Learnt(NamedTuple):
    """Rows as trees; for KTO whether each answer was liked; how many do not fit."""

    trees: list[Tree]
    liked: list[bool] | None
    left_out: int


def _encoded(tokenizer: ChatTokenizer, rows: Sequence[Row], kind: str, purpose: str, config: DpoConfig, seed: int) -> _Learnt:
    """What the loss takes of the rows.

    Raises:
        ConfigError: none fits the context.
    """
    rated: list[Row] = []
    if config.objective.loss == "kto":
        rated = taken_apart(list(rows)) if kind == "preferences" else list(rows)
    every = rating_trees(tokenizer, rated, seed) if rated else [pair_tree(tokenizer, row) for row in rows]
    what = kind if kind == "ratings" else "pairs"
    too_long("dpo", f"{purpose} {what}", [len(tree) for tree in every], config.context)
    fitting = [i for i, tree in enumerate(every) if len(tree) <= config.context]
    liked = [bool(rated[i]["liked"]) for i in fitting] if rated else None
    return _Learnt([every[i] for i in fitting], liked, len(every) - len(fitting))


def _kind(config: DpoConfig) -> Literal["preferences", "ratings"]:
    """What the data holds: only KTO can learn from ratings.

    Raises:
        ConfigError: ratings, and a loss over pairs.
    """
    if config.data in (OWN, *HH_NAMES) or guess_kind(config.data) != "ratings":
        return "preferences"
    if config.objective.loss != "kto":
        raise ConfigError(
            f"dpo.data {config.data}: single answers with a rating, and dpo.objective.loss is {config.objective.loss}, which learns from "
            "pairs; --objective.loss kto learns from ratings"
        )
    return "ratings"


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


def rated_row(row: Row, tree: Tree, before: Sequence[float], after: Sequence[float]) -> Row:
    """One held-out rating: how much likelier its answer became."""
    return {
        "stage": "dpo",
        "task": "rating",
        "id": row.get("id", ""),
        "liked": row["liked"],
        "logratio": round(after[0] - before[0], 4),
    }


def _of_pairs(rows: Sequence[Row]) -> tuple[str, list[Figure]]:
    right, low, high = mean_interval([row["right"] for row in rows])
    likelier, likelier_low, likelier_high = mean_interval([row["likelier"] for row in rows])
    before = mean_interval([row["likelier_before"] for row in rows])[0]
    chosen, rejected = (mean_interval([row[key] for row in rows]) for key in ("chosen_logratio", "rejected_logratio"))
    length = length_baseline([row["chosen_longer"] for row in rows])
    headline = (
        f"moved towards the chosen answer in {right:.1%} of {len(rows)} held-out pairs (length alone: {length:.1%}); the chosen one is "
        f"likelier per token in {before:.1%} before, {likelier:.1%} after"
    )
    return headline, [
        Figure("held-out pairs with the larger gain on the chosen answer", right, "share", 0.5, length, low, high, len(rows)),
        Figure("held-out pairs with the chosen answer likelier per token", likelier, "share", before, 0.5, likelier_low,
               likelier_high, len(rows)),
        Figure("log-ratio of chosen answers", chosen[0], "nats", 0.0, None, chosen[1], chosen[2], len(rows)),
        Figure("log-ratio of rejected answers", rejected[0], "nats", 0.0, None, rejected[1], rejected[2], len(rows), "lower"),
    ]  # fmt: skip


def _of_ratings(rows: Sequence[Row]) -> tuple[str, list[Figure]]:
    """A liked answer against every one that was not: how often did it gain more?

    Raises:
        StageError: held-out ratings all of one kind measure nothing.
    """
    up, down = ([row["logratio"] for row in rows if row["liked"] is liked] for liked in (True, False))
    if not up or not down:
        raise StageError(
            f"dpo: of {len(rows)} held-out ratings {len(up)} are liked and {len(down)} are not; both are needed to measure: give more "
            "ratings of the rarer kind, or a larger dpo.eval_rows"
        )
    # Each liked answer's share of wins over all disliked ones; their mean is the area under the curve.
    wins = [sum(1.0 if a > b else 0.5 if a == b else 0.0 for b in down) / len(down) for a in up]
    area, low, high = mean_interval(wins)
    liked, disliked = mean_interval(up), mean_interval(down)
    headline = (
        f"a held-out answer that was liked gained more than one that was not in {area:.1%} of the comparisons ({len(up)} liked, "
        f"{len(down)} not)"
    )
    return headline, [
        Figure("held-out liked answers that gained more than disliked ones", area, "share", 0.5, None, low, high, len(up),
               note="interval over the liked answers alone"),
        Figure("log-ratio of liked answers", liked[0], "nats", 0.0, None, liked[1], liked[2], len(up)),
        Figure("log-ratio of disliked answers", disliked[0], "nats", 0.0, None, disliked[1], disliked[2], len(down), "lower"),
    ]  # fmt: skip
