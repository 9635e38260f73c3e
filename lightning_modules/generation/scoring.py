"""Log-likelihood of given continuations, computed once where they share a context.

Four answers to one question are one tree: the context is the prompt, each answer a completion with its own positions
that sees the prompt and itself, not its siblings. Trees lie end to end in rows under one mask, so there is next to no
padding, and the vocabulary is projected only at the positions that predict an answer's token, each once even where
several answers start. At a real vocabulary that projection is most of what a plain scorer computes;
`benchmarks/loglikelihood.py` measures the gain.

Shape letters: B rows, T positions of a row, D hidden size, S distinct scored positions, V vocabulary, N scored tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_modules.data.packing import assign, attention_mask, in_passes
from lightning_modules.model.decoder import Decoder

#: Context and continuation, as token ids.
Pair = tuple[Sequence[int], Sequence[int]]
#: Numbers in one block of logits: 128 MB in fp32, whatever the vocabulary.
LOGITS = 1 << 25


@dataclass(frozen=True)
class Score:
    """What a model makes of a continuation.

    Args:
        loglik: sum of the log-probabilities of its tokens, in nats.
        greedy: every token was the likeliest one, so greedy decoding would have written it.
        tokens: how many there are.
    """

    loglik: float
    greedy: bool
    tokens: int


@dataclass
class _Tree:
    """A context with the continuations that follow it, and which pair each of these is."""

    prompt: tuple[int, ...]
    completions: list[tuple[int, ...]]
    sequence_ids: list[int]

    def __len__(self) -> int:
        # The last token of a continuation is only predicted, never read.
        return len(self.prompt) + sum(len(completion) - 1 for completion in self.completions)


@dataclass
class _Layout:
    """Rows ready for the decoder, with the place of each target; see `packing.Packed` for the names."""

    ids: Tensor
    positions: Tensor
    segments: Tensor
    completion_ids: Tensor
    sources: list[int]
    targets: list[int]
    sequence_ids: list[int]


@torch.inference_mode()
def score(model: Decoder, pairs: Sequence[Pair], batch_tokens: int = 2048) -> list[Score]:
    """Score continuations; the result does not depend on what else is asked in the same call, beyond rounding.

    Args:
        model: on any device.
        pairs: contexts with continuations. A context that does not fit is cut on the left, as lm-eval does.
        batch_tokens: tokens of one forward. 2,048 stay in a CPU's cache; a GPU wants ten times as many.

    Returns:
        one score a pair, in order.

    Raises:
        ValueError: names a pair of which one part is empty, or whose continuation is longer than the model's context.
    """
    trees = _grow(pairs, model.config.max_position_embeddings)
    loglik, greedy = [0.0] * len(pairs), [True] * len(pairs)
    for group in _batches(trees, batch_tokens):
        # A row is as long as the longest tree: shorter ones fill the gaps, and little attention goes to what the mask
        # forbids.
        layout = _lay_out(group, max(map(len, group)))
        values, best = _score_layout(model, layout)
        for owner, value, hit in zip(layout.sequence_ids, values, best, strict=True):
            loglik[owner] += value
            greedy[owner] &= hit
    return [Score(loglik[i], greedy[i], len(pair[1])) for i, pair in enumerate(pairs)]


def _grow(pairs: Sequence[Pair], longest: int) -> list[_Tree]:
    """Group the pairs by the context that is left after cutting."""
    trees: dict[tuple[int, ...], _Tree] = {}
    for i, (context, continuation) in enumerate(pairs):
        if not len(context) or not len(continuation):
            sizes = f"{len(context)} context and {len(continuation)} continuation tokens"
            raise ValueError(f"pair {i} has {sizes}; both need at least one")
        if len(continuation) > longest:
            raise ValueError(f"the continuation of pair {i} has {len(continuation)} tokens; the model's context is {longest}")
        # Of the tokens that are read, the last one of the continuation is none: hence the one more.
        prompt = tuple(context)[-(longest + 1 - len(continuation)) :]
        tree = trees.setdefault(prompt, _Tree(prompt, [], []))
        tree.completions.append(tuple(continuation))
        tree.sequence_ids.append(i)
    return list(trees.values())


def _batches(trees: Sequence[_Tree], batch_tokens: int) -> Iterator[list[_Tree]]:
    """Trees of similar length together, longest first, so that the rows of one forward are about equally long."""
    return in_passes(sorted(trees, key=lambda tree: (-len(tree), tree.sequence_ids[0])), batch_tokens)


def _lay_out(trees: Sequence[_Tree], room: int) -> _Layout:
    """Put trees into rows of at most `room` tokens and note where each target is predicted."""
    rows = assign(map(len, trees), room)
    width = max(sum(len(trees[i]) for i in row) for row in rows)
    ids, positions, completion_ids, segments = ([[fill] * width for _ in rows] for fill in (0, 0, 0, -1))
    sources: list[int] = []
    targets: list[int] = []
    sequence_ids: list[int] = []
    for b, row in enumerate(rows):
        at = 0
        for segment, tree in enumerate(trees[i] for i in row):
            start, n = at, len(tree.prompt)
            ids[b][at : at + n] = tree.prompt
            positions[b][at : at + n] = range(n)
            at += n
            for j, (completion, owner) in enumerate(zip(tree.completions, tree.sequence_ids, strict=True)):
                m = len(completion) - 1
                ids[b][at : at + m] = completion[:-1]
                positions[b][at : at + m] = range(n, n + m)
                completion_ids[b][at : at + m] = [j + 1] * m
                # The end of the prompt predicts the first token of every completion.
                sources += [b * width + start + n - 1, *range(b * width + at, b * width + at + m)]
                targets += completion
                sequence_ids += [owner] * len(completion)
                at += m
            segments[b][start:at] = [segment] * (at - start)
    tensors = [torch.tensor(values) for values in (ids, positions, segments, completion_ids)]
    return _Layout(tensors[0], tensors[1], tensors[2], tensors[3], sources, targets, sequence_ids)


def _score_layout(model: Decoder, layout: _Layout) -> tuple[list[float], list[bool]]:
    """Log-probability of each target, and whether it is the likeliest token."""
    device = model.embedding.weight.device
    mask = attention_mask(layout.segments, layout.completion_ids)
    hidden_BTD = model(layout.ids.to(device), layout.positions.to(device), mask.to(device))
    distinct, where = torch.tensor(layout.sources, device=device).unique(return_inverse=True)
    hidden_SD = hidden_BTD.flatten(0, 1)[distinct]
    targets = torch.tensor(layout.targets, device=device)
    values = torch.empty(len(targets), device=device)
    best = torch.empty(len(targets), dtype=torch.bool, device=device)
    step = max(1, LOGITS // model.config.vocab_size)
    for first in range(0, len(distinct), step):
        logits_SV = model.logits(hidden_SD[first : first + step]).float()
        here = ((where >= first) & (where < first + step)).nonzero().squeeze(1)
        rows = where[here] - first
        values[here] = logits_SV[rows, targets[here]] - logits_SV.logsumexp(-1)[rows]
        best[here] = logits_SV.argmax(-1)[rows] == targets[here]
    return values.double().tolist(), best.tolist()
