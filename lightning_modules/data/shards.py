"""Rows of a memory-mapped token shard for next-token training.

A shard is one long stream: document, end-of-text, document, end-of-text. Rows are cut from it at fixed offsets, so
nothing is padded or lost but the tail. An end-of-text token opens the document after it: the first word of a document
is predicted from it, and attention does not look further back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lightning_modules.data.packing import Packed
from lightning_modules.data.steps import rows_of_step

Numbers = npt.NDArray[np.int64]


class TokenRows:
    """A shard cut into rows of `context` tokens.

    Args:
        path: the `.ds` file; its `.index` lies beside it.
        context: tokens of a row; the row's last target is the token after it.
        wide: uint32 tokens (vocabularies above 65,536).
    """

    def __init__(self, path: Path, context: int, wide: bool = False) -> None:
        for file in (path, path.with_name(path.name + ".index")):
            if not file.is_file():
                raise FileNotFoundError(f"{file}: no such file; run `tenet corpus` first")
        self.tokens = np.memmap(path, dtype=np.uint32 if wide else np.uint16, mode="r")
        self.ends = np.fromfile(path.with_name(path.name + ".index"), dtype=np.uint64).astype(np.int64)
        if len(self.ends) == 0 or int(self.ends[-1]) != len(self.tokens):
            raise ValueError(
                f"{path}: has {len(self.tokens)} tokens, its index ends at {int(self.ends[-1]) if len(self.ends) else 0}; "
                "the shard is cut short or of another width, make it anew with `tenet corpus --fresh`"
            )
        self.context = context
        if len(self) < 1:
            raise ValueError(
                f"{path}: {len(self.tokens)} tokens are fewer than one row of {context}; add text or shorten the context"
            )

    def __len__(self) -> int:
        return (int(self.ends[-1]) - 1) // self.context

    def batch(self, rows: list[int], document_mask: bool = True) -> Packed:
        """Rows by number, every position scored."""
        return packed(*self.read(rows, document_mask))

    def read(self, rows: list[int], document_mask: bool = True) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        """Ids, targets, positions and segments of rows: [B, T] each."""
        starts = np.array(rows)[:, None] * self.context
        at = starts + np.arange(self.context)
        ids, targets = self.at(at), self.at(at + 1)
        if not document_mask:
            return ids, targets, np.broadcast_to(np.arange(self.context), at.shape).copy(), np.zeros_like(ids)
        # `ends - 1` is where each end-of-text token lies: from there on it is the next document.
        document = np.searchsorted(self.ends - 1, at, side="right")
        begin = np.concatenate(([0], self.ends - 1))[document]
        return ids, targets, at - np.maximum(begin, starts), document - document[:, :1]

    def at(self, places: Numbers) -> Numbers:
        """Tokens at places of the stream."""
        return self.tokens[places].astype(np.int64)


class SourceRows(TokenRows):
    """Rows of some of a shard's documents, in their order, as if they were the whole shard.

    Args:
        whole: the shard.
        chosen: [documents] which of them.
        name: what they are, for errors.
    """

    def __init__(self, whole: TokenRows, chosen: npt.NDArray[np.bool_], name: str) -> None:
        begins = np.concatenate(([0], whole.ends[:-1]))
        lengths = (whole.ends - begins)[chosen]
        self.tokens, self.context, self.ends = whole.tokens, whole.context, np.cumsum(lengths)
        if not len(lengths) or len(self) < 1:
            raise ValueError(
                f"{name}: {int(lengths.sum())} tokens of training text are fewer than one row of {self.context}; add text or shorten the "
                "context"
            )
        # From a place among the chosen documents to the place in the shard.
        self.shift = begins[chosen] - (self.ends - lengths)

    def at(self, places: Numbers) -> Numbers:
        """Tokens at places of the stream."""
        return super().at(places + self.shift[np.searchsorted(self.ends, places, side="right")])


def packed(ids: Numbers, targets: Numbers, positions: Numbers, segments: Numbers) -> Packed:
    """Rows as the decoder takes them: [B, T] each."""
    ids_BT, length = torch.from_numpy(ids), ids.shape[1]
    n = ids.size
    return Packed(
        ids_BT,
        torch.from_numpy(positions),
        torch.from_numpy(segments),
        torch.zeros_like(ids_BT),
        torch.arange(n),
        torch.from_numpy(targets).flatten(),
        torch.arange(n) // length,
    )


class PretrainBatches:
    """Batch of a step, for this process: a share of the global batch, so that neither the order nor the step depends on
    the number of processes.

    Args:
        rows: the training shard.
        seed: order of the rows.
        global_batch: rows of one optimiser step over all processes.
        micro_batch: most rows of one forward pass of one process.
        document_mask: see `TokenRows.batch`.
        rank, world: which process this is, of how many.
    """

    def __init__(
        self, rows: TokenRows, seed: int, global_batch: int, micro_batch: int, document_mask: bool, rank: int = 0, world: int = 1
    ) -> None:
        share = global_batch // world
        self.micro_batch = min(micro_batch, share)
        if global_batch % world or share % self.micro_batch:
            raise ValueError(
                f"a step has {global_batch} rows (batch_tokens / context); they cannot be dealt to {world} processes in passes of {micro_batch} rows: "
                "change micro_batch, batch_tokens or the number of processes"
            )
        self.rows, self.seed, self.global_batch = rows, seed, global_batch
        self.document_mask, self.rank, self.world = document_mask, rank, world
        #: Forward passes of one process in one optimiser step.
        self.accumulate = share // self.micro_batch

    def __call__(self, micro_step: int) -> Packed:
        step, part = divmod(micro_step, self.accumulate)
        own = self.chosen(step)[self.rank :: self.world]
        return self.cut(own[part * self.micro_batch : (part + 1) * self.micro_batch])

    def chosen(self, step: int) -> list[Any]:
        """Rows of the global batch of a step."""
        return rows_of_step(self.seed, step, self.global_batch, len(self.rows))

    def cut(self, chosen: list[Any]) -> Packed:
        """Those rows."""
        return self.rows.batch(chosen, self.document_mask)
