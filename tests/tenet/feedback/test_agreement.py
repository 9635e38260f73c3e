"""Krippendorff's alpha against the published example and the definition."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter

import pytest

from tenet.feedback.agreement import agreement

#: Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), example C: four observers, twelve units, some
#: missing; nominal alpha is 0.743 there.
PUBLISHED = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)


def published() -> list[list[str]]:
    return [[value for value in unit if value != "."] for unit in zip(*(line.split() for line in PUBLISHED), strict=True)]


def slow_alpha(items: list[list[str]]) -> float:
    """1 - D_o / D_e by going through all pairs of values."""
    items = [values for values in items if len(values) > 1]
    n = sum(map(len, items))
    observed = sum(sum(a != b for a, b in itertools.permutations(values, 2)) / (len(values) - 1) for values in items) / n
    counts = Counter(itertools.chain.from_iterable(items))
    expected = sum(counts[a] * counts[b] for a, b in itertools.permutations(counts, 2)) / (n * (n - 1))
    return 1 - observed / expected


def test_the_published_example() -> None:
    found = agreement(published())
    assert found.alpha == pytest.approx(0.743, abs=5e-4)
    # The last unit has one value and says nothing: 11 units, 40 values.
    assert (found.items, found.pairable) == (11, 40)
    assert found.low < found.alpha < found.high


def test_equals_the_definition_on_random_verdicts() -> None:
    chance = random.Random(3)
    for _ in range(20):
        items = [[chance.choice(["a", "b", "tie", "bad"]) for _ in range(chance.randint(0, 4))] for _ in range(15)]
        assert agreement(items, resamples=10).alpha == pytest.approx(slow_alpha(items), abs=1e-12)


def test_one_is_full_agreement_zero_is_chance_and_below_is_worse() -> None:
    assert agreement([["a", "a"], ["b", "b"], ["tie", "tie"]]).alpha == 1.0
    chance = random.Random(0)
    random_verdicts = [[chance.choice("ab"), chance.choice("ab")] for _ in range(4000)]
    assert abs(agreement(random_verdicts, resamples=50).alpha) < 0.05
    assert agreement([["a", "b"], ["b", "a"]]).alpha < 0


def test_where_nothing_can_be_said_nothing_is_said() -> None:
    alone = agreement([["a"], ["b"], []])
    assert math.isnan(alone.alpha) and alone.items == 0
    alike = agreement([["a", "a"], ["a", "a"]])
    assert math.isnan(alike.alpha) and (alike.items, alike.same) == (2, 1.0)


def test_the_interval_covers_what_it_should() -> None:
    """Verdicts that repeat the first one with probability 1/2 have an alpha of 1/2; 95 % intervals hold it in most of
    40 tries."""
    chance = random.Random(1)
    held = 0
    for number in range(40):
        items = [[first, first if chance.random() < 0.5 else chance.choice("ab")] for first in chance.choices("ab", k=120)]
        found = agreement(items, seed=number, resamples=400)
        held += found.low <= 0.5 <= found.high
    assert held >= 34
