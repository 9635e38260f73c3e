"""Features of a frozen model, computed once and kept: they take minutes, the head that reads them less than a second.

A file holds a few hundred answers and is written whole, so a killed run goes on behind the last of them. Its folder is
named by the weights, the layers and the precision; an answer by its token ids and those of its prompt. So nothing that
is read back can be of another model or another text, and runs with other splits or more pairs compute what is new.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from lightning_modules.data.packing import Tree, in_passes
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.hub import save_tensors
from lightning_modules.model.tensors import weights_hash
from lightning_modules.model.tokenizer_files import replace
from lightning_modules.modules.pooling import answer_features
from tenet.errors import StageError

#: Tokens of one pass and of one file. A file is what a kill can cost.
PASS_TOKENS, FILE_TOKENS = 2048, 16_384


class Work(NamedTuple):
    """What had to be computed: answers and the tokens that the model read for them."""

    answers: int
    tokens: int


class FeatureCache:
    """Features by answer.

    Args:
        folder: of all models' features.
        decoder: frozen; moved by nobody.
        layers: counts of blocks, ascending.
    """

    def __init__(self, folder: Path, decoder: Decoder, layers: Sequence[int]) -> None:
        precision = str(next(decoder.parameters()).dtype).removeprefix("torch.")
        name = hashlib.sha256(f"{weights_hash(decoder)} {list(layers)} {precision}".encode()).hexdigest()[:16]
        self.folder, self.decoder, self.layers = folder / name, decoder, tuple(layers)
        self.known: dict[str, Tensor] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            self.known |= _read(path)

    def compute(self, trees: Sequence[Tree], tell: Callable[[int, int], None]) -> Work:
        """Compute what is not there yet.

        Args:
            tell: called after each pass with the tokens that are done and those of all.
        """
        wanted = self._missing(trees)
        total, done, answers = sum(map(len, wanted)), 0, 0
        pending: dict[str, Tensor] = {}
        held = 0
        for part in in_passes(wanted, PASS_TOKENS):
            names = [_name(tree.prompt, answer) for tree in part for answer in tree.answers]
            pending |= dict(zip(names, answer_features(self.decoder, part, self.layers), strict=True))
            size = sum(map(len, part))
            done, held, answers = done + size, held + size, answers + len(names)
            if held >= FILE_TOKENS or done == total:
                self._keep(pending)
                pending, held = {}, 0
            tell(done, total)
        return Work(answers, total)

    def of(self, tree: Tree) -> Tensor:
        """Features of a tree's answers: [answers, layers, last and mean, hidden]."""
        return torch.stack([self.known[_name(tree.prompt, answer)] for answer in tree.answers])

    def _missing(self, trees: Sequence[Tree]) -> list[Tree]:
        """What is not known, each prompt once with all answers to it."""
        by_prompt: dict[tuple[int, ...], dict[str, Sequence[int]]] = {}
        for tree in trees:
            names = {_name(tree.prompt, answer): answer for answer in tree.answers}
            if new := {name: answer for name, answer in names.items() if name not in self.known}:
                by_prompt[tuple(tree.prompt)] = by_prompt.get(tuple(tree.prompt), {}) | new
        return [Tree(prompt, list(answers.values())) for prompt, answers in by_prompt.items()]

    def _keep(self, found: dict[str, Tensor]) -> None:
        names = list(found)
        path = self.folder / f"{hashlib.sha256(' '.join(names).encode()).hexdigest()[:16]}.safetensors"
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {"features": torch.stack([found[name] for name in names])}
        replace(path, lambda to: save_tensors(tensors, to, {"answers": json.dumps(names)}))
        self.known |= found


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(str(path), "pt") as file:
            return dict(zip(json.loads(file.metadata()["answers"]), file.get_tensor("features"), strict=True))
    except Exception as error:  # safetensors raises its own untyped errors
        raise StageError(f"{path}: not readable as features ({error}); delete it, they are computed again") from None


def _name(prompt: Sequence[int], answer: Sequence[int]) -> str:
    return hashlib.sha256(f"{list(prompt)} {list(answer)}".encode()).hexdigest()[:24]
