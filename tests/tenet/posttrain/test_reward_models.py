"""Reward models: what a head on frozen features learns and does not learn, what its folder says, garbage, calibration,
lengths, and pairs that say how sure people were."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.config import ComputeConfig, OptimConfig, ParallelConfig
from lightning_modules.data.packing import Tree
from lightning_modules.model.hub import load_model, save_model
from lightning_modules.modules.pooling import answer_features
from lightning_modules.modules.reward import HEAD_FILE, load_reward
from tenet.cli.main import main
from tenet.errors import ConfigError, Interrupted, StageError
from tenet.posttrain.reward_models import negatives, quality
from tenet.posttrain.reward_models.calibration import calibration_error, fit_temperature, log_loss, reliability
from tenet.posttrain.reward_models.feature_cache import FeatureCache
from tenet.posttrain.reward_models.frozen import layers_of
from tenet.posttrain.reward_models.labels import decided, labels, told
from tenet.posttrain.reward_models.linear_head import PairFeatures, fit_head
from tenet.posttrain.reward_models.scoring import best_of, score_pairs
from tenet.posttrain.training import pair_tree
from tenet.rows import read_table
from tenet.runs.workspace import Workspace
from tenet.settings.training import RewardConfig
from tenet.stages.training import reward
from tests.lightning_modules.tiny import tiny_model, tiny_tokenizer

CPU = ComputeConfig(accelerator="cpu", threads=1)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    text = tiny_tokenizer()
    text.tokenizer.save(str(folder / "tokenizer.json"))
    save_model(tiny_model(3, num_layers=4), folder, folder, text.stop_ids, text.end_of_text)
    return folder


def made(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """A fox is better than a dog, whichever answer is longer."""
    draw, rows = random.Random(seed), []
    for i in range(count):
        good, bad = (f"the {' '.join(['quick'] * draw.randint(1, 6))} {animal}" for animal in ("fox", "lazy dog"))
        rows.append({"id": f"row{i}", "prompt": f"Where is lamp {seed} {i}?", "chosen": good, "rejected": bad, "kind": "animals"})
    return rows


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def workspace(tmp_path: Path, model: Path, **more: Any) -> Workspace:
    return Workspace(
        tmp_path / "reward", tmp_path, "reward", (), 0, lambda *_: None, start=model, parallel=ParallelConfig(), **more
    )


def config(data: Path, **more: Any) -> RewardConfig:
    return RewardConfig(**{"data": str(data), "mode": "frozen", "pool": "both", "negatives": 0.5, "compute": CPU, **more})


def figure(summary: Any, name: str) -> Any:
    return next(f for f in summary.figures if f.name == name)


def test_a_head_on_frozen_features_learns_and_its_folder_scores_alike(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = written(tmp_path / "pairs.jsonl", made(120))
    found = reward.run(config(data), workspace(tmp_path, model))
    accuracy = figure(found, "held-out pairwise accuracy")
    assert accuracy.value > 0.9 and accuracy.low > accuracy.baseline
    assert figure(found, "planted garbage that loses to the chosen answer").value > 0.5
    assert found.details["negatives"] > 30 and found.details["layer"] == 2 and found.tokens > 0
    again = reward.run(config(data), workspace(tmp_path, model))
    assert again.tokens == 0 and again.figures == found.figures  # features are kept
    kept = [json.loads(line) for line in (tmp_path / "reward" / "rows.jsonl").read_text().splitlines()]
    loaded = load_reward(tmp_path / "reward" / "reward")
    assert (loaded.layer, loaded.pool, loaded.decoder.config.num_layers) == (2, "both", 2)
    rows = {row["id"]: row for row in read_table(str(data), "preferences").rows}
    scores = score_pairs(loaded, [pair_tree(tiny_tokenizer(), rows[row["id"]]) for row in kept])
    wanted = torch.tensor([[row["chosen_score"], row["rejected_score"]] for row in kept])
    assert torch.allclose(torch.tensor(scores), wanted, atol=1e-3)
    out = tmp_path / "scores.jsonl"
    assert main(["score", "--model", str(tmp_path / "reward" / "reward"), "--data", str(data), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "120 pairs" in printed and "correlation of score with length" in printed
    assert {row["id"] for row in map(json.loads, out.read_text().splitlines())} == set(rows)


def test_nothing_is_learnt_from_a_coin(model: Path, tmp_path: Path) -> None:
    coin = random.Random(5)
    rows = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} if coin.random() < 0.5 else row for row in made(160)]
    found = reward.run(config(written(tmp_path / "pairs.jsonl", rows), negatives=0.0), workspace(tmp_path, model))
    accuracy = figure(found, "held-out pairwise accuracy")
    assert accuracy.low < 0.5 < accuracy.high


def test_the_trained_kind_is_measured_alike(model: Path, tmp_path: Path) -> None:
    data = written(tmp_path / "pairs.jsonl", made(360))
    optim = OptimConfig(lr=3e-3, warmup=0.1, decay=0.3)
    found = reward.run(config(data, mode="train", pool="mean", steps=20, batch_pairs=8, optim=optim), workspace(tmp_path, model))
    assert figure(found, "held-out pairwise accuracy").value > 0.9
    assert found.details["calibrated_on"] >= 30 and found.details["negatives"] > 80
    names = [f.name for f in found.figures]
    assert {"calibration error", "calibration temperature", "correlation of score with length"} <= set(names)
    assert any(name.startswith("planted garbage that loses: ") for name in names)
    assert load_reward(tmp_path / "reward" / "reward").layer is None


def test_a_killed_extraction_goes_on_where_it_was(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tenet.posttrain.reward_models import feature_cache

    monkeypatch.setattr(feature_cache, "PASS_TOKENS", 400)
    monkeypatch.setattr(feature_cache, "FILE_TOKENS", 800)
    text, decoder = tiny_tokenizer(), load_model(model)
    trees = [pair_tree(text, row) for row in read_table(str(written(tmp_path / "p.jsonl", made(40))), "preferences").rows]
    whole = FeatureCache(tmp_path / "whole", decoder, (1, 3))
    total = whole.compute(trees, lambda *_: None)

    def stop(done: int, _: int) -> None:
        if done > 1000:
            raise Interrupted("enough")

    with pytest.raises(Interrupted):
        FeatureCache(tmp_path / "cut", decoder, (1, 3)).compute(trees, stop)
    rest = FeatureCache(tmp_path / "cut", decoder, (1, 3))
    left = rest.compute(trees, lambda *_: None)
    assert 0 < left.answers < total.answers == 80 and not FeatureCache(tmp_path / "cut", decoder, (2,)).known
    assert all(torch.allclose(whole.of(tree), rest.of(tree), atol=1e-5) for tree in trees)
    next((tmp_path / "cut").rglob("*.safetensors")).write_bytes(b"cut short")
    with pytest.raises(StageError, match=r"not readable as features .* delete it"):
        FeatureCache(tmp_path / "cut", decoder, (1, 3))


def test_features_are_the_states_of_the_layer(model: Path) -> None:
    decoder, tree = load_model(model), Tree([1, 2, 3], [[10, 11, 12], [20, 21]])
    states: list[torch.Tensor] = []
    decoder.blocks[1].register_forward_hook(lambda module, given, out: states.append(out))
    for answer in tree.answers:
        decoder(torch.tensor([[*tree.prompt, *answer]]))
    found = answer_features(decoder, [tree], (2,))
    for i, own in enumerate(states[:2]):
        assert torch.allclose(found[i, 0, 0], own[0, -1], atol=1e-5)
        assert torch.allclose(found[i, 0, 1], own[0, 3:].mean(0), atol=1e-5)


def test_the_head_is_at_the_minimum_of_its_loss() -> None:
    torch.manual_seed(0)
    x, truth = torch.randn(200, 2, 5), torch.tensor([1.0, -2.0, 0.0, 0.5, 0.0])
    swap = torch.rand(200) > torch.sigmoid((x[:, 0] - x[:, 1]) @ truth)
    x[swap] = x[swap].flip(1)
    pairs = PairFeatures(x[:, :, None, None], torch.zeros(200), torch.zeros(200), torch.ones(200, dtype=torch.bool))
    head = fit_head(3 * x + 7, pairs, 1e-6, 0.0)  # neither scale nor place of a feature matters
    weight = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    gaps = (3 * (x[:, 0] - x[:, 1])).double()
    solver = torch.optim.LBFGS([weight], max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def closure() -> torch.Tensor:
        solver.zero_grad()
        loss = torch.nn.functional.softplus(-(gaps @ weight)).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    assert torch.allclose(head.weight_F.double(), weight.detach(), atol=0.02)
    held = fit_head(x, pairs, 100.0, 0.0)
    assert held.weight_F.abs().max() < 0.01
    centred = fit_head(x + 5, pairs, 0.1, 0.01).scores(x + 5)
    assert abs(float(centred.mean())) < 0.05


def test_a_margin_asks_for_a_wider_gap_and_a_tie_for_none() -> None:
    x = torch.tensor([[[1.0], [0.0]], [[0.0], [1.0]]]).repeat(20, 1, 1)
    x[1::2] = x[1::2].flip(1)

    def weight(margin: float, doubt: float) -> float:
        pairs = PairFeatures(x, torch.full((40,), margin), torch.full((40,), doubt), torch.ones(40, dtype=torch.bool))
        return float(fit_head(x, pairs, 0.1, 0.0).weight_F)

    assert weight(2.0, 0.0) > 1.2 * weight(0.0, 0.0) > 0 and abs(weight(0.0, 0.5)) < 1e-4


def test_what_rows_say_of_margins_and_ties() -> None:
    rows = [
        {"id": "a", "margin": 0.5, "p_chosen": 0.75},
        {"id": "b", "score_chosen": 8, "score_rejected": 5, "p_chosen": 0.5},
        {"id": "c"},
    ]
    found = labels(rows, 2.0)
    assert found.margins.tolist() == [1.0, 6.0, 2.0] and found.doubts.tolist() == [0.25, 0.5, 0.0]
    assert told(rows) == {"with_a_margin": 2, "not_unanimous": 1, "ties": 1} and [row["id"] for row in decided(rows)] == [
        "a",
        "c",
    ]
    for row in ({"id": "d", "p_chosen": 0.2}, {"id": "d", "p_chosen": "yes"}, {"id": "d", "margin": -1}):
        with pytest.raises(ConfigError, match=r"^d: (p_chosen|margin) is .*must be a number"):
            labels([row], 0.0)


# --- garbage -------------------------------------------------------------------------------------------------------------


def spoken(count: int) -> list[dict[str, Any]]:
    answers = (
        "You should talk to a friend about it. That may help more than you think.",
        "No.",
        "Try the shop at the corner first.",
    )
    return [
        {
            "id": str(i),
            "kind": "",
            "margin": 0.3,
            "prompt": [{"role": "user", "content": f"Question {i}?"}],
            "chosen": [{"role": "assistant", "content": f"{answers[i % 3]} {i}"}],
            "rejected": [{"role": "assistant", "content": "Go away."}],
        }
        for i in range(count)
    ]


def texts(rows: list[dict[str, Any]], kind: str) -> set[str]:
    return {row["rejected"][0]["content"] for row in rows if row["kind"] == kind}


def test_garbage_is_of_all_kinds_and_never_that_of_training() -> None:
    rows = spoken(200)
    trained, planted = negatives.trained(rows[:140], 1.0), negatives.planted(rows[140:])
    assert len(trained) == 140 and len(planted) == 60
    assert {row["kind"] for row in trained} == {row["kind"] for row in planted} == set(negatives.KINDS)
    assert not any("margin" in row for row in trained)
    phrases = [set(" ".join(texts(part, "meta")).replace(".", " ").split()) for part in (trained, planted)]
    assert len(phrases[0] & phrases[1]) / len(phrases[1]) < 0.5 and not texts(trained, "meta") & texts(planted, "meta")
    own = {row["id"]: row["chosen"][0]["content"] for row in rows}
    for row in trained + planted:
        said, first = row["rejected"][0]["content"], row["id"].split()[0]
        assert said != own[first] and row["chosen"][0]["content"] == own[first]
        assert row["kind"] != "cut off" or own[first].startswith(said)
        assert row["kind"] != "off-topic" or said in own.values()
        assert row["kind"] != "repetition" or max(said.split().count(word) for word in said.split()) >= 3


def test_another_split_gives_most_of_the_same_garbage() -> None:
    rows = spoken(100)
    some, others = negatives.trained(rows[:80], 1.0), negatives.trained(rows[20:], 1.0)
    first, second = ({row["id"]: row["rejected"] for row in part} for part in (some, others))
    both = first.keys() & second.keys()
    assert len(both) > 30 and sum(first[name] == second[name] for name in both) > 0.8 * len(both)
    assert {row["rejected"][0]["content"] for row in others if row["kind"] == "off-topic"} <= {
        row["chosen"][0]["content"] for row in rows[20:]
    }


# --- figures -------------------------------------------------------------------------------------------------------------


def test_calibration_finds_the_factor_that_was_put_in() -> None:
    draw = random.Random(1)
    true = [abs(draw.gauss(0, 2)) for _ in range(4000)]
    right = [m if draw.random() < 1 / (1 + 2.718281828**-m) else -m for m in true]
    blown = [5 * m for m in right]
    temperature = fit_temperature(blown)
    assert temperature == pytest.approx(5, rel=0.1)
    fixed = [m / temperature for m in blown]
    assert calibration_error(fixed) < 0.02 < 0.15 < calibration_error(blown) and log_loss(fixed) < log_loss(blown)
    assert sum(one.pairs for one in reliability(fixed)) == 4000 and log_loss([0.0]) == pytest.approx(0.6931, abs=1e-4)
    assert fit_temperature(blown[:10]) == 1.0  # too few to tell


def test_a_score_that_is_the_length_is_found_out() -> None:
    draw, rows = random.Random(2), []
    for i in range(300):
        sides = {side: "x" * draw.randint(5, 200) for side in ("chosen", "rejected")}
        row = {"id": str(i), "kind": "", **{side: [{"role": "assistant", "content": text}] for side, text in sides.items()}}
        rows.append(quality.judged(row, float(len(sides["chosen"])), float(len(sides["rejected"])), False))
    found = {f.name: f for f in quality.figures(rows, [], "longer", 1.0)}
    assert found["correlation of score with length"].value == pytest.approx(1.0)
    assert found["accuracy where the longer answer was chosen"].value == 1.0
    assert found["accuracy where the shorter answer was chosen"].value == 0.0
    assert found["accuracy above the rule that the longer answer wins"].value == 0.0
    assert 10 < found["accuracy where lengths differ by at most 10%"].n < 60
    assert quality.length_correlation([{"margin": 1.0, "chosen_length": 3, "rejected_length": 3}]) is None


def test_a_file_of_best_of_several(tmp_path: Path) -> None:
    record = {"id": "7", "prompt": "2 + 2?", "chosen": ["4"], "rejected": ["5", "6", "fish"], "subset": "Math", "num_correct": 1}
    ties = {"id": "8", "prompt": "A colour?", "chosen": ["red", "blue"], "rejected": ["seven"], "subset": "Ties"}
    table = read_table(str(written(tmp_path / "rb2.jsonl", [record, ties])), "preferences")
    assert table.format == "best of several" and [row["id"] for row in table.rows] == ["7.1", "7.2", "7.3", "8.1", "8.2"]
    assert [row["kind"] for row in table.rows] == ["Math"] * 3 + ["Ties"] * 2 and table.rows[0]["best_of"] == 4
    scores = [(1, 0), (1, 0.5), (1, 2), (3, 1), (1, 1)]
    scored = [{"chosen_score": a, "rejected_score": b} for a, b in scores]
    assert best_of(table.rows, scored) == {"7": 0.0, "8": 0.5}


# --- what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"layers": (0,)}, r"reward.layers is \[0\]; layers are counted from 1"),
        ({"layers": (3,), "mode": "train"}, r"reward.layers is \[3\] and reward.mode train"),
        ({"mode": "frozen", "freeze": True}, "reward.freeze is for reward.mode train"),
        ({"negatives": 1.5}, "reward.negatives is 1.5"),
        ({"train_rows": 0}, "reward.train_rows is 0"),
    ],
)
def test_settings_that_cannot_be(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RewardConfig(**more)


def test_layers_that_are_not_there_and_heads_that_name_them(model: Path, tmp_path: Path) -> None:
    from lightning_modules.model.errors import ModelFolderError
    from lightning_modules.model.hub import save_tensors

    assert layers_of((), 30) == (12, 15, 18) and layers_of((4, 2, 4), 4) == (2, 4)
    with pytest.raises(ConfigError, match=r"reward.layers is \[5\], and the model has 4 blocks"):
        layers_of((5,), 4)
    text = tiny_tokenizer()
    save_model(tiny_model(), tmp_path / "r", model, text.stop_ids, text.end_of_text)
    for how, said in (({"layer": "9"}, r"layer 9, which a model of 2 blocks has not"), ({"pool": '"max"'}, "pool 'max'")):
        save_tensors({"head.weight": torch.zeros(1, 48)}, tmp_path / "r" / HEAD_FILE, how)
        with pytest.raises(ModelFolderError, match=said):
            load_reward(tmp_path / "r")
    save_tensors({"head.bias": torch.zeros(1)}, tmp_path / "r" / HEAD_FILE, {})
    with pytest.raises(ModelFolderError, match=r"holds no head.weight"):
        load_reward(tmp_path / "r")
