"""When policy optimisation is warned of and halted: each guard alone, with what it needs to speak and to be silent."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from lightning_modules.config import GuardLimits
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
