"""A quality classifier that is trained here: good and bad texts in, a versioned folder with its figures out.

It is logistic regression on hashed words and word pairs (arXiv:0902.2206), the bag of words of which DCLM
(arXiv:2406.11794) found that it is enough, in numpy: the same texts give the same bytes, which fastText's own training
does not promise (0.9.2 with one thread leaves most of its table as the memory held it). It learns and judges passages
of one length, so that a book is not "better" than a page for being longer, and its score is the mean over the passages.
What it has learnt of words is shown by `explain`.

    folder/weights.npy   folder/card.json (training texts by SHA-256, counts, held-out accuracy and AUC, settings)
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tenet.corpus.filters.adagrad import Steps, learn
from tenet.corpus.filters.characters import Words
from tenet.corpus.ngrams import grams
from tenet.errors import ConfigError, StageError
from tenet.files import read_json, read_jsonl, sha256, write_bytes, write_json
from tenet.stats import auc

VERSION = 1
#: Fewest different texts of each side; below, held-out figures say nothing.
FEWEST = 50
#: Characters of a passage, most passages of a document in training, and in a score.
PASSAGE, LEARNT, JUDGED = 1_000, 4, 6
HELD_OUT = 0.2
#: Share of training passages that a converged model gets right: it has room to learn them by heart, so one that does
#: not has stopped too early (63 % after 3 epochs where 25 give 99.7 %).
CONVERGED = 0.9
#: AdaGrad's step (Duchi et al. 2011) of the bias, next to that of the weights.
BIAS = 0.1
MODEL = "weights.npy"
_GOOD, _BAD = "good", "bad"
_SIGN = re.compile(r"([^\w\s])")


@dataclasses.dataclass(frozen=True)
class Training:
    """How it is trained: passes over the passages, AdaGrad's step, and bits of the table of weights.

    Raises:
        ConfigError: a table too small to tell words apart, or one that is none.
    """

    epochs: int = 10
    lr: float = 0.1
    bits: int = 18

    def __post_init__(self) -> None:
        if not 14 <= self.bits <= 28:
            raise ConfigError(f"quality classifier: bits is {self.bits}; 14 (16,384 weights) to 28")


@dataclasses.dataclass(frozen=True)
class Held:
    """Figures on documents that were not trained on, with the 95 % interval of the AUC."""

    good: int
    bad: int
    accuracy: float
    auc: float
    auc_low: float
    auc_high: float


def train(
    good: Iterable[str], bad: Iterable[str], folder: Path, seed: int = 0, training: Training | None = None
) -> dict[str, Any]:
    """Train, measure and write a classifier; the same texts and seed give the same bytes.

    Args:
        good, bad: texts of each side, whole documents.
        folder: written to; an older model in it is replaced.
        seed: of the order, and of fastText.

    Returns:
        the card.

    Raises:
        ConfigError: fewer than `FEWEST` different texts on a side.
        StageError: the model did not converge.
    """
    training = training or Training()
    rows, both = _rows(good, bad)
    held = {text for text, _ in rows if _number(text, "held out") < HELD_OUT}
    lines = sorted(_lines(row for row in rows if row[0] not in held), key=lambda line: _number(line[1], str(seed)))
    places = [features(passage, training.bits) for _, passage in lines]
    truth = np.array([label == _GOOD for label, _ in lines], dtype=np.float64)
    weights = _learn(places, truth, training, seed)
    learnt = float(np.mean([(_logit(weights, at) > 0) == good for at, good in zip(places, truth, strict=True)]))
    if learnt < CONVERGED:
        raise StageError(
            f"quality classifier: {learnt:.1%} of its own training passages are right after {training.epochs} epochs at a rate of "
            f"{training.lr}; raise them, or look whether good and bad texts differ"
        )
    buffer = io.BytesIO()
    np.save(buffer, weights, allow_pickle=False)
    write_bytes(folder / MODEL, buffer.getvalue())
    card = {
        "version": VERSION,
        "model_sha256": sha256(folder / MODEL),
        "texts_sha256": {label: _digest(text for text, side in rows if side == label) for label in (_GOOD, _BAD)},
        "texts": {label: sum(side == label for _, side in rows) for label in (_GOOD, _BAD)},
        "on_both_sides": both,
        "passages": len(lines),
        "training_accuracy": round(learnt, 4),
        "settings": {**dataclasses.asdict(training), "seed": seed, "passage_characters": PASSAGE},
    }
    write_json(folder / "card.json", card)
    card["held_out"] = dataclasses.asdict(_measure(Classifier(folder), [row for row in rows if row[0] in held]))
    write_json(folder / "card.json", card)
    return card


class Classifier:
    """A trained classifier.

    Args:
        folder: of `train`.

    Raises:
        StageError: no classifier there, one of another version, or a model that is not the one of its card.
    """

    def __init__(self, folder: Path) -> None:
        self.card: dict[str, Any] = read_json(folder / "card.json")
        if self.card.get("version") != VERSION:
            raise StageError(
                f"{folder}: a quality classifier of version {self.card.get('version')}, not {VERSION}; train it again"
            )
        if sha256(folder / MODEL) != self.card["model_sha256"]:
            raise StageError(f"{folder / MODEL}: not the model of its card.json; train it again")
        self._weights: npt.NDArray[np.float32] = np.load(folder / MODEL, allow_pickle=False)
        self._bits = int(self.card["settings"]["bits"])

    def score(self, text: str) -> float:
        """How good, from 0 to 1: the mean over passages from all over the text. An empty text is 0."""
        found = [self._passage(passage) for passage in passages(text, JUDGED)]
        return sum(found) / len(found) if found else 0.0

    def _passage(self, passage: str) -> float:
        return 1 / (1 + math.exp(-min(max(_logit(self._weights, features(passage, self._bits)), -30), 30)))

    def explain(self, text: str, n: int = 10) -> list[tuple[str, float]]:
        """The n words that pull the score most, strongest first: how far they move the log-odds of good against bad,
        counted as often as they stand there; word pairs are left out."""
        pull: dict[str, float] = {}
        words = [word for passage in passages(text, JUDGED) for word in passage.split() if word.isalnum()]
        places = features_of_words(words, self._bits)
        for word, place in zip(words, places, strict=True):
            moved = float(self._weights[place]) / math.sqrt(2 * len(words))
            if moved:
                pull[word] = pull.get(word, 0.0) + moved
        return sorted(pull.items(), key=lambda item: (-abs(item[1]), item[0]))[:n]


# --- the model -------------------------------------------------------------------------------------------------------


def features_of_words(words: Sequence[str], bits: int) -> npt.NDArray[np.int64]:
    """Place of each word in the table."""
    found = [Words(word).content for word in words]
    return np.array([int(one[0] >> np.uint64(64 - bits)) if len(one) else 0 for one in found], dtype=np.int64)


def features(passage: str, bits: int) -> npt.NDArray[np.int64]:
    """Places of a passage's words and pairs of neighbours; signs count for nothing."""
    words = Words(passage).content
    both = np.concatenate([words, grams(words, 2) if len(words) > 1 else words[:0]])
    return (both >> np.uint64(64 - bits)).astype(np.int64)


