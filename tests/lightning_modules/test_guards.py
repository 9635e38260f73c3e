"""When policy optimisation is warned of and halted: each guard alone, with what it needs to speak and to be silent."""

from __future__ import annotations

import dataclasses
import json
import math
import random

import pytest

from lightning_modules.config import GuardLimits
from lightning_modules.generation.experience import Probe
from lightning_modules.training.guards import Guards

OFF = GuardLimits(kl=0, ratio=0, entropy=0, length=0, truncated=0, no_signal=0, patience=2)
QUIET = {
    "kl": 0.01, "ratio/mean": 1.0, "rollout/entropy": 2.0, "rollout/length_p95": 20.0, "rollout/truncated": 0.1,
    "rollout/zero_variance": 0.2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "value", "metric", "bad", "said"),
    [
        ("ratio", 0.05, "ratio/mean", 1.08, "trainer to sampler is 1.080"),
        ("ratio", 0.05, "ratio/mean", 0.92, "further from 1 than 0.05"),
        ("entropy", 0.1, "rollout/entropy", 0.15, "entropy fell from 2.000 to 0.150"),
        ("length", 3.0, "rollout/length_p95", 61.0, "grew from 20 to 61 tokens"),
        ("truncated", 0.5, "rollout/truncated", 0.6, "60% of the answers were cut"),
        ("no_signal", 0.8, "rollout/zero_variance", 0.9, "90% of the groups have answers of one reward"),
    ],
)
def test_a_sign_warns_and_halts_when_it_stays(limit: str, value: float, metric: str, bad: float, said: str) -> None:
    guards, wrong = Guards(dataclasses.replace(OFF, **{limit: value})), {**QUIET, metric: bad}
    assert guards.look(QUIET) == ([], "")
    warned, halt = guards.look(wrong)
    assert len(warned) == 1 and said in warned[0] and not halt
    assert guards.look(QUIET) == ([], "")  # it went away: counted anew
    assert guards.look(wrong)[1] == ""
    # What it remembers goes through a checkpoint.
    again = Guards(guards.limits, json.loads(json.dumps(guards.remembered)))
    assert said in again.look(wrong)[1]
    assert Guards(OFF).look(wrong) == ([], "")


def test_divergence_and_numbers_that_are_none_halt_at_once() -> None:
    assert "KL 0.600" in Guards(dataclasses.replace(OFF, kl=0.5)).look({**QUIET, "kl": 0.6})[1]
    for value in (math.nan, math.inf):
        assert "reward/mean is no number" in Guards(OFF).look({**QUIET, "reward/mean": value})[1]


def test_answers_that_were_cut_from_the_start_are_no_explosion() -> None:
    guards = Guards(dataclasses.replace(OFF, truncated=0.5))
    for _ in range(5):
        assert guards.look({**QUIET, "rollout/truncated": 1.0}) == ([], "")


def test_usual_limits_let_a_usual_round_pass() -> None:
    guards = Guards(GuardLimits())
    for _ in range(10):
        assert guards.look(QUIET) == ([], "")


def looks(gold: list[float], paid: list[float]) -> list[Probe]:
    """Means that move by little, on 200 prompts that differ by much."""
    draw = random.Random(0)
    hard = [draw.gauss(0, 1) for _ in range(200)]

    def values(mean: float) -> tuple[float, ...]:
        return tuple(mean + h + draw.gauss(0, 0.05) for h in hard)

    return [Probe(values(p), values(g)) for p, g in zip(paid, gold, strict=True)]


def test_a_reward_that_rises_while_gold_falls_is_hacked() -> None:
    guards = Guards(dataclasses.replace(OFF, gold=1.0, gold_patience=3))
    said = [guards.look(QUIET, look) for look in looks([0.5, 0.55, 0.53, 0.51, 0.48], [1.0, 1.1, 1.2, 1.3, 1.4])]
    assert [bool(warnings) for warnings, _ in said] == [False, False, True, True, True]
    assert not said[3][1] and "the gold measure fell from 0.5" in said[4][1] and "by more than 1 standard errors" in said[4][1]


@pytest.mark.parametrize(
    ("gold", "paid"),
    [
        ([0.5, 0.6, 0.7, 0.8, 0.9], [1.0, 1.1, 1.2, 1.3, 1.4]),
        ([0.5, 0.4, 0.3, 0.2, 0.1], [1.0, 0.9, 0.8, 0.7, 0.6]),
        ([0.5, 0.5, 0.5, 0.5, 0.5], [1.0, 1.1, 1.2, 1.3, 1.4]),
    ],
    ids=["both rise", "both fall", "gold stays"],
)
def test_what_is_no_hack_sets_nothing_off(gold: list[float], paid: list[float]) -> None:
    guards = Guards(dataclasses.replace(OFF, gold=3.0, gold_patience=1))
    assert all(guards.look(QUIET, look) == ([], "") for look in looks(gold, paid))


def test_a_sign_of_hacking_waits_for_the_next_look_and_goes_through_a_checkpoint() -> None:
    limits = dataclasses.replace(OFF, gold=1.0, gold_patience=2)
    guards = Guards(limits)
    first, second, third = looks([0.5, 0.4, 0.3], [1.0, 1.2, 1.4])
    assert not guards.watches_gold
    guards.look(QUIET, first)
    assert guards.watches_gold and guards.look(QUIET, second)[0]
    assert guards.look(QUIET) == ([], "")  # nobody looked
    again = Guards(limits, json.loads(json.dumps(guards.remembered)))
    assert "gold" in again.look(QUIET, third)[1]
    assert Guards(dataclasses.replace(limits, gold=0.0)).look(QUIET, third) == ([], "")
