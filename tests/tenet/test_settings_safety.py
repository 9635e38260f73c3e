"""Settings of steps 6 and 7 that cannot be are refused with key, value and way out, before anything is loaded."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tenet.errors import ConfigError
from tenet.settings.build import build
from tenet.settings.safety import ConstitutionalConfig, RedteamConfig


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (ConstitutionalConfig, {"judge": "oracle"}, "constitutional.judge is 'oracle'; use checks, self or the URL"),
        (ConstitutionalConfig, {"judge": "http://"}, "constitutional.judge is 'http://'; use checks, self or the URL"),
        (ConstitutionalConfig, {"judge": "http://h:1", "judge_model": ""}, "constitutional.judge_model is empty; name the model"),
        (ConstitutionalConfig, {"prompts": 0}, "constitutional.prompts is 0; it must be at least 1"),
        (ConstitutionalConfig, {"steps": -1}, "constitutional.steps is -1; it must be at least 0"),
        (ConstitutionalConfig, {"beta": 0.0}, "constitutional.beta is 0.0; it must be above 0"),
        (ConstitutionalConfig, {"samples": 1}, "samples"),
        (RedteamConfig, {"rounds": -1}, "redteam.rounds is -1; it must be at least 0"),
        (RedteamConfig, {"most_goals": 0}, "redteam.most_goals is 0, which measures nothing; give 1 or more, or all"),
        (RedteamConfig, {"max_over_refusal": 5.0}, "redteam.max_over_refusal is 5.0; it must lie between 0 and 1"),
        (RedteamConfig, {"max_attack_rise": float("nan")}, "redteam.max_attack_rise is nan; it must lie between 0 and 1"),
    ],
)
def test_what_cannot_be_is_refused(kind: type, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        build(kind, values, "mine.yaml")


@pytest.mark.parametrize("judge", ["checks", "self", "http://127.0.0.1:8080", "https://judge.example"])
def test_judges_that_can_be(judge: str) -> None:
    assert build(ConstitutionalConfig, {"judge": judge}, "x").judge == judge
