"""Policy optimisation: what it learns, when it halts, and that a kill changes nothing."""

from __future__ import annotations

import copy
import dataclasses
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_modules.config import GuardLimits, OptimConfig, PolicyObjective
from lightning_modules.generation.engine import generate
from lightning_modules.generation.experience import Experience, Reward
from lightning_modules.generation.protocol import Completion, Sampling
from lightning_modules.generation.rollouts import ExperienceLoader, RolloutConfig
from lightning_modules.model.decoder import Decoder
from lightning_modules.model.tensors import weights_hash
from lightning_modules.modules.policy import RlhfModule
from lightning_modules.objectives.critic import ActorCritic
from lightning_modules.training.callbacks.resume import latest
from tests.lightning_modules.test_training import train
from tests.lightning_modules.tiny import tiny_model

OPTIM = OptimConfig(lr=3e-3, muon_lr=1e-2, warmup=0.1, decay=0.3)
OFF = GuardLimits(kl=0, ratio=0, entropy=0, length=0, truncated=0)
SIZES = RolloutConfig(rounds=60, prompts=8, group=8, minibatches=2)


def loader_of(policy: Any, score: Any, config: RolloutConfig = SIZES, **more: Any) -> ExperienceLoader:
    decoder = policy.decoder if isinstance(policy, ActorCritic) else policy
    prompts = [[1, i, 2] for i in range(40, 60)]
    sampling = Sampling(max_tokens=4, temperature=1.0)
    return ExperienceLoader(policy, copy.deepcopy(decoder), prompts, score, config, seed=0, sampling=sampling, **more)


def count_token(token: int, sign: float = 1.0) -> Any:
    def score(rows: list[int], answers: list[list[Completion]]) -> list[list[Reward]]:
        return [[Reward(sign * a.ids.count(token) / 4, {"count": a.ids.count(token) / 4}) for a in group] for group in answers]

    return score


def constant(rows: list[int], answers: list[list[Completion]]) -> list[list[Reward]]:
    return [[Reward(1.0) for _ in group] for group in answers]


def share_of(model: Decoder, token: int) -> float:
    answers = generate(model, [[1, i, 2] for i in range(60, 80)], Sampling(max_tokens=4, temperature=1.0, seed=5), n=8)
    flat = [i for group in answers for a in group for i in a.ids]
    return flat.count(token) / len(flat)


def reinforce(
    folder: Path, score: Any, config: RolloutConfig = SIZES, objective: PolicyObjective | None = None, critic: bool = False,
    limits: GuardLimits = OFF, stop: threading.Event | None = None, every: int = 10, **kl: Any,
) -> tuple[Decoder, RlhfModule]:  # fmt: skip
    model = tiny_model(6)
    policy: Any = ActorCritic(model, 10.0) if critic else model
    loader = loader_of(policy, score, config, objective=objective)
    module = RlhfModule(policy, OPTIM, len(loader), objective, longest=4, guards=limits, **kl)
    train(module, loader, len(loader), folder, stop, every=every, grain=loader.per_round)
    return model, module


@pytest.mark.parametrize(
    ("objective", "critic"),
    [
        (PolicyObjective(), False),
        (PolicyObjective(ratio="sequence", aggregate="answer", scale="group"), False),
        (PolicyObjective(clip="cispo", aggregate="constant"), False),
        (PolicyObjective(clip_high=0.2), True),
    ],
    ids=["grpo", "gspo", "cispo", "ppo"],
)
def test_policy_optimisation_raises_the_reward(objective: PolicyObjective, critic: bool, tmp_path: Path) -> None:
    # A token the fresh model already makes now and then.
    start = share_of(tiny_model(6), 33)
    up, _ = reinforce(tmp_path, count_token(33), SIZES, objective, critic, every=1000)
    assert share_of(up, 33) > start + 0.3


def test_a_flipped_sign_lowers_it(tmp_path: Path) -> None:
    down, _ = reinforce(tmp_path, count_token(33, -1.0), dataclasses.replace(SIZES, rounds=20))
    assert share_of(down, 33) <= share_of(tiny_model(6), 33)


@pytest.mark.parametrize("no_signal", ["keep", "drop", "refill"])
def test_a_constant_reward_teaches_nothing(no_signal: Any, tmp_path: Path) -> None:
    config = dataclasses.replace(SIZES, rounds=3, no_signal=no_signal)
    model, _ = reinforce(tmp_path, constant, config)
    assert weights_hash(model) == weights_hash(tiny_model(6))


