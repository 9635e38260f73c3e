"""Statistics against their definitions, textbook values and simulation (scipy is not a dependency)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tenet.stats import (
    Z,
    auc,
    bootstrap,
    clustered_error,
    detectable,
    holm,
    mcnemar_exact,
    paired,
    proportion,
    standard_error,
    student_p,
    wilson,
)


@pytest.mark.parametrize(
    "k, n, low, high",
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_published_values(k: int, n: int, low: float, high: float) -> None:
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-5)


def test_wilson_solves_its_equation() -> None:
    """The bounds are the p at which the observed share lies exactly z standard errors away."""
    for k, n in ((3, 10), (50, 80), (1, 400)):
        for p in wilson(k, n):
            assert abs(k / n - p) == pytest.approx(Z * math.sqrt(p * (1 - p) / n))


def test_wilson_at_the_edges() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(10, 10)[1] == 1.0
    assert wilson(0, 10)[0] == 0.0
    mirrored = wilson(7, 10)
    assert wilson(3, 10) == pytest.approx((1 - mirrored[1], 1 - mirrored[0]))


def test_wilson_covers() -> None:
    """At p = 0.05 and n = 40 about 95 % of the intervals hold the truth; k/n ± z·se holds it in 87 %."""
    draws = np.random.default_rng(5).binomial(40, 0.05, size=4000)
    covered = np.mean([low <= 0.05 <= high for low, high in (wilson(int(k), 40) for k in draws)])
    assert covered == pytest.approx(0.95, abs=0.02)


def test_standard_error() -> None:
    assert standard_error([2, 4, 4, 4, 5, 5, 7, 9]) == pytest.approx(math.sqrt(32 / 7 / 8))
    assert math.isnan(standard_error([1.0]))


def test_clustered_error_by_hand() -> None:
    # Residuals 0.5, 0.5 | -0.5, -0.5 | 0.5, -0.5: cluster sums 1, -1, 0; sqrt(3/2 * 2) / 6.
    assert clustered_error([1, 1, 0, 0, 1, 0], ["a", "a", "b", "b", "c", "c"]) == pytest.approx(math.sqrt(3) / 6)


def test_single_rows_as_clusters_change_nothing() -> None:
    values = list(np.random.default_rng(1).random(30))
    assert clustered_error(values, range(30)) == pytest.approx(standard_error(values))


def test_copied_rows_add_nothing() -> None:
    """Every row four times in one cluster: the same error as the rows alone, while the plain formula halves it."""
    values = [float(v) for v in np.random.default_rng(2).integers(0, 2, 40)]
    copies, names = values * 4, list(range(40)) * 4
    assert clustered_error(copies, names) == pytest.approx(standard_error(values))
    assert standard_error(copies) < 0.55 * standard_error(values)
    wide, narrow = proportion(copies, names), proportion(copies)
    assert wide.value == narrow.value == pytest.approx(np.mean(values))
    assert wide.high - wide.low > 1.8 * (narrow.high - narrow.low)
    assert (wide.n, wide.clusters) == (160, 40)


def test_proportion_without_clusters_is_wilson() -> None:
    estimate = proportion([1.0] * 3 + [0.0] * 7)
    assert (estimate.low, estimate.high) == pytest.approx(wilson(3, 10))
    assert math.isnan(proportion([]).value)


@pytest.mark.parametrize(
    "b, c, p",
    [
        (5, 15, 0.0414),  # binomial(20, 1/2): 2 * P(X <= 5) = 2 * 21700 / 2**20
        (0, 6, 2 / 64),
        (3, 3, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar(b: int, c: int, p: float) -> None:
    assert mcnemar_exact(b, c) == pytest.approx(p, abs=5e-5)
    assert mcnemar_exact(c, b) == mcnemar_exact(b, c)


def test_mcnemar_one_sided() -> None:
    assert mcnemar_exact(1, 5, "greater") == pytest.approx(7 / 64)
    assert mcnemar_exact(5, 1, "greater") == pytest.approx(63 / 64)
    with pytest.raises(ValueError, match="less"):
        mcnemar_exact(1, 2, "less")


def test_paired_counts_and_p() -> None:
    before, after = [0] * 10 + [1] * 10, [1] * 8 + [0] * 2 + [1] * 9 + [0]
    result = paired(before, after)
    assert (result.lost, result.won, result.n) == (1, 8, 20)
    assert result.difference == pytest.approx(7 / 20)
    assert result.p == pytest.approx(20 / 512)  # 2 * (1 + 9) / 2**9
    assert result.low < result.difference < result.high
    assert result.se == pytest.approx(standard_error([b - a for a, b in zip(before, after, strict=True)]))


def test_paired_with_real_valued_scores_and_unequal_rows() -> None:
    result = paired([0.2, 0.4, 0.6, 0.8], [0.3, 0.6, 0.7, 0.9])
    assert result.difference / result.se == pytest.approx(5.0)
    assert result.p == pytest.approx(0.0154, abs=1e-4)  # Student's t of 5 with 3 degrees of freedom
    assert paired([0.5, 0.5], [0.5, 0.5]).p == 1.0
    with pytest.raises(ValueError, match="2 rows before and 1 after"):
        paired([1, 0], [1])


@pytest.mark.parametrize(
    "t, degrees, p",
    # Tables of Student's t: the two-sided 5 % and 1 % points.
    [(12.706, 1, 0.05), (2.228, 10, 0.05), (3.169, 10, 0.01), (1.980, 120, 0.05), (0.0, 7, 1.0), (1.96, 10**6, 0.05)],
)
def test_student(t: float, degrees: int, p: float) -> None:
    assert student_p(t, degrees) == pytest.approx(p, abs=1e-4) and student_p(-t, degrees) == student_p(t, degrees)


#: Right answers of five to each of 198 questions (GPQA Diamond) by two models, a public example of why a comparison has to
#: be paired: figures from inspect_ai's issue 4206, published with the repository evalconfidence (Apache-2.0).
FIRST = (
    "545550555425455554513500553142010552310551555033545552552515155551534055555141355555550314555404553"
    "155055550155120220255050205250555055545354045354045435554103205155453503050503515055050555555323330"
)
SECOND = (
    "515500555055353512555500552454000130152252025055455550550524055511055002545555145555050530555101515"
    "235054510005101054135250445040554025532155045155355241155011105255455500350540505455155553515534050"
)


def test_a_published_paired_comparison_comes_out_to_the_digit() -> None:
    """+5.9 points [0.4, 11.3], p = 0.036 paired; [-2.1, 13.8], p = 0.149 unpaired; answers to one question are no
    questions of their own (design effects 3.4 to 3.7)."""
    first, second = ([int(digit) / 5 for digit in digits] for digits in (FIRST, SECOND))
    found = paired(second, first)
    assert (f"{found.difference:+.1%}", f"{found.low:.1%}", f"{found.high:.1%}") == ("+5.9%", "0.4%", "11.3%")
    assert f"{found.p:.3f}" == "0.036"
    apart = math.hypot(standard_error(first), standard_error(second))
    low, high = (found.difference + side * Z * apart for side in (-1, 1))
    assert (f"{low:.1%}", f"{high:.1%}", f"{student_p(found.difference / apart, 394):.3f}") == ("-2.1%", "13.8%", "0.149")
    for digits in (FIRST, SECOND):
        answers = [float(i < int(digit)) for digit in digits for i in range(5)]
        questions = [i for i in range(198) for _ in range(5)]
        effect = (clustered_error(answers, questions) / standard_error(answers)) ** 2
        assert 3.4 <= round(effect, 1) <= 3.7


def test_bootstrap_is_seeded_and_agrees_with_the_normal_interval() -> None:
    values = list(np.random.default_rng(3).normal(0.3, 1, 200))
    low, high = bootstrap(values, seed=1)
    assert (low, high) == bootstrap(values, seed=1) != bootstrap(values, seed=2)
    mean, half = float(np.mean(values)), Z * standard_error(values)
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.1 * half)


def test_bootstrap_draws_clusters() -> None:
    values = [1.0, 1.0, 1.0, 0.0]
    clustered = bootstrap(values, ["a", "a", "a", "b"])
    assert clustered == (0.0, 1.0)
    assert bootstrap(values)[0] > 0.0
    assert all(map(math.isnan, bootstrap([])))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_detectable_effect_is_found_four_times_in_five() -> None:
    effect = detectable(se=0.02)
    assert effect == pytest.approx(2.8016 * 0.02, rel=1e-4)
    measured = np.random.default_rng(4).normal(effect, 0.02, 20_000)
    assert np.mean(np.abs(measured) > Z * 0.02) == pytest.approx(0.8, abs=0.01)


def test_area_under_the_curve() -> None:
    value, low, high = auc(np.array([0.9, 0.8, 0.4]), np.array([0.1, 0.4, 0.3]))
    assert value == pytest.approx(8.5 / 9, abs=1e-4) and low < value < high
    assert auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == (1.0, 1.0, 1.0)
    assert math.isnan(auc(np.array([1.0]), np.array([0.0, 1.0]))[0])
