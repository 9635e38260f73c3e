"""Penalties that several objectives add, as pure functions that a test can hold against their definition.

Shape letters: N scored tokens of a batch, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor


def kl_k3(logprobs_N: Tensor, ref_logprobs_N: Tensor) -> Tensor:
    """Per-token estimate of KL(policy || reference): exp(d) - d - 1 with d = ref - policy. Unbiased and never negative
    (Schulman, 2020)."""
    d = ref_logprobs_N - logprobs_N
    return d.exp() - d - 1


def z_loss(logits_NV: Tensor) -> Tensor:
    """Mean squared log-partition, which keeps logits from drifting (PaLM, arXiv:2204.02311, section 5)."""
    return logits_NV.logsumexp(-1).square().mean()
