"""Token sequences laid end to end in rows, without padding between them, and answers that share one prompt.

Everything that trains or scores here is the same layout: rows of `segments` (attention does not cross them), inside a
segment a prompt and `completion_ids` (an answer sees the prompt and itself, not its siblings), and a flat list of
(source position, target token) pairs: only there is the vocabulary projected, which is most of the work at real
vocabularies.

Shape letters: B rows, T positions of a row, N scored tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

S = TypeVar("S", bound=Sized)


@dataclass
class Packed:
    """Rows ready for the decoder.

    Args:
        ids: [B, T] token ids.
        positions: [B, T] position in the own document, along the own completion.
        segments: [B, T] number of the document; -1 is padding.
        completion_ids: [B, T] 0 on the prompt, else the number of the answer.
        sources: [N] flat position (row * T + column) whose hidden state predicts `targets`.
        targets: [N] token ids.
        sequence_ids: [N] which sequence, in the order given, a target belongs to.
    """

    ids: Tensor
    positions: Tensor
    segments: Tensor
    completion_ids: Tensor
    sources: Tensor
    targets: Tensor
    sequence_ids: Tensor

    def mask(self) -> Tensor:
        """Bool [B, 1, T, T]: causal, inside the segment, prompt or own completion."""
        return attention_mask(self.segments, self.completion_ids)

    def to(self, device: torch.device | str) -> Packed:
        """Move every tensor."""
        return Packed(**{name: value.to(device) for name, value in vars(self).items()})


def in_passes(pieces: Iterable[S], most: int) -> Iterator[list[S]]:
    """Pieces in their order, as many together as have at most so many tokens; a longer one is alone."""
    part: list[S] = []
    size = 0
    for piece in pieces:
        if part and size + len(piece) > most:
            yield part
            part, size = [], 0
        part.append(piece)
        size += len(piece)
    if part:
        yield part


def attention_mask(segments_BT: Tensor, branches_BT: Tensor | None = None) -> Tensor:
    """Which position may attend to which: [B, 1, T, T]. Padding attends to padding, so that no row is empty (softmax of
    nothing is NaN)."""
    length = segments_BT.shape[1]
    allowed = segments_BT[:, :, None] == segments_BT[:, None, :]
    allowed &= torch.ones(length, length, dtype=torch.bool, device=segments_BT.device).tril()
    if branches_BT is not None:
        allowed &= (branches_BT[:, None, :] == 0) | (branches_BT[:, None, :] == branches_BT[:, :, None])
    return allowed[:, None]


@dataclass(frozen=True)
class Tree:
    """One prompt with its answers; with a single answer and a mask it is an ordinary sequence.

    Args:
        prompt: prompt ids.
        answers: ids of each answer.
        scored: for each answer, which of its tokens are targets; None scores all.
    """

    prompt: Sequence[int]
    answers: Sequence[Sequence[int]]
    scored: Sequence[Sequence[bool]] | None = None

    def __len__(self) -> int:
        return len(self.prompt) + sum(map(len, self.answers))


def sequence(ids: Sequence[int], mask: Sequence[bool]) -> Tree:
    """A sequence with a loss mask as a tree of one completion: the first token is the prompt, because nothing predicts
    it."""
    return Tree(ids[:1], [ids[1:]], [mask[1:]])


def assign(lengths: Iterable[int], room: int) -> list[list[int]]:
    """Put sequences into rows, in order, each into the first of the open rows that has room (first fit over the last 16
    rows).

    Raises:
        ValueError: a sequence longer than a row.
    """
    rows: list[list[int]] = []
    left: list[int] = []
    for i, length in enumerate(lengths):
        if length > room:
            raise ValueError(
                f"sequence {i} has {length} tokens and a row has room for {room}; leave it out or enlarge the context"
            )
        for row in range(max(0, len(rows) - 16), len(rows)):
            if left[row] >= length:
                rows[row].append(i)
                left[row] -= length
                break
        else:
            rows.append([i])
            left.append(room - length)
    return rows


def pack(trees: Sequence[Tree], room: int, rows: Sequence[Sequence[int]] | None = None) -> Packed:
    """Lay trees into rows of at most `room` tokens.

    Args:
        trees: in any number and length up to `room`.
        room: longest row; the rows are cut to the longest one in use.
        rows: which trees share a row, if that was decided before (`assign`).
    """
    rows = rows if rows is not None else assign(map(len, trees), room)
    width = max(sum(len(trees[i]) for i in row) for row in rows)
    first_id = [0]
    for tree in trees:
        first_id.append(first_id[-1] + len(tree.answers))
    ids, positions, completion_ids = (torch.zeros(len(rows), width, dtype=torch.long) for _ in range(3))
    segments = torch.full((len(rows), width), -1, dtype=torch.long)
    sources: list[int] = []
    targets: list[int] = []
    sequence_ids: list[int] = []
    for b, row in enumerate(rows):
        at = 0
        for segment, i in enumerate(row):
            tree, start = trees[i], at
            n = len(tree.prompt)
            ids[b, at : at + n] = torch.tensor(tree.prompt)
            positions[b, at : at + n] = torch.arange(n)
            at += n
            for j, answer in enumerate(tree.answers):
                m = len(answer)
                ids[b, at : at + m] = torch.tensor(answer, dtype=torch.long)
                positions[b, at : at + m] = torch.arange(n, n + m)
                completion_ids[b, at : at + m] = j + 1
                for k in range(m):
                    if tree.scored is None or tree.scored[j][k]:
                        # The first token of an answer is predicted by the end of the prompt, the others by the one
                        # before.
                        sources.append(b * width + (start + n - 1 if k == 0 else at + k - 1))
                        targets.append(answer[k])
                        sequence_ids.append(first_id[i] + j)
                at += m
            segments[b, start:at] = segment
    return Packed(
        ids, positions, segments, completion_ids, torch.tensor(sources), torch.tensor(targets), torch.tensor(sequence_ids)
    )
