"""The search: what it returns fits, divides and is cheapest; what it cannot do it says."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import pytest

from tenet.errors import ConfigError
from tenet.hardware import cluster_of
from tenet.planning import memory
from tenet.planning.fit import Found, fit, layouts, report
from tenet.planning.forecast import plan
from tenet.settings.preset import load_preset

cached = functools.cache(load_preset)  # presets are frozen


@functools.cache
def found(name: str, deadline_days: float = 0.0, **changes: Any) -> Found:
    preset = cached(name)
    return fit(preset, dataclasses.replace(preset.plan, **changes), deadline_days)


@pytest.mark.parametrize("name", ["160m", "8b", "70b", "400b"])
def test_what_is_found_fits_divides_and_is_no_dearer(name: str) -> None:
    best = found(name)
    made = plan(best.preset, best.config)
    assert all(row.fits for row in made.memory)
    parallel = best.preset.pretrain.parallel
    assert parallel.world == made.devices
    own = plan(cached(name))
    assert made.stages[0].work_seconds <= own.stages[0].work_seconds * (1 + 1e-9)
    assert f"shard: {parallel.shard}" in report(best)


def test_it_is_the_best_of_all_layouts() -> None:
    """Against a search that plans every layout in full."""
    preset, where = cached("1b"), cluster_of("p5.48xlarge:1")
    config = dataclasses.replace(preset.plan, cluster=where.name)
    best = fit(preset, config)
    every = list(layouts(preset, where))
    assert best.tried == len(every) > 100
    fitting = [c for c in every if memory.training_memory(c).total <= memory.USABLE * where.memory]
    assert best.fitting == len(fitting) < best.tried
    seconds = [m.stages[0].work_seconds for m in (plan(c, config) for c in fitting) if all(r.fits for r in m.memory)]
    assert plan(best.preset, config).stages[0].work_seconds == pytest.approx(min(seconds))


def test_all_layouts_divide() -> None:
    preset, where = cached("70b"), cluster_of("p5.48xlarge:16")
    rows = preset.pretrain.batch_tokens // preset.pretrain.context
    for candidate in layouts(preset, where):
        parallel = candidate.pretrain.parallel
        assert parallel.world == where.devices
        assert rows % (parallel.shard * parallel.replicate * candidate.pretrain.micro_batch) == 0
        assert preset.model.num_kv_heads % parallel.tensor == 0


def test_a_deadline_takes_more_machines_and_no_more_than_needed() -> None:
    relaxed, hurried = found("8b", 400.0), found("8b", 20.0)
    machines = [cluster_of(f.config.cluster).count for f in (relaxed, hurried)]
    assert machines[0] < machines[1] <= 32
    assert hurried.seconds <= 20 * 86_400 and hurried.dollars >= relaxed.dollars


def test_a_given_utilisation_decides_for_what_fits() -> None:
    best = found("8b", mfu=0.4)
    assert plan(best.preset, best.config).stages[0].mfu == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("name", "deadline", "changes", "message"),
    [
        ("400b", 0.0, {"cluster": "p5.48xlarge:1"}, r"no layout of 400b fits; the leanest takes [\d.,]+ GiB a device"),
        ("8b", 0.01, {}, r"--deadline-days 0.01: the fastest layout of 8b on at most p5.48xlarge:32 takes [\d.]+ days"),
        ("8b", 0.0, {"cluster": "p5.48xlarge:7"}, r"no sharding divides 56 devices and the 512 rows"),
        ("8b", 0.0, {"overlap": 3.0}, r"plan.overlap is 3"),
    ],
)
def test_what_cannot_be_found_is_explained(name: str, deadline: float, changes: dict[str, Any], message: str) -> None:
    preset = cached(name)
    with pytest.raises(ConfigError, match=message):
        fit(preset, dataclasses.replace(preset.plan, **changes), deadline)
