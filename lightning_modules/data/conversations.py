"""Batches of whole conversations, packed end to end; a batch is a function of the step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_modules.data.chat import ChatTokenizer
from lightning_modules.data.packing import Packed, Tree, pack, sequence
from lightning_modules.data.steps import order
from lightning_modules.data.templates import ConversationError
from lightning_modules.distributed.ranks import own


def encode(tokenizer: ChatTokenizer, rows: Sequence[dict[str, Any]], context: int) -> tuple[list[Tree], int]:
    """Conversations as trees with their loss masks; one gives several where its template rewrites history, see
    `ChatTokenizer.examples`.

    Returns:
        those that fit the context, and how many conversations were left out, wholly or in part.

    Raises:
        ConversationError: names the row that cannot be learnt from.
    """
    trees: list[Tree] = []
    left_out = 0
    for number, row in enumerate(rows, 1):
        try:
            examples = tokenizer.examples(row["messages"], row.get("tools"))
        except ConversationError as error:
            raise ConversationError(f"conversation {_called(row, number)}: {error}") from None
        fitting = [sequence(*example) for example in examples if len(example[0]) <= context]
        trees += fitting
        left_out += len(fitting) < len(examples)
    return trees, left_out


def _called(row: dict[str, Any], number: int) -> str:
    """How whoever wrote a row finds it again."""
    if row.get("id"):
        return repr(row["id"])
    begins = next((str(message.get("content") or "") for message in row["messages"] if message.get("role") == "user"), "")
    return f"number {number}, which begins {begins[:60]!r}"


class ConversationBatches:
    """Batch of a step: as many shuffled conversations as `rows` rows of `context` tokens take.

    The cut of an epoch into batches is computed once an epoch, from seed and epoch alone.

    Args:
        trees: encoded conversations.
        seed: order of the conversations.
        rows, context: size of a batch.
        rank, world: which process this is, of how many; the conversations of a batch are dealt out one by one.
    """

    def __init__(self, trees: Sequence[Tree], seed: int, rows: int, context: int, rank: int = 0, world: int = 1) -> None:
        if not trees:
            raise ValueError(f"no conversation fits {context} tokens; enlarge finetune.context or look at the data")
        self.trees, self.seed, self.rows, self.context, self.rank, self.world = trees, seed, rows, context, rank, world
        self._epochs: list[list[list[int]]] = []

    def _batches(self, epoch: int) -> list[list[int]]:
        """Numbers of the conversations of each batch of an epoch."""
        batches: list[list[int]] = []
        current: list[int] = []
        open_rows: list[int] = []
        for i in order(self.seed, epoch, len(self.trees)).tolist():
            size = len(self.trees[i])
            fits = next((r for r, left in enumerate(open_rows) if left >= size), None)
            if fits is None and len(open_rows) == self.rows:
                batches.append(current)
                current, open_rows, fits = [], [], None
            if fits is None:
                open_rows.append(self.context - size)
            else:
                open_rows[fits] -= size
            current.append(i)
        # The last, partly filled batch is dropped unless it is the only one.
        return batches or [current]

    def __call__(self, step: int) -> Packed:
        epoch = 0
        while True:
            if epoch == len(self._epochs):
                self._epochs.append(self._batches(epoch))
            if step < len(self._epochs[epoch]):
                chosen = self._epochs[epoch][step]
                return pack([self.trees[i] for i in own(chosen, self.rank, self.world)], self.context)
            step -= len(self._epochs[epoch])
            epoch += 1
