"""Random choices out of a hash: the same for a key on every machine, in every version of Python, in any order of
calls. No choice passes through a floating-point number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Draws:
    """A stream of draws that a key names."""

    def __init__(self, *key: object) -> None:
        self._key = " ".join(map(str, key)).encode()
        self._block = 0
        self._left: list[int] = []

    def _number(self) -> int:
        """64 bits; a block of SHA-256 holds four."""
        if not self._left:
            digest = hashlib.sha256(self._key + b" %d" % self._block).digest()
            self._block += 1
            self._left = [int.from_bytes(digest[i : i + 8], "big") for i in range(0, 32, 8)]
        return self._left.pop()

    def below(self, count: int) -> int:
        """From 0 to count - 1; the bias of the remainder is below count / 2**64."""
        return self._number() % count

    def one(self, values: Sequence[T]) -> T:
        """One of several."""
        return values[self.below(len(values))]

    def shuffled(self, values: Sequence[T]) -> list[T]:
        """All of them, in a drawn order (Fisher and Yates)."""
        out = list(values)
        for last in range(len(out) - 1, 0, -1):
            other = self.below(last + 1)
            out[last], out[other] = out[other], out[last]
        return out

    def some(self, values: Sequence[T], count: int) -> list[T]:
        """So many different places, in a drawn order; fast also where there are many to draw from."""
        taken: dict[int, None] = {}
        while len(taken) < min(count, len(values)):
            taken[self.below(len(values))] = None
        return [values[place] for place in taken]

    def number(self, digits: int) -> str:
        """A number of so many digits that does not begin with 0."""
        low = 10 ** (digits - 1)
        return str(low + self.below(9 * low))

    def uuid(self) -> str:
        """32 hexadecimal digits in five groups."""
        digits = f"{self._number():016x}{self._number():016x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
