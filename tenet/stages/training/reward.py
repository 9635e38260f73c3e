"""Step 5b: a reward model from preference pairs, held against what needs no training: a coin, "the longer (or shorter)
one", and garbage that must not win.

Two ways to it. `train`: the decoder learns with the head. `frozen`: the decoder's features are computed once, and a
linear head is fitted on them. Either is calibrated on training prompts that it was not fitted on, and measured alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.data.packing import Tree, pack
from lightning_modules.data.steps import StepLoader, rows_of_step
from lightning_modules.distributed import ranks
from lightning_modules.model.decoder import Decoder
from lightning_modules.modules.reward import PairBatch, RewardModel, RewardModule, save_reward
from tenet.errors import ConfigError
from tenet.files import write_jsonl
from tenet.posttrain.checkpoints import begin, start_model, subset, tokenizer_of
from tenet.posttrain.datasets import HH_NAMES, load, too_long
from tenet.posttrain.reward_models import negatives, quality
from tenet.posttrain.reward_models.calibration import FEWEST, fit_temperature, reliability
from tenet.posttrain.reward_models.feature_cache import FeatureCache
from tenet.posttrain.reward_models.frozen import fit_frozen, frozen, layers_of
from tenet.posttrain.reward_models.labels import decided, labels, told
from tenet.posttrain.reward_models.scoring import score_pairs
from tenet.posttrain.training import fit_stage, pair_tree
from tenet.rows import Row, split
from tenet.runs.summary import Summary
from tenet.runs.workspace import Workspace
from tenet.settings.training import RewardConfig


class Pairs(NamedTuple):
    """Rows and the same, encoded."""

    rows: list[Row]
    trees: list[Tree]


class Learnt(NamedTuple):
    """A calibrated reward model, with the scores that it gives to held-out pairs and to garbage."""

    model: RewardModel
    temperature: float
    held: list[tuple[float, float]]
    garbage: list[tuple[float, float]]
    tokens: int
    flops: float
    details: dict[str, Any]
    timings: dict[str, float]


def run(config: RewardConfig, ws: Workspace) -> Summary:
    """Learn from pairs; measure on held-out ones."""
    begin(config.compute, ws)
    if config.mode == "frozen" and ranks.world() > 1:
        raise ConfigError(f"reward.mode is frozen and {ranks.world()} processes were started; it runs in one: start one")
    train, test, used, facts = load(config.data, "preferences", ws, most_refused=config.most_refused)
    tokenizer = tokenizer_of(ws)
    train, test = subset(train, config.train_rows, ws.seed), subset(decided(test), config.eval_rows, ws.seed)
    pairs = _encoded(tokenizer, train, config.context, "training pairs")
    held = _encoded(tokenizer, test, config.context, "held-out pairs")
    garbage = _encoded(tokenizer, negatives.planted(held.rows), config.context)
    labels(pairs.rows, config.margin)  # what cannot be is refused before the model is loaded
    learn = _frozen if config.mode == "frozen" else _trained
    learnt = learn(config, ws, tokenizer, start_model(ws), pairs, held, garbage)
    texts = config.data not in HH_NAMES  # offensive in places: by id alone
    rows, bad = (
        [quality.judged(row, *scores, texts) for row, scores in zip(part.rows, found, strict=True)]
        for part, found in ((held, learnt.held), (garbage, learnt.garbage))
    )
    write_jsonl(ws.dir / "rows.jsonl", rows)
    write_jsonl(ws.dir / "garbage.jsonl", bad)
    ranks.on_first(lambda: save_reward(learnt.model, ws.dir / "reward", ws.start, tokenizer.stop_ids, tokenizer.end_of_text))
    figures = quality.figures(rows, bad, quality.length_rule(pairs.rows), learnt.temperature)
    accuracy = figures[0]
    details = {
        "data": used,
        "mode": config.mode,
        "pairs": len(pairs.rows),
        "left_out_too_long": len(train) - len(pairs.rows),
        **told(pairs.rows),
        **learnt.details,
        "reliability": [one._asdict() for one in reliability([row["margin"] for row in rows])],
        **facts,
    }
    return Summary(
        headline=f"prefers the right answer in {accuracy.value:.1%} of {len(rows)} held-out pairs; length alone gets {accuracy.baseline:.1%}",
        figures=figures,
        tokens=learnt.tokens,
        flops=learnt.flops,
        details=details,
        timings=learnt.timings,
    )


def _encoded(tokenizer: ChatTokenizer, rows: Sequence[Row], context: int, what: str = "") -> Pairs:
    """Those that fit; where they are named, an error if none does."""
    trees = [pair_tree(tokenizer, row) for row in rows]
    if what:
        too_long("reward", what, [len(tree) for tree in trees], context)
    fits = [i for i, tree in enumerate(trees) if len(tree) <= context]
    return Pairs([rows[i] for i in fits], [trees[i] for i in fits])


def _frozen(
    config: RewardConfig, ws: Workspace, tokenizer: ChatTokenizer, decoder: Decoder, pairs: Pairs, held: Pairs, garbage: Pairs
) -> Learnt:
    layers = layers_of(config.layers, decoder.config.num_layers)
    made = _encoded(tokenizer, negatives.trained(pairs.rows, config.negatives), config.context)
    learnt = Pairs(pairs.rows + made.rows, pairs.trees + made.trees)
    cache = FeatureCache(ws.run / "features", frozen(decoder, config.compute), layers)

    def tell(done: int, total: int) -> None:
        ws.progress(done, total, f"features: {done:,} of {total:,} tokens")
        ws.check()

    work = cache.compute([*learnt.trees, *held.trees, *garbage.trees], tell)
    fitted = fit_frozen(
        cache, *learnt, len(made.rows), pool=config.pool, margin=config.margin, center=config.center, seed=ws.seed
    )
    choice = fitted.choice
    details = {
        "layer": fitted.layer,
        "decay": choice.decay,
        "accuracy_in_training_folds": round(choice.accuracy, 4),
        "log_loss_in_training_folds": {
            f"layer {layers[i]}, decay {d:g}": round(loss, 4) for (i, d), loss in choice.tried.items()
        },
        "negatives": len(made.rows),
        "features_computed": work.answers,
    }
    # Forward alone, and only as deep as is read.
    flops = work.tokens * decoder.config.flops_per_token(config.context) / 3 * max(layers) / decoder.config.num_layers
    model = fitted.model(decoder)
    scores = fitted.margins(cache, held.trees), fitted.margins(cache, garbage.trees)
    timings = {"head_cpu_seconds": fitted.seconds[0], "choosing_cpu_seconds": fitted.seconds[1]}
    return Learnt(model, choice.temperature, *scores, work.tokens, flops, details, timings)


def _trained(
    config: RewardConfig, ws: Workspace, tokenizer: ChatTokenizer, decoder: Decoder, pairs: Pairs, held: Pairs, garbage: Pairs
) -> Learnt:
    learnt, kept = _calibration_rows(pairs.rows, ws.seed)
    made = negatives.trained(learnt, config.negatives)
    rows, trees = _encoded(tokenizer, [*learnt, *made], config.context)
    given = labels(rows, config.margin)
    model = RewardModel(decoder, config.pool)

    def batch(step: int) -> PairBatch:
        chosen = ranks.own(rows_of_step(ws.seed, step, config.batch_pairs, len(trees)))
        return PairBatch(pack([trees[i] for i in chosen], config.context), given.margins[chosen], given.doubts[chosen])

    module = RewardModule(model, config.optim, config.steps, config.center, config.freeze)
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
    unseen = ranks.on_first(lambda: score_pairs(model, _encoded(tokenizer, decided(kept), config.context).trees))
    temperature = fit_temperature([a - b for a, b in unseen])
    model.divide(temperature)
    scores = ranks.on_first(lambda: (score_pairs(model, held.trees), score_pairs(model, garbage.trees)))
    flops = module.tokens_seen * decoder.config.flops_per_token(config.context)
    details = {"negatives": len(rows) - len(learnt), "calibrated_on": len(unseen)}
    return Learnt(model, temperature, *scores, module.tokens_seen, flops, details, {})


def _calibration_rows(rows: list[Row], seed: int) -> tuple[list[Row], list[Row]]:
    """Pairs to learn from, and a tenth kept for the temperature where that is enough of them."""
    if len(rows) < 10 * FEWEST:
        return rows, []
    try:
        return split(rows, 0.1, seed + 1)
    except ConfigError:  # too few prompts to part: no temperature is fitted, and the summary says on how many pairs
        return rows, []
