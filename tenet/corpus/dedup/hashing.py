"""Word hashes of an endless stream of texts."""

from __future__ import annotations

from tenet.corpus.ngrams import Hashes, WordHasher

#: Words that are remembered: about 100 bytes each, so 50 MB. English prose of any length has most of its words in far
#: fewer; names, numbers and typing errors are what makes a vocabulary grow for ever.
REMEMBERED = 500_000


class BoundedHasher(WordHasher):
    """The same hashes, with a memory that starts again before it grows too large."""

    def __call__(self, text: str) -> Hashes:
        """See `WordHasher`."""
        if len(self._known) > REMEMBERED:
            self._known.clear()
        return super().__call__(text)