def test_rounds_are_refilled_with_groups_that_have_a_signal() -> None:
    def score(rows: list[int], answers: list[list[Completion]]) -> list[list[Reward]]:
        asked.append(len(rows))
        return [
            [Reward(float(row % 2 and i == 0)) for i, _ in enumerate(group)] for row, group in zip(rows, answers, strict=True)
        ]

    asked: list[int] = []
    policy = tiny_model(6)
    batches = loader_of(policy, score, dataclasses.replace(SIZES, rounds=1, no_signal="refill"))._round(0)
    assert len(asked) > 1 and batches[0].metrics["rollout/groups"] == 8 < batches[0].metrics["rollout/asked"] == sum(asked)
    assert all(bool(batch.advantages.ne(0).all()) for batch in batches)
    asked.clear()
    (first, second) = loader_of(policy, score, dataclasses.replace(SIZES, rounds=1, no_signal="drop"))._round(0)
    assert asked == [8] and first.metrics["rollout/groups"] < 8 and len(second.advantages)


def test_overlong_answers_are_left_out_or_pay() -> None:
    policy = tiny_model(6)
    masked = loader_of(policy, constant, dataclasses.replace(SIZES, overlong="mask"))._round(0)
    assert not any(batch.kept.any() for batch in masked)  # no answer stops by itself here
    penalised = loader_of(policy, constant, dataclasses.replace(SIZES, overlong="penalise", overlong_buffer=2))._round(0)
    assert penalised[0].metrics["reward/overlong"] == -1.0 and penalised[0].metrics["reward/mean"] == 0.0


def test_every_answer_is_on_record_with_the_weights_that_made_it() -> None:
    rows: list[dict[str, Any]] = []
    policy = tiny_model(6)
    loader = loader_of(
        policy, count_token(33), dataclasses.replace(SIZES, rounds=1), record=lambda number, made: rows.extend(made)
    )
    loader._round(0)
    assert len(rows) == 64 and {row["weights"] for row in rows} == {weights_hash(policy)}
    assert all(len(row["ids"]) == len(row["logprobs"]) and row["reward"] == row["parts"]["count"] for row in rows)


def test_a_sampler_of_another_precision_is_corrected_for() -> None:
    policy = tiny_model(6)
    (batch, *_) = loader_of(policy, count_token(33), dataclasses.replace(SIZES, precision="bf16"))._round(0)
    same = loader_of(policy, count_token(33))._round(0)[0]
    assert bool((same.importance == 1).all())
    apart = (batch.importance - 1).abs()
    assert 0 < float(apart.max()) < 0.2  # two precisions differ, and not by much
    capped = loader_of(policy, count_token(33), dataclasses.replace(SIZES, precision="bf16"),
                       objective=PolicyObjective(importance_cap=0.5))._round(0)[0]  # fmt: skip
    assert float(capped.importance.max()) == 0.5


def test_moving_one_answer_moves_no_other() -> None:
    """Log-probabilities of an answer, in a tree with others, do not depend on them."""
    policy = tiny_model(6)
    (batch, *_) = loader_of(policy, count_token(33))._round(0)
    answers = batch.packed.ids.clone()
    from lightning_modules.objectives.logprobs import token_logprobs

    order = batch.packed.sequence_ids
    target = int((order == 0).nonzero()[-1])
    changed = dataclasses.replace(batch.packed, ids=answers.clone(), targets=batch.packed.targets.clone())
    changed.ids.view(-1)[batch.packed.sources[order == 0][1:]] = 7
    with torch.no_grad():
        old, new = token_logprobs(policy, batch.packed), token_logprobs(policy, changed)
    assert target >= 1 and not torch.equal(old[order == 0], new[order == 0])
    assert torch.equal(old[order != 0], new[order != 0])


def test_the_kl_limit_ends_the_fit_with_the_last_good_weights(tmp_path: Path) -> None:
    model, module = reinforce(tmp_path, count_token(33), limits=dataclasses.replace(OFF, kl=0.02))
    assert "above the limit" in module.halted
    assert drift(model) <= 0.02 < drift_of_the_fit(tmp_path)


def drift(model: Decoder) -> float:
    """Nats per token from the model that training began with, on fresh answers."""
    module = RlhfModule(model, OPTIM, 1, guards=OFF)
    loader = ExperienceLoader(
        model, tiny_model(6), [[1, i, 2] for i in range(40, 60)], count_token(33), SIZES, seed=9,
        sampling=Sampling(max_tokens=4, temperature=1.0),
    )  # fmt: skip
    with torch.no_grad():
        return sum(module._loss(batch)[1]["kl"] for batch in loader._round(0)) / 2


def drift_of_the_fit(folder: Path) -> float:
    import csv

    with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
        return max(float(row["kl"]) for row in csv.DictReader(file) if row["kl"])


