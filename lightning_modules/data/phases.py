"""Batches of a curriculum: each phase draws its rows from streams (the corpus as it is mixed, or one source) by share.

A batch is a function of the step alone, as everywhere here, so a run that was killed in the middle of a phase goes on
with the very rows it would have had, on any number of processes. Streams go on where an earlier phase left them: no row
comes again before all of its stream were there.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lightning_modules.data.packing import Packed
from lightning_modules.data.shards import PretrainBatches, TokenRows, packed
from lightning_modules.data.steps import order, rows_from

#: Rows in which the shares hold exactly, to one row; their order in it is a draw.
BLOCK = 1024
#: Between the seeds of two streams, and of two phases.
APART = 1009


@dataclass(frozen=True)
class Phase:
    """One phase.

    Args:
        end: the step before which it ends.
        shares: stream -> share of its rows; they sum to 1.
    """

    end: int
    shares: dict[int, float]


@dataclass(frozen=True)
class _Dealer:
    """Which stream each row of a phase comes from: blocks in which every stream has its quota, each block shuffled.

    Args:
        shares: of `Phase`.
        rows: of the phase.
        seed: of the shuffle.
    """

    shares: dict[int, float]
    rows: int
    seed: int

    @cached_property
    def block(self) -> npt.NDArray[np.int64]:
        """Streams of a block, by largest remainder, unshuffled."""
        size = max(1, min(BLOCK, self.rows))
        wanted = {stream: share * size for stream, share in self.shares.items()}
        quota = {stream: int(rows) for stream, rows in wanted.items()}
        missing = size - sum(quota.values())
        for stream in sorted(wanted, key=lambda stream: (quota[stream] - wanted[stream], stream))[:missing]:
            quota[stream] += 1
        return np.repeat(list(quota), list(quota.values()))

    def streams(self, begin: int, count: int) -> npt.NDArray[np.int64]:
        """Of `count` rows from row `begin` of the phase on."""
        size = len(self.block)
        blocks = range(begin // size, (begin + count - 1) // size + 1)
        drawn = np.concatenate([self.block[order(self.seed, block, size).numpy()] for block in blocks])
        return drawn[begin - blocks[0] * size :][:count]

    def before(self, row: int) -> dict[int, int]:
        """Rows that each stream has given before a row of the phase."""
        whole, rest = divmod(row, len(self.block))
        inside = self.streams(whole * len(self.block), rest) if rest else self.block[:0]
        return {stream: whole * int((self.block == stream).sum()) + int((inside == stream).sum()) for stream in self.shares}


class PhasedBatches(PretrainBatches):
    """Batch of a step of a curriculum, for this process.

    Args:
        streams: the corpus as it is mixed, and one stream for each source that a phase names.
        phases: in their order.
        seed, global_batch, micro_batch, document_mask, rank, world: as of `PretrainBatches`; a phase that draws from
            stream 0 alone, before all others, gives what that gives.
    """

    def __init__(
        self, streams: Sequence[TokenRows], phases: Sequence[Phase], seed: int, global_batch: int, micro_batch: int,
        document_mask: bool, rank: int = 0, world: int = 1,
    ) -> None:  # fmt: skip
        super().__init__(streams[0], seed, global_batch, micro_batch, document_mask, rank, world)
        self.streams, self.phases = streams, phases
        self.begins = [0, *(phase.end for phase in phases[:-1])]
        self.dealers = [
            _Dealer(phase.shares, (phase.end - begin) * global_batch, seed + APART * number)
            for number, (begin, phase) in enumerate(zip(self.begins, phases, strict=True))
        ]
        self.drawn = [[0] * len(streams)]
        for dealer in self.dealers:
            self.drawn.append([done + dealer.before(dealer.rows).get(s, 0) for s, done in enumerate(self.drawn[-1])])

    def rows_drawn(self) -> list[list[int]]:
        """Rows of each stream in each phase: [phase][stream]."""
        return [[b - a for a, b in zip(one, two, strict=True)] for one, two in zip(self.drawn, self.drawn[1:], strict=False)]

    def chosen(self, step: int) -> list[tuple[int, int]]:
        """(stream, row) of the global batch of a step."""
        number = min(bisect.bisect_right([phase.end for phase in self.phases], step), len(self.phases) - 1)
        dealer, begin = self.dealers[number], (step - self.begins[number]) * self.global_batch
        drawn, streams = dealer.before(begin), dealer.streams(begin, self.global_batch)
        rows = np.zeros(self.global_batch, dtype=np.int64)
        for stream in dealer.shares:
            here = streams == stream
            first = self.drawn[number][stream] + drawn[stream]
            rows[here] = rows_from(self.seed + APART * stream, first, int(here.sum()), len(self.streams[stream]))
        return list(zip(streams.tolist(), rows.tolist(), strict=True))

    def cut(self, chosen: Sequence[tuple[int, int]]) -> Packed:
        """Rows of several streams, in their order."""
        place = {stream: [i for i, (of, _) in enumerate(chosen) if of == stream] for stream, _ in chosen}
        parts = [
            self.streams[stream].read([chosen[i][1] for i in at], self.document_mask) for stream, at in sorted(place.items())
        ]
        back = np.argsort(np.concatenate([at for _, at in sorted(place.items())]))
        return packed(*(np.concatenate(columns)[back] for columns in zip(*parts, strict=True)))
