"""From logits to the next token. One uniform number per request and step, drawn from the request's own stream: what
else runs in the batch cannot change a sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_modules.generation.protocol import Sampling, Top

_MASK = (1 << 64) - 1


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) from a seed and a position: SplitMix64 (Steele, Lea and Flood, 2014), so there is no state to
    keep or to restore."""
    z = (seed * 0x9E3779B97F4A7C15 + (position + 1) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / (1 << 53)


def restrict(logits_V: Tensor, top_k: int, top_p: float) -> Tensor:
    """Set the logits outside top-k, then outside the nucleus of top-p (arXiv:1904.09751), to -inf."""
    if 0 < top_k < logits_V.shape[-1]:
        floor = logits_V.topk(top_k).values[..., -1, None]
        logits_V = logits_V.masked_fill(logits_V < floor, float("-inf"))
    if top_p < 1:
        ordered, index = logits_V.sort(descending=True)
        mass = ordered.softmax(-1)
        # A token stays if the mass before it is still below top_p, so the likeliest one always stays.
        dropped = mass.cumsum(-1) - mass >= top_p
        logits_V = logits_V.masked_fill(torch.zeros_like(dropped).scatter(-1, index, dropped), float("-inf"))
    return logits_V


def sample(
    logits_NV: Tensor, samplings: Sequence[Sampling], positions: Sequence[int], allowed: Sequence[Tensor | None] = ()
) -> tuple[list[int], list[float]]:
    """Draw one token for each row.

    Args:
        logits_NV: next-token scores of N requests, any float type.
        samplings: how each is drawn.
        positions: number of tokens each request has made so far; the place in its random stream.
        allowed: for each row what a grammar allows, bool [V]; None is everything.

    Returns:
        ids, and their log-probabilities under the unrestricted distribution at temperature 1.
    """
    logits = logits_NV.float()
    logprobs = logits.log_softmax(-1)
    if any(mask is not None for mask in allowed) and logits is logits_NV:
        logits = logits.clone()
    for row, allowed_V in zip(logits, allowed, strict=False):
        if allowed_V is not None:
            row.masked_fill_(~allowed_V.to(logits.device), float("-inf"))
    drawn = [i for i, s in enumerate(samplings) if s.temperature > 0]
    ids = logits.argmax(-1)
    if drawn:
        rows = torch.tensor(drawn, device=logits.device)
        heat = torch.tensor([samplings[i].temperature for i in drawn], device=logits.device)
        scaled = logits[rows] / heat[:, None]
        for j, i in enumerate(drawn):
            if samplings[i].top_k or samplings[i].top_p < 1:
                scaled[j] = restrict(scaled[j], samplings[i].top_k, samplings[i].top_p)
        # In double precision: a cumulative sum of 100,000 fp32 terms drifts enough to pick tokens of probability 0.
        cumulative = scaled.double().softmax(-1).cumsum(-1)
        u = [uniform(samplings[i].seed, positions[i]) for i in drawn]
        target = torch.tensor(u, device=logits.device, dtype=torch.float64)[:, None] * cumulative[:, -1:]
        ids[rows] = torch.searchsorted(cumulative, target, right=True).squeeze(1).clamp(max=logits.shape[-1] - 1)
    return ids.tolist(), logprobs.gather(1, ids[:, None]).squeeze(1).tolist()


def likeliest(logits_NV: Tensor, k: int) -> list[Top]:
    """The k likeliest tokens of each row under the unrestricted distribution at temperature 1, as `sample` scores its
    own."""
    values, ids = logits_NV.float().log_softmax(-1).topk(min(k, logits_NV.shape[-1]))
    rows = zip(ids.tolist(), values.tolist(), strict=True)
    return [tuple(zip(row_ids, row_values, strict=True)) for row_ids, row_values in rows]