def test_a_kl_target_moves_its_weight(tmp_path: Path) -> None:
    _, module = reinforce(tmp_path, count_token(33), dataclasses.replace(SIZES, rounds=20), kl=0.05, kl_target=1e-4)
    assert module.kl_weight > 0.05
    _, module = reinforce(tmp_path / "2", constant, dataclasses.replace(SIZES, rounds=5), kl=0.05, kl_target=1.0)
    assert module.kl_weight < 0.05


def test_a_reward_that_is_no_number_halts_at_once(tmp_path: Path) -> None:
    def score(rows: list[int], answers: list[list[Completion]]) -> list[list[Reward]]:
        calls.append(1)
        return [[Reward(float("nan") if len(calls) == 3 else 1.0) for _ in group] for group in answers]

    calls: list[int] = []
    model, module = reinforce(tmp_path, score, dataclasses.replace(SIZES, rounds=6))
    assert "is no number" in module.halted and len(calls) == 3
    assert weights_hash(model) == weights_hash(tiny_model(6))


@pytest.mark.parametrize("critic", [False, True], ids=["grpo", "ppo"])
def test_reinforcement_resumes_to_the_same_bytes(critic: bool, tmp_path: Path) -> None:
    config, kl = dataclasses.replace(SIZES, rounds=10), {"kl": 0.05, "kl_target": 0.01, "kl_in_loss": not critic}
    whole, _ = reinforce(tmp_path / "whole", count_token(33), config, critic=critic, **kl)
    stop = threading.Event()

    def stopping(rows: list[int], answers: list[list[Completion]]) -> list[list[Reward]]:
        calls.append(1)
        if len(calls) == 5:
            stop.set()
        return count_token(33)(rows, answers)  # type: ignore[no-any-return]

    calls: list[int] = []
    reinforce(tmp_path / "cut", stopping, config, critic=critic, stop=stop, **kl)
    assert latest(tmp_path / "cut" / "checkpoints").name == "step-00000010.ckpt"  # type: ignore[union-attr]
    again, _ = reinforce(tmp_path / "cut", count_token(33), config, critic=critic, **kl)
    assert weights_hash(again) == weights_hash(whole)


def test_a_halted_fit_that_is_killed_stays_halted(tmp_path: Path) -> None:
    limits = dataclasses.replace(OFF, kl=0.02)
    model, module = reinforce(tmp_path, count_token(33), limits=limits, every=2)
    again, resumed = reinforce(tmp_path, count_token(33), limits=limits, every=2)
    assert resumed.halted == module.halted and weights_hash(again) == weights_hash(model)


def test_biased_sampling_is_refused() -> None:
    model, config = tiny_model(), RolloutConfig(rounds=1, prompts=2, group=2)
    with pytest.raises(ValueError, match="temperature 1"):
        ExperienceLoader(model, model, [[1]], count_token(1), config, seed=0, sampling=Sampling(temperature=0.7))


def test_values_come_before_their_token() -> None:
    """A value must not see the token whose advantage it is the baseline of."""
    policy = ActorCritic(tiny_model(6))
    torch.nn.init.normal_(policy.value.weight)
    batch: Experience = loader_of(policy, count_token(33))._round(0)[0]

    def values(targets: Tensor, ids: Tensor) -> Tensor:
        with torch.no_grad():
            return policy(dataclasses.replace(batch.packed, targets=targets, ids=ids))[1]

    last = torch.tensor([int((batch.packed.sequence_ids == a).nonzero()[-1]) for a in range(8)])
    targets = batch.packed.targets.clone()
    targets[last] = 5
    assert torch.equal(values(targets, batch.packed.ids), values(batch.packed.targets, batch.packed.ids))


def test_a_hacked_reward_halts_with_the_weights_of_the_last_good_look(tmp_path: Path) -> None:
    """Paid is one token, gold is another that the first one drives out."""
    weights: list[tuple[int, str]] = []

    def probe(model: Decoder) -> list[Reward]:
        weights.append((len(weights), weights_hash(model)))
        answers = generate(model, [[1, i, 2] for i in range(60, 124)], Sampling(max_tokens=4, temperature=1.0, seed=5))
        return [Reward(a.ids.count(33) / 4, {}, -a.ids.count(33) / 4) for (a,) in answers]

    model = tiny_model(6)
    loader = loader_of(model, count_token(33), dataclasses.replace(SIZES, probe_every=2), probe=probe)
    module = RlhfModule(model, OPTIM, len(loader), longest=4, guards=dataclasses.replace(OFF, gold=1.0, gold_patience=3))
    train(module, loader, len(loader), tmp_path, None, every=1000, grain=loader.per_round)
    assert module.halted.startswith("the gold measure fell")
    # Three looks in a row spoke; what is handed on was looked at just before them.
    assert weights_hash(model) == weights[-4][1]
    assert len(weights) < 20
