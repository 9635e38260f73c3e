"""Keys and values: a row for each running request, and blocks of earlier prompts that later ones reuse.

Shape letters: L layers, N rows, K key-value heads, S positions, E width of a head, T new tokens.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_modules.model.decoder import Decoder

#: Attention runs over a multiple of so many positions: sums are then added up in the same order, and round alike,
#: whatever length the other rows have.
MULTIPLE = 16


def whole(positions: int) -> int:
    """The next multiple of `MULTIPLE`."""
    return -(-positions // MULTIPLE) * MULTIPLE


class RowCache:
    """Keys and values of all rows: [L, N, K, S, E], S padded to a multiple of `MULTIPLE`. A view of some rows at some
    positions is set before each forward."""

    def __init__(self, model: Decoder, rows: int, context: int) -> None:
        config, weight = model.config, model.embedding.weight
        shape = (config.num_layers, rows, config.num_kv_heads, whole(context), config.head_dim)
        # Zeros, not empty: what lies beyond a row's end is masked, but a NaN there would survive the multiplication by
        # 0.
        self.k = torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        self.v = torch.zeros_like(self.k)
        self._first = 0
        self._rows = torch.empty(0, dtype=torch.long)
        self._positions_NT = torch.empty(0)
        self._span = 0

    def view(self, first: int, positions_NT: Tensor, span: int) -> RowCache:
        """Aim the next forward at the rows from `first` on: new tokens at `positions_NT`, attention over the first
        `span` positions."""
        self._rows = torch.arange(first, first + len(positions_NT), device=positions_NT.device)[:, None]
        self._first, self._positions_NT, self._span = first, positions_NT, span
        return self

    def update(self, layer: int, k_NKTE: Tensor, v_NKTE: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values and return those of the aimed rows."""
        # Advanced indices around a slice put the indexed axes first: [N, T, K, E].
        where = (self._rows, slice(None), self._positions_NT)
        k, v = self.k[layer], self.v[layer]
        k[where] = k_NKTE.transpose(1, 2).to(k.dtype)
        v[where] = v_NKTE.transpose(1, 2).to(v.dtype)
        rows = slice(self._first, self._first + len(k_NKTE))
        return k[rows, :, : self._span], v[rows, :, : self._span]

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first positions of one row to another."""
        for tensor in (self.k, self.v):
            tensor[:, target, :, :length] = tensor[:, source, :, :length]


class PrefixCache:
    """Blocks of keys and values, found again by the exact tokens before and in them, least recently used thrown out
    first.

    A block is named by a number that is never used twice, and found by the name of the block before it and its own
    tokens: no hash of another prompt can collide with it, and what followed a block that is gone is never found again.

    Args:
        rows: where blocks are copied from and to.
        block: tokens of a block.
        blocks: how many are kept; their memory is taken when they are first written.
    """

    def __init__(self, rows: RowCache, block: int, blocks: int) -> None:
        self.block, self._rows = block, rows
        layers, _, heads, _, width = rows.k.shape
        self._k = torch.zeros((blocks, layers, heads, block, width), dtype=rows.k.dtype, device=rows.k.device)
        self._v = torch.zeros_like(self._k)
        self._free = list(range(blocks))
        self._names = 0
        # (salt or name of the block before, tokens) -> (name, place in the tensors); the oldest comes first.
        self._known: OrderedDict[tuple[int | str, tuple[int, ...]], tuple[int, int]] = OrderedDict()

    def load(self, row: int, tokens: Sequence[int], salt: str) -> int:
        """Fill the beginning of a row with what is known of these tokens; one token at least is left to compute.

        Returns:
            how many tokens were filled.
        """
        chain = self._chain(tokens[:-1], salt)
        if not chain:
            return 0
        self._touch(chain)
        places = [self._known[key][1] for key in chain]
        for store, target in ((self._k, self._rows.k), (self._v, self._rows.v)):
            # [blocks, L, K, block, E] to [L, K, blocks x block, E].
            joined = store[places].permute(1, 2, 0, 3, 4).flatten(2, 3)
            target[:, row, :, : joined.shape[2]] = joined
        return len(chain) * self.block

    def save(self, row: int, tokens: Sequence[int], salt: str) -> int:
        """Keep the full blocks of a row that holds these tokens.

        Returns:
            how many tokens were newly written.
        """
        chain = self._chain(tokens, salt)
        name: int | str = self._known[chain[-1]][0] if chain else salt
        before = len(chain)
        whole = min(len(tokens) // self.block, len(self._k))
        for at in range(before * self.block, whole * self.block, self.block):
            key = (name, tuple(tokens[at : at + self.block]))
            place = self._free.pop() if self._free else self._evict(keep=chain)
            for store, source in ((self._k, self._rows.k), (self._v, self._rows.v)):
                store[place] = source[:, row, :, at : at + self.block]
            self._names += 1
            name = self._names
            self._known[key] = (name, place)
            chain.append(key)
        self._touch(chain)
        return (len(chain) - before) * self.block

    def clear(self) -> None:
        """Forget everything: the weights have changed."""
        self._free += [place for _, place in self._known.values()]
        self._known.clear()

    def _chain(self, tokens: Sequence[int], salt: str) -> list[tuple[int | str, tuple[int, ...]]]:
        chain: list[tuple[int | str, tuple[int, ...]]] = []
        name: int | str = salt
        for at in range(0, len(tokens) - self.block + 1, self.block):
            key = (name, tuple(tokens[at : at + self.block]))
            if key not in self._known:
                break
            chain.append(key)
            name = self._known[key][0]
        return chain

    def _touch(self, chain: list[tuple[int | str, tuple[int, ...]]]) -> None:
        # The last block first, so that a chain is thrown out from its end: a block whose predecessor is gone is of no
        # use.
        for key in reversed(chain):
            self._known.move_to_end(key)

    def _evict(self, keep: list[tuple[int | str, tuple[int, ...]]]) -> int:
        held = set(keep)
        oldest = next(key for key in self._known if key not in held)
        return self._known.pop(oldest)[1]
