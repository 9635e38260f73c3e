"""What things are hidden in: the sentences of a text of one's own, or a few sentences said again and again."""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tenet.errors import ConfigError
from tenet.evaluate.long_context.vocabulary import plain_words

#: Said again and again where there is no text, and where a task wants just that.
NOISE = (
    "The tide comes in and the tide goes out.",
    "The boats lie still.",
    "Sand is under the water and the sky is over it.",
    "Nobody is there, and it is the same tomorrow.",
)
_END = re.compile(r"(?<=[.!?])[\"'”’)]*\s+")


@dataclass(frozen=True)
class Haystack:
    """Sentences to hide things in.

    Args:
        text: of one or several books, end to end; empty takes NOISE.
    """

    text: str = field(default="", repr=False)

    @cached_property
    def sentences(self) -> list[str]:
        """Each with blanks in the place of line ends."""
        return [" ".join(part.split()) for part in _END.split(self.text) if part.strip()] or list(NOISE)

    @cached_property
    def words(self) -> list[str]:
        """Its different plain words, sorted."""
        return plain_words(self.text)

    @cached_property
    def sha256(self) -> str:
        """Of the text; "noise" without one."""
        return hashlib.sha256(self.text.encode()).hexdigest() if self.text else "noise"

    def from_place(self, place: int, count: int) -> list[str]:
        """So many sentences from a place on, from the beginning again where the text ends."""
        own = self.sentences
        place %= len(own)
        whole = own[place:] + own[:place]
        return (whole * (count // len(whole) + 1))[:count]


def read_haystack(*paths: Path) -> Haystack:
    """The texts of files (.txt or .md, each also .gz), in the order given.

    Raises:
        ConfigError: one does not exist, is no UTF-8 text, or is empty.
    """
    texts = []
    for path in paths:
        try:
            raw = path.read_bytes()
            text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError, EOFError) as error:
            raise ConfigError(f"{path}: cannot be read as text ({error}); name a .txt or .md file, also packed as .gz") from None
        if not text.strip():
            raise ConfigError(f"{path}: is empty; name a text of some length")
        texts.append(text)
    return Haystack("\n\n".join(texts))
