"""Judges that score one answer at a time, so that no order can sway them: a reward model, and the verifiers that
prompts name. And who `--judge` means."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tenet.errors import ConfigError
from tenet.feedback.judging.pair_judges import CRITERION, EndpointJudge, Opinion, Pair, PairJudge
from tenet.feedback.sides import endpoint, file_hashes
from tenet.verifiers import VERIFIERS, Verifier, verify

if TYPE_CHECKING:
    from lightning_modules.data.chat import ChatTokenizer
    from lightning_modules.data.packing import Tree
    from lightning_modules.modules.reward import RewardModel


def open_judge(word: str, criterion: str = CRITERION, verifiers: Mapping[str, Verifier] = VERIFIERS) -> PairJudge:
    """The judge that `--judge` names: a URL (URL#MODEL-ID), the folder of a reward model, or `checks`.

    Raises:
        ConfigError: it names none.
    """
    if word == "checks":
        return ChecksPairJudge(verifiers)
    if word.startswith(("http://", "https://")):
        return EndpointJudge(endpoint(word), criterion)
    folder = Path(word)
    if (folder / "reward_head.safetensors").is_file():
        return RewardJudge(folder)
    raise ConfigError(
        f"--judge {word}: is no URL, no folder of a reward model (reward_head.safetensors, as `tenet reward` writes it) "
        "and not checks; a plain model judges behind `tenet serve --model DIR`"
    )


class RewardJudge:
    """The reward model's own preference. Weights are read when the first pair is judged.

    Args:
        folder: `reward/` of a finished reward stage.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def tokenizer(self) -> ChatTokenizer:
        """With its chat template."""
        from tenet.model_folders import chat_tokenizer

        return chat_tokenizer(self.folder, "--judge")

    @cached_property
    def model(self) -> RewardModel:
        """As its folder says: layer, pool and head."""
        from lightning_modules.modules.reward import load_reward
        from tenet.model_folders import refused_as

        with refused_as("--judge"):
            return load_reward(self.folder)

    def judge(self, pairs: Sequence[Pair]) -> list[Opinion]:
        """See `PairJudge.judge`. Equal scores are a tie."""
        import torch

        from lightning_modules.data.packing import pack

        longest = self.model.decoder.config.max_position_embeddings
        trees = [self._tree(pair) for pair in pairs]
        # Positions are counted within each answer, so it is the longer one that must fit.
        fits = [len(tree.prompt) + max(map(len, tree.answers)) <= longest for tree in trees]
        kept = [tree for tree, fit in zip(trees, fits, strict=True) if fit]
        with torch.inference_mode():
            flat = self.model(pack(kept, max(map(len, kept))), 2 * len(kept)).view(-1, 2).tolist() if kept else []
        scores = iter(flat)
        long = Opinion(None, (), f"longer than the reward model reads ({longest} tokens)")
        return [_by_scores(*next(scores)) if fit else long for fit in fits]

    def shown(self, pair: Pair) -> str:
        """See `PairJudge.shown`: each answer behind the prompt, as the reward model's own template has it."""
        tree = self._tree(pair)
        texts = [self.tokenizer.decode([*tree.prompt, *answer], keep_special=True) for answer in tree.answers]
        return "\n".join(f"--- {side}:\n{text}" for side, text in zip("ab", texts, strict=True))

    def identity(self) -> dict[str, str]:
        """See `PairJudge.identity`."""
        return file_hashes(self.folder)

    def _tree(self, pair: Pair) -> Tree:
        from tenet.posttrain.training import pair_tree

        return pair_tree(self.tokenizer, {**pair.row, "chosen": [pair.a.turn()], "rejected": [pair.b.turn()]})


class ChecksPairJudge:
    """The verifier that each prompt row names scores both answers; the higher score wins.

    Args:
        verifiers: by kind, those of a domain among them.
    """

    def __init__(self, verifiers: Mapping[str, Verifier] = VERIFIERS) -> None:
        self.verifiers = verifiers

    def judge(self, pairs: Sequence[Pair]) -> list[Opinion]:
        """See `PairJudge.judge`."""
        return [self._one(pair) for pair in pairs]

    def _one(self, pair: Pair) -> Opinion:
        if "verifier" not in pair.row:
            return Opinion(None, (), "the prompt names no verifier")
        found = [verify(pair.row, answer.text, list(answer.tool_calls), self.verifiers) for answer in (pair.a, pair.b)]
        if failed := [one for one in found if one.failed]:
            return Opinion(None, (), "the verifier failed", {"errors": failed[0].errors})
        return _by_scores(found[0].score, found[1].score)

    def shown(self, pair: Pair) -> str:
        """See `PairJudge.shown`."""
        asked = json.dumps(pair.row.get("verifier"), ensure_ascii=False)
        return f"judged by {asked}\n--- a:\n{pair.a.whole}\n--- b:\n{pair.b.whole}"

    def identity(self) -> dict[str, str]:
        """See `PairJudge.identity`; what they are stands in the prompts' file."""
        return {"judge": "the verifiers of the prompts"}


def _by_scores(a: float, b: float) -> Opinion:
    if not (math.isfinite(a) and math.isfinite(b)):
        return Opinion(None, (), "a score is no finite number", {"scores": [str(a), str(b)]})
    score = 0.5 if a == b else float(b > a)
    return Opinion(score, (), "", {"scores": [round(a, 5), round(b, 5)]})
