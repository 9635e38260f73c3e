"""The win rate at equal length: against the likelihood's own gradient, and on judges whose taste is known."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from tenet.feedback.judging.length_control import RIDGE, length_controlled


def judged(taste: float, better: float, count: int, seed: int = 0, longer: float = 0.8) -> tuple[list[float], list[float]]:
    """Scores and length differences: b's answers are longer in `longer` of the cases; the judge decides by
    better + taste * tanh(difference / 100)."""
    chance = random.Random(seed)
    scores, differences = [], []
    for _ in range(count):
        difference = (1 if chance.random() < longer else -1) * chance.uniform(20, 200)
        p = 1 / (1 + math.exp(-(better + taste * math.tanh(difference / 100))))
        scores.append(float(chance.random() < p))
        differences.append(difference)
    return scores, differences


def test_it_is_the_maximum_of_the_penalised_likelihood() -> None:
    scores, differences = judged(1.5, 0.4, 150)
    scores[:10] = [0.5] * 10
    found = length_controlled(scores, differences, resamples=50)
    assert found is not None and found.scale == pytest.approx(float(np.std(differences)))
    x = [math.tanh(d / found.scale) for d in differences]
    errors = [y - 1 / (1 + math.exp(-(found.theta + found.phi * xi))) for y, xi in zip(scores, x, strict=True)]
    assert abs(sum(errors)) < 1e-3
    assert sum(e * xi for e, xi in zip(errors, x, strict=True)) == pytest.approx(RIDGE * found.phi, abs=1e-6)
    assert found.value == pytest.approx(1 / (1 + math.exp(-found.theta)))


def test_a_judge_who_only_likes_length_leaves_no_winner() -> None:
    scores, differences = judged(3.0, 0.0, 600)
    found = length_controlled(scores, differences, resamples=300)
    assert found is not None
    assert sum(scores) / len(scores) > 0.65
    assert found.low < 0.5 < found.high and abs(found.value - 0.5) < 0.12 and found.phi > 1


def test_a_judge_who_does_not_care_for_length_changes_nothing() -> None:
    scores, differences = judged(0.0, 1.0, 600)
    found = length_controlled(scores, differences, resamples=300)
    assert found is not None
    assert abs(found.value - sum(scores) / len(scores)) < 0.05 and abs(found.phi) < 0.4


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_all_won_or_all_lost_stays_so(score: float) -> None:
    found = length_controlled([score] * 20, [float(i) for i in range(20)], resamples=50)
    assert found is not None and found.value == pytest.approx(score, abs=1e-3) and math.isfinite(found.phi)


def test_a_winner_that_length_alone_tells_stays_finite() -> None:
    differences = [float(d) for d in (*range(-20, 0), *range(1, 21))]
    found = length_controlled([float(d > 0) for d in differences], differences, resamples=200)
    assert found is not None and found.value == pytest.approx(0.5, abs=1e-6) and 0 < found.phi < 30


def test_what_cannot_be_told_is_not() -> None:
    assert length_controlled([], []) is None
    assert length_controlled([1.0], [3.0]) is None
    assert length_controlled([1.0, 0.0, 1.0], [5.0, 5.0, 5.0]) is None
