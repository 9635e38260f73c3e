"""Error bars and comparisons: small functions, each tested against its definition or a published value.

What to use when: a share of right answers gets `proportion` (Wilson's interval, widened where rows share a cluster);
two checkpoints on the same rows get `paired`; several such comparisons get `holm`; `detectable` says how small a
difference the rows could have shown at all. See Miller, "Adding error bars to evals" (arXiv:2411.00640).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

#: Two-sided 95 %.
Z = NormalDist().inv_cdf(0.975)


def wilson(k: float, n: float, z: float = Z) -> tuple[float, float]:
    """Wilson's score interval of a proportion: k of n. Good at small n and near 0 and 1, where k/n ± z·se is not.

    k and n need not be whole: an effective number of rows may stand in for n.
    """
    if n <= 0:
        return 0.0, 1.0
    p, square = k / n, z * z
    middle = (p + square / (2 * n)) / (1 + square / n)
    half = z / (1 + square / n) * math.sqrt(p * (1 - p) / n + square / (4 * n * n))
    # At 0 and n the bound is exact; rounding would leave 1e-17.
    return 0.0 if k <= 0 else max(0.0, middle - half), 1.0 if k >= n else min(1.0, middle + half)


def standard_error(values: Sequence[float]) -> float:
    """Of the mean, by the central limit theorem: sample standard deviation over √n. NaN below two values."""
    if len(values) < 2:
        return math.nan
    return float(np.std(np.asarray(values, dtype=float), ddof=1) / math.sqrt(len(values)))


def clustered_error(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """Standard error of the mean where rows of one cluster go together: residuals are summed in a cluster, then
    squared.

    With one row a cluster it equals `standard_error`. NaN below two clusters.
    """
    sums, sizes = _cluster_sums([v - float(np.mean(values)) for v in values], clusters)
    groups = len(sums)
    if groups < 2:
        return math.nan
    return math.sqrt(groups / (groups - 1) * float((sums**2).sum())) / int(sizes.sum())


def _cluster_sums(values: Sequence[float], clusters: Sequence[Hashable]) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the values of each cluster, in order of first appearance."""
    place: dict[Hashable, int] = {}
    index = [place.setdefault(cluster, len(place)) for cluster in clusters]
    return np.bincount(index, weights=values, minlength=len(place)), np.bincount(index, minlength=len(place))


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval and standard error, from n rows in `clusters` clusters."""

    value: float
    low: float
    high: float
    se: float
    n: int
    clusters: int


def proportion(values: Sequence[float], clusters: Sequence[Hashable] | None = None) -> Estimate:
    """Share of right answers, each 0 or 1.

    Clusters that vary more than their size explains make the rows worth fewer: n is divided by the design effect
    (clustered variance over plain variance, never below 1) before Wilson's interval is taken.
    """
    n = len(values)
    if not n:
        return Estimate(math.nan, 0.0, 1.0, math.nan, 0, 0)
    mean, se = sum(values) / n, standard_error(values)
    count, effective = n, float(n)
    if clusters is not None:
        wide, count = clustered_error(values, clusters), len(set(clusters))
        if se > 0 and wide > se:
            effective, se = n * (se / wide) ** 2, wide
    low, high = wilson(mean * effective, effective)
    return Estimate(mean, low, high, se, n, count)


def mcnemar_exact(b: int, c: int, alternative: str = "two-sided") -> float:
    """McNemar's test, exact: rows on which only one of two models is right are coin flips if the two are equally good.

    Args:
        b: rows right before and wrong after. c: rows wrong before and right after.
        alternative: two-sided, or "greater" for the one-sided question whether c is larger than chance.
    """
    n = b + c

    def tail(k: int) -> float:
        return sum(math.comb(n, i) for i in range(k + 1)) / 2**n

    if alternative == "greater":
        return tail(b)
    if alternative != "two-sided":
        raise ValueError(f"alternative is {alternative!r}; there are two-sided and greater")
    return min(1.0, 2 * tail(min(b, c)))


@dataclass(frozen=True)
class Paired:
    """After minus before on the same rows.

    Args:
        difference: mean; low, high: 95 % by bootstrap over clusters; se: clustered.
        p: McNemar's where all scores are 0 or 1, else Student's of difference over se, two-sided.
        lost, won: rows that got worse and better. n: rows.
        detectable: smallest true difference that this many rows would show (two-sided 5 %) four times in five.
    """

    difference: float
    low: float
    high: float
    se: float
    p: float
    lost: int
    won: int
    n: int
    detectable: float


def paired(
    before: Sequence[float],
    after: Sequence[float],
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    resamples: int = 10_000,
) -> Paired:
    """Compare two models on the same rows: what they find equally hard cancels out.

    Raises:
        ValueError: not the same number of rows.
    """
    if len(before) != len(after):
        raise ValueError(f"{len(before)} rows before and {len(after)} after; a paired comparison needs the same rows")
    differences = [b - a for a, b in zip(before, after, strict=True)]
    n = len(differences)
    groups: Sequence[Hashable] = range(n) if clusters is None else clusters
    difference = sum(differences) / n if n else math.nan
    se = clustered_error(differences, groups) if n else math.nan
    low, high = bootstrap(differences, groups, seed, resamples)
    lost, won = sum(d < 0 for d in differences), sum(d > 0 for d in differences)
    if {*before, *after} <= {0.0, 1.0}:
        p = mcnemar_exact(lost, won)
    else:
        p = student_p(difference / se, len(set(groups)) - 1) if se > 0 else 1.0
    return Paired(difference, low, high, se, p, lost, won, n, detectable(se))


def student_p(t: float, degrees: int) -> float:
    """Two-sided p of a value of Student's t.

    The tail is the integral of cos(x)^(degrees - 1) from atan(t / sqrt(degrees)) to pi / 2, over that from 0; beyond a
    thousand degrees of freedom the normal distribution differs in no digit that is shown.
    """
    if degrees < 1:
        return 1.0
    if degrees > 1000:
        return 2 * NormalDist().cdf(-abs(t))
    nodes, weights = np.polynomial.legendre.leggauss(200)

    def integral(low: float) -> float:
        half = (math.pi / 2 - low) / 2
        return float(half * (weights @ np.cos(low + half * (nodes + 1)) ** (degrees - 1)))

    return min(1.0, integral(math.atan(abs(t) / math.sqrt(degrees))) / integral(0.0))


def bootstrap(
    values: Sequence[float], clusters: Sequence[Hashable] | None = None, seed: int = 0, resamples: int = 10_000
) -> tuple[float, float]:
    """95 % percentile interval of the mean; whole clusters are drawn, so rows that go together stay together."""
    if not len(values):
        return math.nan, math.nan
    sums, sizes = _cluster_sums(values, range(len(values)) if clusters is None else clusters)
    # How often each cluster is drawn says the same as which ones are, in one matrix product.
    drawn = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=resamples)
    low, high = np.quantile((drawn @ sums) / (drawn @ sizes), (0.025, 0.975))
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction: the smallest p times their number, the next times one less, and none below the one before."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, floor = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        floor = max(floor, min(1.0, p_values[i] * (len(p_values) - rank)))
        corrected[i] = floor
    return corrected


def detectable(se: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest true difference that a two-sided test at `alpha` finds with this power, given the difference's standard
    error."""
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * se


def auc(true: np.ndarray, false: np.ndarray) -> tuple[float, float, float]:
    """Area under the ROC curve, the chance that a true one scores above a false one (equal scores count half), with its
    95 % interval (DeLong, DeLong and Clarke-Pearson 1988).

    Args:
        true, false: scores of the rows with and without the label.

    Returns:
        value, low, high; NaN where a side has fewer than two rows.
    """
    if len(true) < 2 or len(false) < 2:
        return math.nan, math.nan, math.nan
    wins = (true[:, None] > false[None, :]) + 0.5 * (true[:, None] == false[None, :])
    value = float(wins.mean())
    error = math.sqrt(float(wins.mean(axis=1).var(ddof=1)) / len(true) + float(wins.mean(axis=0).var(ddof=1)) / len(false))
    return round(value, 4), round(max(0.0, value - 1.96 * error), 4), round(min(1.0, value + 1.96 * error), 4)
