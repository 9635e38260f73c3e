"""One vector an answer out of the hidden states of a decoder's layers: what a score is read from.

Shape letters: N answer tokens, A answers, L layers, D hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from lightning_modules.data.packing import Packed, Tree, pack
from lightning_modules.model.decoder import Decoder
from lightning_modules.objectives.logprobs import sum_by_sequence

Pool = Literal["last", "mean", "both"]
POOLS: tuple[Pool, ...] = get_args(Pool)
#: Of an answer's features: the state after its last token, and the mean over its tokens.
LAST, MEAN = 0, 1


def answer_states(decoder: Decoder, batch: Packed, layers: Sequence[int]) -> dict[int, Tensor]:
    """States of the answers' own tokens after so many blocks, before the last norm: [N, D] each.

    No block behind the last layer asked for is computed, and the vocabulary is never projected.
    """
    own = (batch.completion_ids.flatten() > 0).nonzero().squeeze(1)
    x, mask = decoder.embedding(batch.ids), batch.mask()
    rope = decoder.rope(batch.positions, x.dtype)
    found: dict[int, Tensor] = {}
    for depth, block in enumerate(decoder.blocks[: max(layers)], 1):
        x = block(x, rope, mask, None)
        if depth in layers:
            found[depth] = x.flatten(0, 1)[own]
    return found


def pooled(states_ND: Tensor, sequence_ids: Tensor, answers: int, pool: Pool) -> Tensor:
    """Last token, mean, or both beside one another: [A, D] or [A, 2 D].

    Args:
        sequence_ids: [N] the answer of each state; an answer's tokens stand in order.
    """
    parts = {"last": (_last,), "mean": (_mean,), "both": (_last, _mean)}[pool]
    return torch.cat([part(states_ND, sequence_ids, answers) for part in parts], dim=1)


def _last(states_ND: Tensor, sequence_ids: Tensor, answers: int) -> Tensor:
    place = torch.arange(len(sequence_ids), device=states_ND.device)
    last = torch.zeros(answers, dtype=torch.long, device=states_ND.device)
    return states_ND[last.scatter_reduce(0, sequence_ids, place, "amax", include_self=False)]


def _mean(states_ND: Tensor, sequence_ids: Tensor, answers: int) -> Tensor:
    counts = sum_by_sequence(torch.ones_like(sequence_ids, dtype=states_ND.dtype), sequence_ids, answers)
    sums = torch.zeros(answers, states_ND.shape[1], dtype=states_ND.dtype, device=states_ND.device)
    return sums.index_add(0, sequence_ids, states_ND) / counts[:, None]


@torch.inference_mode()
def answer_features(decoder: Decoder, trees: Sequence[Tree], layers: Sequence[int], row: int = 512) -> Tensor:
    """Features of all answers of some trees in one pass, each prompt read once: [A, L, 2, D] in fp32, on the CPU.

    Args:
        trees: every answer token scored (`Tree.scored=None`).
        layers: counts of blocks, ascending.
        row: tokens of a packed row, or of the longest tree where that is longer.
    """
    batch = pack(trees, max(row, *map(len, trees))).to(next(decoder.parameters()).device)
    answers = sum(len(tree.answers) for tree in trees)
    states = answer_states(decoder, batch, layers)
    pools = [pooled(states[layer].float(), batch.sequence_ids, answers, "both") for layer in layers]
    return torch.stack(pools, dim=1).view(answers, len(layers), 2, -1).cpu()
