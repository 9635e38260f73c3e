"""Young and Daly against their definitions: the interval minimises, the time is what simulated runs take."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenet.planning.failures import LLAMA_MTBF_HOURS, interval, wall
from tenet.settings.plan import PlanConfig

checkpoints = st.floats(1.0, 120.0)
mtbfs = st.floats(2e4, 1e7)


@given(checkpoints, mtbfs)
def test_young_is_the_square_root(checkpoint: float, mtbf: float) -> None:
    assert interval(checkpoint, mtbf) ** 2 == pytest.approx(2 * checkpoint * mtbf)


@given(checkpoints, mtbfs)
def test_young_minimises_the_time(checkpoint: float, mtbf: float) -> None:
    best = interval(checkpoint, mtbf)
    at_best = wall(1e6, best, checkpoint, 600, mtbf)
    for other in (0.3, 0.6, 1.7, 3.0):
        assert at_best < wall(1e6, other * best, checkpoint, 600, mtbf)


@given(checkpoints, mtbfs, st.floats(60.0, 7200.0), st.floats(0.0, 3600.0))
def test_time_grows_with_trouble(checkpoint: float, mtbf: float, every: float, restart: float) -> None:
    usual = wall(1e6, every, checkpoint, restart, mtbf)
    assert usual > 1e6 * (1 + checkpoint / every)
    assert wall(1e6, every, checkpoint, restart + 60, mtbf) > usual
    assert wall(1e6, every, checkpoint, restart, 2 * mtbf) < usual


def test_a_machine_that_never_fails_only_saves() -> None:
    assert wall(1000.0, 100.0, 3.0, 600.0, math.inf) == pytest.approx(1030.0)
    assert wall(1e9, 1e9, 3.0, 600.0, 1000.0) == math.inf


def simulated(work: float, every: float, checkpoint: float, restart: float, mtbf: float, rng: random.Random) -> float:
    """One run: a stretch of work and its checkpoint start anew, after a restart that may fail too, until they come
    through."""
    clock, failure = 0.0, rng.expovariate(1 / mtbf)
    for _ in range(round(work / every)):
        need = every + checkpoint
        while clock + need > failure:
            clock = failure + restart
            failure = clock + rng.expovariate(1 / mtbf)
        clock += need
    return clock


@pytest.mark.parametrize("every", [200.0, 1000.0, 4000.0])
def test_daly_is_what_runs_take(every: float) -> None:
    rng = random.Random(0)
    runs = [simulated(40_000, every, 60, 120, 5_000, rng) for _ in range(800)]
    # The formula lets restarts fail as well, which costs a little more than the simulation's sure ones.
    assert sum(runs) / len(runs) == pytest.approx(wall(40_000, every, 60, 120, 5_000), rel=0.03)


def test_llama_is_interrupted_every_three_hours() -> None:
    """419 in 54 days; the paper reports more than 90 % effective training time."""
    assert PlanConfig().mtbf == round(LLAMA_MTBF_HOURS)
    mtbf = LLAMA_MTBF_HOURS / 16_384 * 3600
    assert mtbf / 3600 == pytest.approx(54 * 24 / 419)
    whole = wall(54 * 86_400, interval(5.0, mtbf), 5.0, 600.0, mtbf)
    assert 54 * 86_400 / whole > 0.9
