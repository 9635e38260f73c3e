"""Rows of a memory-mapped token shard for next-token training.

A shard is one long stream: document, end-of-text, document, end-of-text. Rows are cut from it at fixed offsets, so
nothing is padded or lost but the tail. An end-of-text token opens the document after it: the first word of a document
is predicted from it, and attention does not look further back.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lightning_modules.data.packing import Packed
from lightning_modules.data.steps import rows_of_step


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
        return (len(self.tokens) - 1) // self.context

    def batch(self, rows: list[int], document_mask: bool = True) -> Packed:
        """Rows by number, every position scored."""
        starts = np.array(rows)[:, None] * self.context
        at = starts + np.arange(self.context)
        ids = torch.from_numpy(self.tokens[at].astype(np.int64))
        targets = torch.from_numpy(self.tokens[at + 1].astype(np.int64))
        if document_mask:
            # `ends - 1` is where each end-of-text token lies: from there on it is the next document.
            document = np.searchsorted(self.ends - 1, at, side="right")
            begin = np.concatenate(([0], self.ends - 1))[document]
            positions = torch.from_numpy(at - np.maximum(begin, starts))
            segments = torch.from_numpy(document - document[:, :1])
        else:
            positions = torch.arange(self.context).expand(len(rows), -1).contiguous()
            segments = torch.zeros_like(ids)
        n = ids.numel()
        return Packed(
            ids, positions, segments, torch.zeros_like(ids), torch.arange(n), targets.flatten(), torch.arange(n) // self.context
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
        chosen = rows_of_step(self.seed, step, self.global_batch, len(self.rows))
        own = chosen[self.rank :: self.world]
        return self.rows.batch(own[part * self.micro_batch : (part + 1) * self.micro_batch], self.document_mask)
