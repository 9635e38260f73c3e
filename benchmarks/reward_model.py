"""A reward model from people's pairs, on a frozen model's features: several splits by prompt, each beside the length rule,
shuffled labels and planted garbage.

    python -m benchmarks.reward_model                                        # SmolLM2-135M, pairs made up here
    python -m benchmarks.reward_model --pairs ../shared/data/hh_rlhf/harmless-base/test.jsonl.gz --context 384
    python -m benchmarks.reward_model --model FOLDER --pairs owner/name --rows 2000 --keep /tmp/features

Features are the long part, and kept in `--keep`: a second run computes only what is new. Layer, weight decay, temperature
and the length rule are chosen inside the training pairs of each split. Without `--pairs` the pairs are made up (polite
against rude answers): that shows that the command runs, and nothing about people.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from lightning_modules.config import ComputeConfig
from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.data.packing import Tree
from lightning_modules.model.hub import load_model, save_model
from tenet.posttrain.checkpoints import subset
from tenet.posttrain.reward_models import negatives, quality
from tenet.posttrain.reward_models.feature_cache import FeatureCache
from tenet.posttrain.reward_models.frozen import Fitted, fit_frozen, frozen, layers_of
from tenet.posttrain.reward_models.labels import decided
from tenet.posttrain.reward_models.linear_head import PairFeatures, features_of, fit_head
from tenet.posttrain.training import pair_tree
from tenet.rows import Row, read_table, split
from tenet.runs.summary import Figure

HELD = 0.2
#: Draws of shuffled labels.
COINS = 12


class Fold(NamedTuple):
    """Rows of one split: training pairs, those that were made up beside them, held-out pairs, garbage beside these."""

    train: list[Row]
    made: list[Row]
    test: list[Row]
    garbage: list[Row]


def main() -> None:
    """Print a line a split, and the means."""
    chosen = _parser().parse_args()
    torch.set_num_threads(chosen.threads)
    folder = Path(chosen.model) if chosen.model != "smollm2" else smollm2_folder(chosen.keep / "smollm2")
    tokenizer = ChatTokenizer.from_folder(folder)
    found = read_table(chosen.pairs, "preferences").rows if chosen.pairs else made_up(400)
    rows = [row for row in found if len(pair_tree(tokenizer, row)) <= chosen.context]
    rows = subset(rows, chosen.rows or "all", 0)
    print(
        f"{len(rows)} of {len(found)} pairs: at most {chosen.context} tokens" + (f", {chosen.rows} drawn" if chosen.rows else "")
    )
    folds = [fold(rows, seed, chosen.negatives) for seed in range(1, chosen.splits + 1)]
    model = load_model(folder)
    cache = FeatureCache(
        chosen.keep / "features", frozen(model, ComputeConfig()), layers_of(chosen.layers, model.config.num_layers)
    )
    compute(cache, [pair_tree(tokenizer, row) for one in folds for part in one for row in part])
    results = [measure(cache, tokenizer, one, seed) for seed, one in enumerate(folds, 1)]
    print("means over the splits:")
    for name in results[0]:
        values = [result[name] for result in results if name in result]
        print(f"  {name:62} {statistics.mean(values):.3f}   ({' '.join(f'{v:.3f}' for v in values)})")


def fold(rows: Sequence[Row], seed: int, share: float) -> Fold:
    """One split by prompt."""
    train, test = split(rows, HELD, seed)
    test = decided(test)
    return Fold(train, negatives.trained(train, share), test, negatives.planted(test))


def compute(cache: FeatureCache, trees: Sequence[Tree]) -> None:
    """Features of all, with what they cost."""
    wall, cpu, last = time.perf_counter(), time.process_time(), [0.0]

    def tell(done: int, total: int) -> None:
        if time.perf_counter() - last[0] > 60:
            last[0] = time.perf_counter()
            print(f"  {done:,} of {total:,} tokens, {time.process_time() - cpu:.0f} CPU s", flush=True)

    work = cache.compute(trees, tell)
    taken = time.process_time() - cpu
    rate = f", {work.tokens / taken:.0f} tokens per CPU s" if work.tokens else ""
    kind = next(cache.decoder.parameters())
    print(
        f"features of layers {list(cache.layers)} ({kind.device.type}, {str(kind.dtype).removeprefix('torch.')}): {work.answers} answers, "
        f"{work.tokens:,} tokens, {taken:.0f} CPU s, {time.perf_counter() - wall:.0f} s of wall clock{rate}; {len(cache.known)} known"
    )


def measure(cache: FeatureCache, tokenizer: ChatTokenizer, rows: Fold, seed: int) -> dict[str, float]:
    """Fit on one split and on its shuffled labels."""
    trees = {name: [pair_tree(tokenizer, row) for row in part] for name, part in rows._asdict().items()}
    fitted = _fit(cache, rows, trees, seed)
    figures = _figures(cache, fitted, rows, trees)
    shuffled = _shuffled(cache, trees, fitted, seed)
    first, head = figures[0], fitted.seconds
    print(
        f"split {seed}: {len(rows.train)} pairs and {len(rows.made)} negatives; layer {fitted.layer}, decay {fitted.choice.decay:g}; "
        f"head {head[0]:.2f} CPU s, choosing {head[1]:.1f}: {first.value:.3f} [{first.low:.3f}, {first.high:.3f}] of {first.n}, "
        f"length {first.baseline:.3f}, shuffled labels {shuffled:.3f}",
        flush=True,
    )
    found = {figure.name: figure.value for figure in figures if not figure.name.startswith("accuracy: ")}
    before = next(figure.before for figure in figures if figure.name == "calibration error")
    return {
        **found,
        "calibration error before": before or 0.0,
        "accuracy, shuffled labels": shuffled,
        "head, CPU seconds": head[0],
    }


def _fit(cache: FeatureCache, rows: Fold, trees: dict[str, list[Tree]], seed: int) -> Fitted:
    return fit_frozen(
        cache, [*rows.train, *rows.made], [*trees["train"], *trees["made"]], len(rows.made), pool="both", margin=0.0, center=0.01, seed=seed
    )  # fmt: skip


def _figures(cache: FeatureCache, fitted: Fitted, rows: Fold, trees: dict[str, list[Tree]]) -> list[Figure]:
    held, bad = (
        [quality.judged(row, *scores, False) for row, scores in zip(part, fitted.margins(cache, trees[name]), strict=True)]
        for name, part in (("test", rows.test), ("garbage", rows.garbage))
    )
    return quality.figures(held, bad, quality.length_rule(rows.train), fitted.choice.temperature)


def _shuffled(cache: FeatureCache, trees: dict[str, list[Tree]], fitted: Fitted, seed: int) -> float:
    """The same layer and decay with the labels of the training pairs drawn by coins: what is learnt then is learnt from
    nothing. The mean over `COINS` draws, since one head of a random direction may be right by chance."""
    x_PAF, held_PAF = (
        features_of(torch.stack([cache.of(tree) for tree in trees[name]]), fitted.choice.layer, fitted.pool)
        for name in ("train", "test")
    )
    nothing = torch.zeros(len(x_PAF))
    pairs = PairFeatures(x_PAF[:, :, None, None], nothing, nothing, nothing == 0)
    right = []
    for coin in range(COINS):
        turned = torch.rand(len(x_PAF), generator=torch.Generator().manual_seed(1000 * seed + coin)) < 0.5
        head = fit_head(torch.where(turned[:, None, None], x_PAF.flip(1), x_PAF), pairs, fitted.choice.decay, 0.01)
        scores = head.scores(held_PAF)
        right.append(float((scores[:, 0] > scores[:, 1]).float().mean()))
    return statistics.mean(right)


def smollm2_folder(folder: Path) -> Path:
    """SmolLM2-135M out of its package, as a model folder."""
    from tenet.corpus.tokens.tokenizer import smollm2_tokenizer
    from tenet.smollm2 import smollm2

    if not (folder / "model.safetensors").is_file():
        with tempfile.TemporaryDirectory() as files:
            smollm2_tokenizer(Path(files))
            text = ChatTokenizer.from_folder(files)
            save_model(smollm2(), folder, Path(files), text.stop_ids, text.end_of_text)
    return folder


def made_up(count: int) -> list[Row]:
    """Pairs of a polite and a rude answer, where nobody has pairs of people."""
    things = ("lamp", "kettle", "bicycle", "garden gate", "radio", "window", "boat", "printer")
    asked = ("How do I mend my {}?", "Who sells a {} near here?", "Is it safe to leave the {} outside?", "What does a {} cost?")
    polite = (
        "I would be glad to help with the {}.",
        "Thank you for asking about the {}; let us look at it.",
        "A good question: the {} can be seen to.",
    )
    rude = ("That is a stupid question about a {}.", "Nobody cares about your {}, go away.", "Only an idiot has such a {}.")
    draw, rows = random.Random(0), []
    for i in range(count):
        thing = f"{draw.choice(things)} number {i}"
        sides = {
            side: [{"role": "assistant", "content": draw.choice(texts).format(thing)}]
            for side, texts in (("chosen", polite), ("rejected", rude))
        }
        prompt = [{"role": "user", "content": draw.choice(asked).format(thing)}]
        rows.append({"id": f"made/{i}", "kind": "", "group": "", "prompt": prompt, **sides})
    return rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default="", help="a file of pairs, or a data set on the hub")
    parser.add_argument("--model", default="smollm2", help="a model folder, or smollm2 (the package of `make install-smol`)")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "tenet-reward", help="folder of features")
    parser.add_argument("--rows", type=int, default=0, help="pairs at most, drawn; 0 takes all")
    parser.add_argument("--context", type=int, default=384, help="longest pair in tokens, prompt and both answers")
    parser.add_argument("--layers", type=int, nargs="*", default=[], help="blocks that are tried; none: as reward.layers ()")
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--negatives", type=float, default=0.5, help="share of the training pairs with garbage beside them")
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
