"""pass@k: the chance that one of k answers to a question is right, from n answers of which c were.

Source: "Evaluating Large Language Models Trained on Code" (arXiv:2107.03374), equation 1: the unbiased estimator
1 - C(n-c, k) / C(n, k), as a product, so that no binomial overflows. Putting c/n into 1 - (1 - p)^k would be biased.
"""

from __future__ import annotations

import math


def pass_at_k(n: int, c: int, k: int) -> float:
    """The share of the sets of k among n answers that hold at least one of the c right ones.

    Raises:
        ValueError: c is not from 0 to n, or k not from 1 to n.
    """
    if not 0 <= c <= n:
        raise ValueError(f"pass@{k}: {c} right answers of {n}; it must be from 0 to {n}")
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {n} answers: k must be from 1 to the number of answers; draw more of them or ask for less")
    if n - c < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(n - c + 1, n + 1))
