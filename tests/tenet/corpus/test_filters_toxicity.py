"""A tag from a model of the user's own rows: learnt, measured on rows that were held out, refused when it is not whole.

The rows are harmless: what stands for "toxic" is a made-up vocabulary.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tenet.corpus.filters.toxicity import ANY, Toxicity, as_row, features, score, train
from tenet.errors import ConfigError
from tenet.files import read_json, write_json

CALM = ["garden", "river", "quiet", "bread", "morning", "letter", "window", "bridge", "summer", "table", "music", "paper"]
LOUD = ["grobbel", "snarkit", "vexolo", "brimzak"]
WILD = ["thrundle", "quaspit"]


def made_up(count: int, seed: int = 0) -> list[dict[str, Any]]:
    pick, rows = random.Random(seed), []
    for i in range(count):
        words = pick.choices(CALM, k=20)
        loud, wild = i % 3 == 0, i % 4 == 0
        for place, names in ((3, LOUD), (9, WILD)):
            if (loud, wild)[place == 9]:
                words[place] = pick.choice(names)
        labels = {"loud": int(loud)} if i % 2 else {"loud": int(loud), "wild": int(wild)}
        rows.append({"id": f"r{i}", "text": " ".join(words), "labels": labels})
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("toxicity")
    train(made_up(400), made)
    return made


def test_no_model_is_no_tag() -> None:
    assert score("anything", None) is None


def test_labels_are_told_apart(folder: Path) -> None:
    model = Toxicity.from_folder(folder)
    calm, loud = model.score("the quiet river under the bridge"), model.score("a grobbel snarkit by the river")
    assert set(calm) == {ANY, "loud", "wild"}
    assert loud["loud"] > 0.5 > calm["loud"] and loud["loud"] > loud["wild"]
    assert score("thrundle quaspit", model) == model.score("thrundle quaspit")


def test_a_long_text_scores_as_its_worst_passage(folder: Path) -> None:
    model = Toxicity.from_folder(folder)
    calm = "the quiet river under the bridge in summer " * 200
    hidden = calm + "grobbel snarkit vexolo brimzak " * 20 + calm
    assert model.score(hidden)["loud"] > 0.5 > model.score(calm)["loud"]
    assert model.score("") == model.score("")


def test_the_card_says_what_it_was_made_of(folder: Path) -> None:
    card = read_json(folder / "card.json")
    assert card["rows"] == 400 and len(card["rows_sha256"]) == 64
    found = card["held_out"]["loud"]
    assert found["low"] <= found["auc"] <= found["high"] and found["auc"] > 0.9
    # Half of the rows were not judged for "wild": they are no false rows of it.
    assert card["held_out"]["wild"]["rows"] < found["rows"]


def test_same_rows_same_bytes(folder: Path, tmp_path: Path) -> None:
    train(made_up(400), tmp_path)
    assert (tmp_path / "weights.npy").read_bytes() == (folder / "weights.npy").read_bytes()
    assert read_json(tmp_path / "card.json") == read_json(folder / "card.json")


def test_what_is_not_whole_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no toxicity model"):
        Toxicity.from_folder(tmp_path)
    (tmp_path / "weights.npy").write_bytes((folder / "weights.npy").read_bytes()[:-1] + b"x")
    write_json(tmp_path / "card.json", read_json(folder / "card.json"))
    with pytest.raises(ConfigError, match="not the file that its card names"):
        Toxicity.from_folder(tmp_path)
    write_json(tmp_path / "card.json", {**read_json(folder / "card.json"), "version": 0})
    with pytest.raises(ConfigError, match="version 0"):
        Toxicity.from_folder(tmp_path)


def test_rows_of_both_forms() -> None:
    assert as_row({"prompt": "x", "S": 0, "H": 1}) == ("x", {ANY: True, "S": False, "H": True})
    assert as_row({"text": "x", "labels": {"a": False}}) == ("x", {ANY: False, "a": False})
    with pytest.raises(ConfigError, match="row 7"):
        as_row({"text": "x"}, "row 7")
    with pytest.raises(ConfigError, match="too few"):
        train(made_up(12), Path("never written"))


def test_features_are_the_same_everywhere() -> None:
    assert features("").shape == (0,)
    assert features("Ab ab").tolist() == features("aB  AB").tolist()
    assert len(features("\ud800 word")) > 2
