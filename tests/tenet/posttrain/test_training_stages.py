"""The training stages on rows of one's own, as they stand: what they learn from, what they say, what they refuse."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.config import ComputeConfig, GuardLimits, OptimConfig, PolicyObjective, PreferenceObjective
from tenet.errors import ConfigError, StageError
from tenet.settings.rewards import EnvironmentConfig, RewardPart
from tenet.settings.training import DpoConfig, RlhfConfig
from tenet.stages.training import dpo, rlhf
from tests.lightning_modules.tiny import tiny_model
from tests.tenet.posttrain.alone import model_folder, rows_of, workspace

CPU = ComputeConfig(accelerator="cpu", threads=1)
FAST = OptimConfig(lr=3e-3, warmup=0.1, decay=0.3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(tmp_path_factory.mktemp("model"), tiny_model(3))


def rating(i: int) -> dict[str, Any]:
    return {"prompt": f"Where is lamp {i}?", "completion": "the lazy dog" if i % 2 else "the quick fox", "label": i % 2 == 0}


def kto(data: str, **more: Any) -> DpoConfig:
    objective = PreferenceObjective("kto", beta=0.5)
    return DpoConfig(data=data, objective=objective, steps=20, batch_pairs=8, compute=CPU, optim=FAST, **more)


def test_ratings_are_learnt_from_and_measured(model: Path, tmp_path: Path) -> None:
    ws = workspace(tmp_path, model, "dpo")
    found = dpo.run(kto(rows_of(tmp_path / "ratings.jsonl", [rating(i) for i in range(120)])), ws)
    assert found.details["loss"] == "kto" and found.details["ratings"] > 90
    area, liked, disliked = (figure.value for figure in found.figures)
    assert area > 0.95 and liked > disliked and "that was liked gained more" in found.headline
    assert (ws.dir / "model" / "model.safetensors").is_file()
    assert {row["liked"] for row in map(json.loads, (ws.dir / "rows.jsonl").read_text().splitlines())} == {True, False}


def test_kto_takes_pairs_apart(model: Path, tmp_path: Path) -> None:
    pairs = [{"prompt": f"Where is lamp {i}?", "chosen": "the quick fox", "rejected": "the lazy dog"} for i in range(80)]
    found = dpo.run(kto(rows_of(tmp_path / "pairs.jsonl", pairs)), workspace(tmp_path, model, "dpo"))
    assert found.details["pairs"] % 2 == 0 and found.details["pairs"] > 120
    assert found.figures[0].value > 0.9 and "chosen answer in" in found.headline


def test_ratings_need_the_loss_that_takes_them(model: Path, tmp_path: Path) -> None:
    data = rows_of(tmp_path / "ratings.jsonl", [rating(i) for i in range(40)])
    with pytest.raises(ConfigError, match=r"objective.loss is dpo, which learns from pairs; --objective.loss kto"):
        dpo.run(DpoConfig(data=data, compute=CPU), workspace(tmp_path, model, "dpo"))
    liked = rows_of(tmp_path / "liked.jsonl", [{**rating(i), "label": True} for i in range(40)])
    with pytest.raises(StageError, match=r"0 are not; both are needed"):
        dpo.run(kto(liked), workspace(tmp_path, model, "dpo"))


def prompt(i: int) -> dict[str, Any]:
    return {"prompt": f"Say x {i}", "verifier": {"kind": "regex", "pattern": "x"}}


def policy(data: str, **more: Any) -> RlhfConfig:
    sizes = {"steps": 3, "prompts": 4, "group": 4, "minibatches": 2, "max_tokens": 8, "eval_rows": 4, "checkpoint_every": 1}
    return RlhfConfig(data=data, compute=CPU, optim=FAST, **{**sizes, **more})


@pytest.mark.parametrize(
    "more",
    [
        {"algorithm": "ppo", "kl_in": "reward", "kl_target": 0.01, "objective": PolicyObjective(clip_high=0.2), "group": 1},
        {"no_signal": "refill", "overlong": "mask", "rollout_precision": "bf16", "keep_rollouts": True},
    ],
    ids=["ppo", "refilled"],
)
def test_policy_optimisation_as_a_stage(more: dict[str, Any], model: Path, tmp_path: Path) -> None:
    ws = workspace(tmp_path, model, "rlhf")
    found = rlhf.run(policy(rows_of(tmp_path / "prompts.jsonl", [prompt(i) for i in range(40)]), **more), ws)
    assert found.details["guard"] == "" and (ws.dir / "model" / "model.safetensors").is_file()
    kept = sorted((ws.dir / "rollouts").glob("*.jsonl"))
    assert len(kept) == (3 if more.get("keep_rollouts") else 0)
    for path in kept:
        made = list(map(json.loads, path.read_text().splitlines()))
        assert len(made) >= 16 and len({row["weights"] for row in made}) == 1 and all(row["prompt"] for row in made)


def test_a_halted_stage_says_so(model: Path, tmp_path: Path) -> None:
    data = rows_of(tmp_path / "prompts.jsonl", [prompt(i) for i in range(40)])
    limits = GuardLimits(kl=0.0, truncated=0.0, no_signal=0.5, patience=2)  # no answer is ever right
    found = rlhf.run(policy(data, steps=6, guards=limits), workspace(tmp_path, model, "rlhf"))
    assert "groups have answers of one reward" in found.details["guard"] and "stopped: " in found.headline
    assert len(found.details["warned"]) == 2


def test_a_conversation_with_a_calculator_as_a_stage(model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"What is {i} + 1?", "answer": i + 1} for i in range(24)]
    ws = workspace(tmp_path, model, "rlhf")
    environment = EnvironmentConfig("calculator", max_turns=2)
    config = policy(rows_of(tmp_path / "prompts.jsonl", rows), environment=environment, keep_rollouts=True)
    found = rlhf.run(config, ws)
    assert found.details["parts"] == [{"name": "environment", "kind": "environment", "weight": 1.0, "judges": 24}]
    (first, *_) = map(json.loads, (ws.dir / "rollouts" / "00000.jsonl").read_text().splitlines())
    assert first["turns"] >= 1 and len(first["sampled"]) == len(first["ids"])
    (row, *_) = map(json.loads, (ws.dir / "rows.jsonl").read_text().splitlines())
    assert row["reward/environment"] == row["after"]


def test_every_part_is_logged_apart_and_gold_is_watched(model: Path, tmp_path: Path) -> None:
    """Paid is the length, which can be had; gold is what the function says of it."""
    (tmp_path / "mine.py").write_text(
        "def longer(messages, text, row):\n    return {'score': len(text), 'words': len(text.split())}\n"
        "def brief(messages, text, row):\n    return -float(len(text))\n"
    )
    parts = (
        RewardPart("verifier"),
        RewardPart("python", 0.5, call=f"{tmp_path}/mine.py:longer", normalise="round"),
        RewardPart("principle", 0.1, "few", check={"max_words": 3}),
        RewardPart("python", 0.0, gold=True, call=f"{tmp_path}/mine.py:brief"),
    )
    limits = GuardLimits(kl=0.0, truncated=0.0, length=0.0, gold=1.0, gold_patience=2)
    ws = workspace(tmp_path, model, "rlhf")
    data = rows_of(tmp_path / "prompts.jsonl", [prompt(i) for i in range(60)])
    found = rlhf.run(policy(data, rewards=parts, guards=limits, steps=20, prompts=8, group=8, gold_rows=24), ws)
    assert found.details["guard"].startswith("the gold measure fell from ") and "stopped: the gold" in found.headline
    names = ["verifier", "longer", "longer.words", "few", "brief"]
    with open(ws.dir / "metrics.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert all(float(row[f"reward/{name}"]) == float(row[f"reward/{name}"]) for name in names) and row["gold/mean"]
    told = [figure.name for figure in found.figures]
    assert [f"part of the reward: {name}" for name in ("verifier", "longer", "few")] == [
        n for n in told if n.endswith(("verifier", "longer", "few"))
    ]
    assert "part of the reward: brief (gold, not learnt from)" in told
    assert found.details["parts"][1] == {
        "name": "longer", "kind": "python", "weight": 0.5, "judges": found.details["prompts"] + 8, "normalise": "round",
    }  # fmt: skip
    assert found.details["prompts"] <= 60 - 24  # some are watched, some held out


def test_a_part_that_has_no_model_is_refused(model: Path, tmp_path: Path) -> None:
    data = rows_of(tmp_path / "prompts.jsonl", [prompt(i) for i in range(40)])
    with pytest.raises(ConfigError, match=r"rlhf.rewards model: this run has no reward stage; name a reward model's folder"):
        rlhf.run(policy(data, rewards=(RewardPart("verifier"), RewardPart("model"))), workspace(tmp_path, model, "rlhf"))
    with pytest.raises(ConfigError, match=r"rlhf.environment.kind is domain, and there is no domain"):
        rlhf.run(policy(data, environment=EnvironmentConfig("domain")), workspace(tmp_path, model, "rlhf"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"group": 1}, "rlhf.group is 1; a group baseline"),
        ({"overlong": "penalise"}, "rlhf.overlong_buffer is 0"),
        ({"kl": 0.0, "kl_target": 0.1}, "rlhf.kl_target is 0.1 and rlhf.kl 0"),
    ],
)
def test_settings_that_cannot_be(more: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RlhfConfig(**more)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PolicyObjective(clip_low=2.0), r"rlhf.objective.clip_low is 2.0"),
        (lambda: PolicyObjective(importance_cap=0.0), r"rlhf.objective.importance_cap is 0"),
        (lambda: GuardLimits(patience=0), r"rlhf.guards.patience is 0"),
        (lambda: GuardLimits(kl=float("nan")), r"rlhf.guards.kl is nan"),
        (lambda: PreferenceObjective(beta=0.0), r"dpo.objective.beta is 0"),
        (lambda: PreferenceObjective("ipo", label_smoothing=0.1), r"ipo has none"),
    ],
)
def test_objectives_that_cannot_be(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()
