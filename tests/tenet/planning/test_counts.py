"""A plan counts what the files of the run say, not what the demo has."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from tenet.domains.domain import Domain
from tenet.pipeline.counts import counts
from tenet.planning import estimate
from tenet.planning.forecast import plan
from tenet.redteam.attacks import ATTACKS
from tenet.settings.preset import load_preset


@pytest.fixture
def own(tmp_path: Path) -> Domain:
    """Two principles and three goals, each with its look-alike."""
    principles = [{"id": f"p{i}", "principle": f"Answer in sentence {i}.", "prompts": ["What is tea?"]} for i in range(2)]
    (tmp_path / "constitution.yaml").write_text(yaml.safe_dump({"principles": principles}))
    rows = [f"steal the {thing},{benign}" for thing in ("key", "cake", "van") for benign in ("false", "true")]
    (tmp_path / "goals.csv").write_text("\n".join(["goal,benign", *rows]))
    return Domain(name="own", folder=tmp_path, constitution=tmp_path / "constitution.yaml", goals=tmp_path / "goals.csv")


def test_principles_and_goals_of_the_run_are_counted(own: Domain) -> None:
    preset = load_preset("tiny")
    found = counts(preset, own)
    assert found.principles == 2 and found.attacks == 6 * len(ATTACKS) and not found.assumed
    few = dataclasses.replace(preset, redteam=dataclasses.replace(preset.redteam, most_goals=1))
    assert counts(few, own).attacks < found.attacks
    by_stage = {w.stage: w for w in estimate.work(preset, counts=found)}
    demo = {w.stage: w for w in estimate.work(preset)}
    assert by_stage["constitutional"].generated == pytest.approx(demo["constitutional"].generated * 2 / 6)
    assert by_stage["redteam"].generated == pytest.approx(demo["redteam"].generated * found.attacks / 500)


def test_a_stage_that_the_run_leaves_out_is_not_planned(own: Domain) -> None:
    preset = load_preset("tiny")
    found = counts(preset, dataclasses.replace(own, goals=None))
    made = plan(preset, counts=found)
    assert "redteam" in found.left_out and "redteam" not in [stage.stage for stage in made.stages]
    assert any(line.startswith("2 principles (counted") for line in made.assumptions)
    assert any(line.startswith("500 attacks (assumed") for line in made.assumptions)
    assert any("redteam" in line and "not planned" in line for line in made.assumptions)
