"""A small corpus ends pretraining sooner, and the stage says so."""

from __future__ import annotations

import dataclasses

import pytest

from tenet.planning.forecast import plan
from tenet.settings.preset import PRESETS, load_preset
from tenet.settings.training import PretrainConfig
from tenet.stages.training.pretrain import _stopped, capped


@pytest.mark.parametrize(
    ("most", "corpus", "steps", "epochs"),
    [
        ("all", 10_000, 100, 10.0),  # as many as are asked for
        (4, 10_000, 40, 4.0),
        (4, 10_100, 40, 3.96),  # whole steps, never a part of a fifth pass
        (4, 25_000, 100, 4.0),
        (4, 1_000_000, 100, 0.1),
        (1, 300, 1, 3.33),  # a corpus below one step still makes one
    ],
)
def test_passes_over_a_corpus(most: int | str, corpus: int, steps: int, epochs: float) -> None:
    asked = PretrainConfig(tokens=100_000, batch_tokens=1_000, context=100, max_epochs=most)  # type: ignore[arg-type]
    config, made = capped(asked, corpus)
    assert config.steps == steps and round(made, 2) == epochs
    assert (_stopped(config, asked.steps) == "") == (steps == 100)
    if steps < 100:
        assert _stopped(config, asked.steps) == f" ({steps} of 100 steps: pretrain.max_epochs is {most})"


@pytest.mark.parametrize("most", [0, -1])
def test_no_pass_is_refused(most: int) -> None:
    with pytest.raises(ValueError, match=r"pretrain\.max_epochs"):
        PretrainConfig(max_epochs=most)


def test_presets_that_train_stop_at_four() -> None:
    presets = [load_preset(str(path)) for path in sorted(PRESETS.glob("*.yaml"))]
    assert {preset.pretrain.max_epochs for preset in presets if preset.pretrain.tokens} == {4}


def test_the_plan_says_that_a_small_corpus_ends_sooner() -> None:
    tiny = load_preset("tiny")
    assert [line for line in plan(tiny).assumptions if "pretrain.max_epochs" in line and "4 passes" in line]
    endless = dataclasses.replace(tiny, pretrain=dataclasses.replace(tiny.pretrain, max_epochs="all"))
    assert not [line for line in plan(endless).assumptions if "max_epochs" in line]
