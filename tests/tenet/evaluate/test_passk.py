"""pass@k against its definition: the share of all sets of k answers that hold a right one."""

from __future__ import annotations

from itertools import combinations
from math import comb

import pytest

from tenet.evaluate.passk import pass_at_k


def test_equals_counting_every_set() -> None:
    for n in range(1, 8):
        for c in range(n + 1):
            for k in range(1, n + 1):
                sets = list(combinations(range(n), k))
                hits = sum(any(answer < c for answer in chosen) for chosen in sets)
                assert pass_at_k(n, c, k) == pytest.approx(hits / len(sets), abs=1e-12)


def test_large_numbers_neither_overflow_nor_lose_digits() -> None:
    exact = 1 - comb(9_990, 100) / comb(10_000, 100)
    assert pass_at_k(10_000, 10, 100) == pytest.approx(exact, rel=1e-9)
    assert pass_at_k(200, 0, 100) == 0.0
    assert pass_at_k(200, 101, 100) == 1.0


@pytest.mark.parametrize(("n", "c", "k"), [(5, 6, 1), (5, -1, 1), (5, 1, 0), (5, 1, 6)])
def test_what_cannot_be_is_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(n, c, k)