def _logit(weights: npt.NDArray[np.float32], places: npt.NDArray[np.int64]) -> float:
    """The last weight is the bias."""
    return float(weights[places].sum() / math.sqrt(max(1, len(places))) + weights[-1])


def _learn(
    places: Sequence[npt.NDArray[np.int64]], truth: npt.NDArray[np.float64], training: Training, seed: int
) -> npt.NDArray[np.float32]:
    """Passages as their places, each as often as it is there; the bias is the last weight."""
    rows = [(at, counts / math.sqrt(len(one))) for one in places for at, counts in (np.unique(one, return_counts=True),)]
    steps = Steps(training.epochs, training.lr, BIAS * training.lr)
    weights, bias = learn(rows, truth[:, None], 1 << training.bits, steps, seed)
    return np.append(weights[0], bias)


def passages(text: str, most: int) -> list[str]:
    """At most so many passages of one length from all over a text, as the model reads them: small letters, blanks
    around signs, one line each."""
    if not text.strip():
        return []
    count = max(1, round(len(text) / PASSAGE))
    if count <= most:
        size = -(-len(text) // count)
        parts = [text[at : at + size] for at in range(0, len(text), size)]
    else:
        starts = [i * (len(text) - PASSAGE) // (most - 1) for i in range(most)]
        parts = [text[at : at + PASSAGE] for at in starts]
    plain = (" ".join(_SIGN.sub(r" \1 ", part.lower()).split()) for part in parts)
    return [part for part in plain if part]


# --- texts -----------------------------------------------------------------------------------------------------------


def texts_of(path: Path) -> list[str]:
    """Texts of a JSONL file (rows with `text`) or of the .txt, .md and .jsonl files of a folder.

    Raises:
        StageError, ConfigError: nothing to read there, or a row without text.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in (".txt", ".md", ".jsonl"))
        return [text for file in files for text in texts_of(file)]
    if path.suffix != ".jsonl":
        return [path.read_text(encoding="utf-8", errors="replace")]
    return [_member(row, "text", path) for row in read_jsonl(path)]


def judged(path: Path, threshold: float = 0.5) -> tuple[list[str], list[str]]:
    """Good and bad texts of a judge's rows: `text` with `label` (good or bad) or `score` (good from the threshold).

    Raises:
        ConfigError: a row without text, or without either.
    """
    good: list[str] = []
    bad: list[str] = []
    for number, row in enumerate(read_jsonl(path), 1):
        text, label, score = _member(row, "text", path), row.get("label"), row.get("score")
        if label in ("good", "bad"):
            (good if label == "good" else bad).append(text)
        elif isinstance(score, int | float):
            (good if score >= threshold else bad).append(text)
        else:
            raise ConfigError(
                f"{path}:{number}: label is {label!r}, score is {score!r}; one of them must be good, bad or a number"
            )
    return good, bad


def _member(row: dict[str, Any], key: str, path: Path) -> str:
    if not isinstance(row.get(key), str):
        raise ConfigError(f"{path}: a row's {key} is {json.dumps(row.get(key))}; it must be a string")
    return str(row[key])


def _rows(good: Iterable[str], bad: Iterable[str]) -> tuple[list[tuple[str, str]], int]:
    """Different texts with their labels in an order of their own; those on both sides are left out, and counted."""
    sides = {label: {text for text in texts if text.strip()} for label, texts in ((_GOOD, good), (_BAD, bad))}
    both = sides[_GOOD] & sides[_BAD]
    for label, texts in sides.items():
        if (left := len(texts - both)) < FEWEST:
            raise ConfigError(f"quality classifier: {left} different {label} texts, of which {FEWEST} are the least; add some")
    return [(text, label) for label, texts in sides.items() for text in sorted(texts - both)], len(both)


def _lines(rows: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for text, label in rows:
        yield from ((label, passage) for passage in passages(text, LEARNT))


def _number(text: str, salt: str) -> float:
    """A number in [0, 1) that only the text and the salt decide."""
    return (
        int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8, salt=salt.encode()[:16]).digest()) / 2**64
    )


def _digest(texts: Iterable[str]) -> str:
    whole = hashlib.sha256()
    for text in texts:
        whole.update(hashlib.sha256(text.encode("utf-8", "replace")).digest())
    return whole.hexdigest()


# --- figures ---------------------------------------------------------------------------------------------------------


def _measure(model: Classifier, rows: list[tuple[str, str]]) -> Held:
    scores = np.array([model.score(text) for text, _ in rows])
    is_good = np.array([label == _GOOD for _, label in rows])
    value, low, high = auc(scores[is_good], scores[~is_good])
    right = round(float(((scores >= 0.5) == is_good).mean()), 4)
    return Held(int(is_good.sum()), int((~is_good).sum()), right, value, low, high)
