"""Episodes of several turns: ids stay as they were sampled, what is observed is no target, and the trainer sees what the
sampler saw."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_modules.generation.episodes import play
from lightning_modules.generation.experience import Reward
from lightning_modules.generation.protocol import Completion, Sampling
from lightning_modules.model.tensors import weights_hash
from lightning_modules.modules.policy import RlhfModule
from lightning_modules.objectives.critic import ActorCritic
from lightning_modules.objectives.logprobs import token_logprobs
from lightning_modules.training.callbacks.resume import latest
from tests.lightning_modules.fits import Echo
from tests.lightning_modules.test_policy import OFF, OPTIM, SIZES, loader_of
from tests.lightning_modules.test_training import train
from tests.lightning_modules.tiny import tiny_model

SAMPLING = Sampling(max_tokens=4, temperature=1.0)


def earned(rows: list[int], answers: list[list[Completion]]) -> list[list[Reward]]:
    return [[Reward(a.earned["said"], dict(a.earned)) for a in group] for group in answers]


def episodes(row: int) -> Echo:
    return Echo()


def played(n: int = 8) -> list[Completion]:
    (group,) = play(tiny_model(6), [[1, 40, 2]], [[Echo() for _ in range(n)]], SAMPLING, [3])
    return group


def test_what_was_sampled_stays_and_what_was_observed_stands_between() -> None:
    found = played(32)
    assert {c.turns for c in found} == {1, 2, 3}
    for c in found:
        assert len(c.sampled) == len(c.ids) and sum(c.sampled) == len(c.logprobs) == 4 * c.turns
        assert c.sampled == ([True] * 4 + [False] * 2) * (c.turns - 1) + [True] * 4
        for at in range(4, len(c.ids) - 4, 6):  # [7, the token before]
            assert c.ids[at : at + 2] == [7, c.ids[at - 1]]
        assert c.last == c.ids[-4:]
        assert c.earned == {"said": pytest.approx(sum(i == 33 for i, own in zip(c.ids, c.sampled, strict=True) if own) / 10)}


def test_an_episode_depends_on_its_own_stream_alone() -> None:
    assert [c.ids for c in played(8)] == [c.ids for c in played(32)][:8]
    assert len({tuple(c.ids) for c in played(32)}) > 16
    first = next(c for c in played(32) if c.turns > 1)
    assert first.ids[:4] != first.ids[6:10]  # a turn draws from a stream of its own


def test_an_episode_ends_where_there_is_no_room_left() -> None:
    class Short(Echo):
        longest = 12

    (group,) = play(tiny_model(6), [[1, 40, 2]], [[Short() for _ in range(16)]], SAMPLING, [3])
    assert max(3 + len(c.ids) for c in group) <= 12
    assert {c.finish for c in group if c.turns > 1 or len(c.ids) < 4} <= {"length"}


@pytest.mark.parametrize("critic", [False, True], ids=["grpo", "ppo"])
def test_the_trainer_computes_what_the_sampler_did(critic: bool) -> None:
    policy: Any = ActorCritic(tiny_model(6)) if critic else tiny_model(6)
    seen: list[list[list[Completion]]] = []

    def score(rows: list[int], answers: list[list[Completion]]) -> list[list[Reward]]:
        seen.append(answers)
        return earned(rows, answers)

    batches = loader_of(policy, score, episodes=episodes)._round(0)
    assert sum(len(b.old) for b in batches) == sum(len(a.logprobs) for group in seen[0] for a in group)
    assert any(a.turns > 1 for group in seen[0] for a in group)
    decoder = policy.decoder if critic else policy
    for batch in batches:
        with torch.no_grad():
            trained = token_logprobs(decoder, batch.packed)
        assert float((trained - batch.old).abs().max()) < 1e-4
        assert len(batch.advantages) == len(batch.old) == len(batch.packed.targets)


def test_what_is_observed_is_no_target() -> None:
    """The loss is the same whatever would be predicted in place of the observations, and they are read."""
    policy = tiny_model(6)
    loader = loader_of(policy, earned, dataclasses.replace(SIZES, rounds=1), episodes=episodes)
    rows: list[dict[str, Any]] = []
    loader.record = lambda number, made: rows.extend(made)
    batch = loader._round(0)[0]
    first = rows[: len(batch.packed.sequence_ids.unique())]
    own = [[i for i, is_own in zip(row["ids"], row["sampled"], strict=True) if is_own] for row in first]
    targets = [batch.packed.targets[batch.packed.sequence_ids == n].tolist() for n in range(len(first))]
    assert targets == own and {row["turns"] for row in rows} > {1}


def test_the_advantage_is_that_of_the_whole_episode() -> None:
    batch = loader_of(tiny_model(6), earned, episodes=episodes)._round(0)[0]
    for n in batch.packed.sequence_ids.unique():
        assert len(batch.advantages[batch.packed.sequence_ids == n].unique()) == 1
    assert batch.metrics["rollout/turns"] > 1


def fitted(folder: Path, score: Any, stop: threading.Event | None = None) -> Any:
    model = tiny_model(6)
    loader = loader_of(model, score, dataclasses.replace(SIZES, rounds=8), episodes=episodes)
    module = RlhfModule(model, OPTIM, len(loader), longest=12, guards=OFF)
    train(module, loader, len(loader), folder, stop, every=4, grain=loader.per_round)
    return model


def test_a_fit_that_is_stopped_in_a_rollout_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole = fitted(tmp_path / "whole", earned)
    stop, calls = threading.Event(), []

    def stopping(rows: list[int], answers: list[list[Completion]]) -> list[list[Reward]]:
        calls.append(1)
        if len(calls) == 5:
            stop.set()
        return earned(rows, answers)

    fitted(tmp_path / "cut", stopping, stop)
    assert latest(tmp_path / "cut" / "checkpoints").name < "step-00000016.ckpt"  # type: ignore[union-attr]
    assert weights_hash(fitted(tmp_path / "cut", earned)) == weights_hash(whole)
    assert weights_hash(whole) != weights_hash(tiny_model(6))
