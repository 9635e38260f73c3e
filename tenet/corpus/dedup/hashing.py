"""What an endless stream of texts is known by: word hashes and digests."""

from __future__ import annotations

import re

from tenet.corpus.dedup.exact import digest_of
from tenet.corpus.ngrams import Hashes, WordHasher

_WORD = re.compile(r"\w+")

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

    def with_digest(self, text: str) -> tuple[Hashes, bytes]:
        """The hashes, and `exact.digest` of the text, from one split."""
        if len(self._known) > REMEMBERED:
            self._known.clear()
        lower = text.lower()
        words = _WORD.findall(lower)
        return self.of(lower, words), digest_of(words)
