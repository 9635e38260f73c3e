"""Scores of answers under a reward model: of pairs, and of several answers to one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.data.packing import Tree, pack
from lightning_modules.modules.reward import RewardModel, load_reward
from tenet.errors import ConfigError
from tenet.model_folders import refused_as
from tenet.posttrain.reward_models.quality import judged
from tenet.posttrain.training import pair_tree
from tenet.rows import Row


@torch.no_grad()
def score_trees(model: RewardModel, trees: Sequence[Tree], batch: int = 64) -> list[list[float]]:
    """Of each tree the scores of its answers.

    Args:
        batch: trees of one pass.
    """
    out: list[list[float]] = []
    for i in range(0, len(trees), batch):
        part = trees[i : i + batch]
        scores = model(pack(part, max(map(len, part))), sum(len(tree.answers) for tree in part)).tolist()
        for tree in part:
            out.append(scores[: len(tree.answers)])
            scores = scores[len(tree.answers) :]
    return out


def score_pairs(model: RewardModel, trees: Sequence[Tree]) -> list[tuple[float, float]]:
    """Scores of chosen and rejected."""
    return [(chosen, rejected) for chosen, rejected in score_trees(model, trees)]


def score_rows(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """Pairs with the scores of both answers; answers that stand in several pairs of one prompt are scored once.

    Raises:
        ConfigError: the folder is no reward model, or a pair is longer than it can read.
    """
    with refused_as("--model"):
        model = load_reward(folder)
    tokenizer = ChatTokenizer.from_folder(folder)
    trees = [pair_tree(tokenizer, row) for row in rows]
    most = model.decoder.config.max_position_embeddings
    # Positions are counted within each answer, so it is the longer one that must fit.
    lengths = [len(tree.prompt) + max(map(len, tree.answers)) for tree in trees]
    if long := [row["id"] for row, length in zip(rows, lengths, strict=True) if length > most]:
        raise ConfigError(f"{len(long)} pairs are longer than the model reads ({most} tokens), the first is {long[0]!r}")
    scores = _once(model, trees)
    return [judged(row, *pair, texts=False) for row, pair in zip(rows, scores, strict=True)]


def _once(model: RewardModel, trees: Sequence[Tree]) -> list[tuple[float, float]]:
    prompts: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for tree in trees:
        known = prompts.setdefault(tuple(tree.prompt), [])
        known += [answer for answer in map(tuple, tree.answers) if answer not in known]
    found = score_trees(model, [Tree(prompt, answers) for prompt, answers in prompts.items()], batch=32)
    scores = {
        (prompt, answer): score
        for (prompt, answers), values in zip(prompts.items(), found, strict=True)
        for answer, score in zip(answers, values, strict=True)
    }
    return [tuple(scores[tuple(tree.prompt), tuple(answer)] for answer in tree.answers) for tree in trees]  # type: ignore[misc]


def best_of(rows: Sequence[Row], scored: Sequence[Row]) -> dict[str, float]:
    """Of prompts with several answers (`best_of`), whether every good one scores above every bad one, by prompt; a half
    where the worst good one and the best bad one are equal.

    Args:
        rows: as `tenet/rows` reads them. scored: the same with scores.
    """
    prompts: dict[str, list[Row]] = {}
    for row, score in zip(rows, scored, strict=True):
        if row.get("best_of"):
            prompts.setdefault(str(row["id"]).rpartition(".")[0], []).append(score)
    return {name: _won(pairs) for name, pairs in prompts.items()}


def _won(pairs: Sequence[Row]) -> float:
    worst = min(pair["chosen_score"] for pair in pairs)
    best = max(pair["rejected_score"] for pair in pairs)
    return 1.0 if worst > best else 0.5 if worst == best else 0.0
