"""A loader whose batch is a function of the step alone: its whole state is a count, so a killed run goes on with the
very batch it would have had."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import torch

Batch = TypeVar("Batch")


class StepLoader(Generic[Batch]):
    """Yields `fetch(step)` for each step.

    It has a length: Lightning prefetches one batch from loaders without one, and a saved state would then be a step
    ahead.

    Args:
        fetch: makes the batch of a step; must depend on nothing else.
        steps: batches in all.
    """

    def __init__(self, fetch: Callable[[int], Batch], steps: int) -> None:
        self.fetch, self.steps, self.done = fetch, steps, 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Batch]:
        while self.done < self.steps:
            batch = self.fetch(self.done)
            self.done += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Steps given out."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after that many steps."""
        self.done = state["done"]


def order(seed: int, epoch: int, count: int) -> torch.Tensor:
    """The permutation of an epoch: a function of seed and epoch, the same on every rank."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))


def rows_of_step(seed: int, step: int, batch: int, count: int) -> list[int]:
    """Row numbers of a step: epochs of shuffled rows, one after the other, cut into batches without gaps."""
    return rows_from(seed, step * batch, batch, count)


def rows_from(seed: int, begin: int, wanted: int, count: int) -> list[int]:
    """So many row numbers from place `begin` of those epochs on."""
    out: list[int] = []
    while len(out) < wanted:
        epoch, inside = divmod(begin + len(out), count)
        out += order(seed, epoch, count)[inside : inside + wanted - len(out)].tolist()
    return out
