"""A classifier learns from texts, gives the same bytes again, is told by its card, and says which words it goes by."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from tenet.corpus.filters.quality import FEWEST, PASSAGE, Classifier, Training, judged, passages, texts_of, train
from tenet.errors import ConfigError, StageError

BOTH = ["the", "of", "and", "a", "to", "page", "was", "it", "in", "for"]
GOOD = ["because", "therefore", "measured", "explains", "evidence", "river", "historical"]
BAD = ["click", "subscribe", "cookies", "login", "sale", "cart", "free"]


def texts(words: list[str], count: int = 120, seed: int = 0, length: int = 60) -> list[str]:
    pick = random.Random(seed)
    return [" ".join(pick.choices(BOTH + words, k=length)) + "." for _ in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quality")
    train(texts(GOOD), texts(BAD, seed=1), path / "model", seed=3)
    return path / "model"


def test_good_and_bad_are_told_apart(folder: Path) -> None:
    model = Classifier(folder)
    good, bad = texts(GOOD, 20, 7), texts(BAD, 20, 8)
    assert min(map(model.score, good)) > 0.8 and max(map(model.score, bad)) < 0.2
    assert all(0 <= model.score(text) <= 1 for text in (*good, *bad, "中文", "?")) and model.score(" \n") == 0


def test_length_does_not_make_a_text_better(folder: Path) -> None:
    model = Classifier(folder)
    for words in (GOOD, BAD, GOOD + BAD):
        short = np.mean([model.score(text) for text in texts(words, 40, 11, 60)])
        long = np.mean([model.score(text) for text in texts(words, 10, 12, 6000)])
        assert abs(short - long) < 0.15


def test_words_explain_the_score(folder: Path) -> None:
    pulls = dict(Classifier(folder).explain("the evidence explains the river; click the cart", 30))
    assert pulls["evidence"] > 0 > pulls["click"] and pulls["explains"] > 0 > pulls["cart"] and "zebra" not in pulls
    strongest = Classifier(folder).explain("the evidence explains the river; click the cart", 2)
    assert len(strongest) == 2 and not {word for word, _ in strongest} & set(BOTH)


def test_the_card_says_how_it_was_made(folder: Path) -> None:
    card = json.loads((folder / "card.json").read_text())
    held = card["held_out"]
    assert card["texts"] == {"good": 120, "bad": 120} and card["settings"]["seed"] == 3
    assert held["good"] + held["bad"] > 30 and held["auc_low"] <= held["auc"] <= held["auc_high"] and held["accuracy"] > 0.95
    assert card["training_accuracy"] > 0.95 and sorted(path.name for path in folder.iterdir()) == ["card.json", "weights.npy"]


def test_the_same_texts_give_the_same_model(folder: Path, tmp_path: Path) -> None:
    again = train(reversed(texts(GOOD)), texts(BAD, seed=1), tmp_path / "b", seed=3)
    assert again == json.loads((folder / "card.json").read_text())


def test_what_cannot_be_learnt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"different good texts, of which {FEWEST}"):
        train(texts(GOOD, FEWEST - 1), texts(BAD, seed=1), tmp_path)
    with pytest.raises(ConfigError, match="0 different good texts"):
        train(texts(GOOD), texts(GOOD), tmp_path)
    with pytest.raises(StageError, match=r"after 1 epochs at a rate of 0\.0001"):
        train(texts([]), texts([], seed=1), tmp_path, training=Training(epochs=1, lr=0.0001))
    with pytest.raises(ConfigError, match="bits is 3"):
        Training(bits=3)
    assert not list(tmp_path.rglob("weights.npy"))


def test_a_changed_or_missing_model_is_not_used(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no such file"):
        Classifier(tmp_path)
    card = json.loads((folder / "card.json").read_text())
    (tmp_path / "weights.npy").write_bytes(b"other")
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(StageError, match="not the model of its card"):
        Classifier(tmp_path)
    (tmp_path / "card.json").write_text(json.dumps({**card, "version": 0}))
    with pytest.raises(StageError, match="version 0"):
        Classifier(tmp_path)


def test_seed_sets_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.jsonl").write_text('{"text": "two"}\n{"text": "three"}\n')
    assert texts_of(tmp_path) == ["one", "two", "three"]
    rows = [{"text": "x", "label": "good"}, {"text": "y", "score": 0.2}, {"text": "z", "score": 4}, {"text": "w", "label": "bad"}]
    (tmp_path / "judge.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert judged(tmp_path / "judge.jsonl", 3) == (["x", "z"], ["y", "w"])
    (tmp_path / "judge.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(ConfigError, match="label is None"):
        judged(tmp_path / "judge.jsonl")
    (tmp_path / "judge.jsonl").write_text('{"text": 5, "label": "good"}\n')
    with pytest.raises(ConfigError, match="text is 5"):
        judged(tmp_path / "judge.jsonl")


def test_passages_are_of_one_length_and_from_all_over() -> None:
    text = " ".join(f"w{i}" for i in range(20_000))
    found = passages(text, 5)
    assert len(found) == 5 and found[0].startswith("w0 ") and found[-1].endswith("w19999")
    assert all(0.9 * PASSAGE < len(part) <= PASSAGE for part in found)
    assert passages("One, TWO!\n", 5) == ["one , two !"] and passages(" ", 5) == []
