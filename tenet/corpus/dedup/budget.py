"""What a search for duplicates will take, said before it starts."""

from __future__ import annotations

from dataclasses import dataclass

from tenet.errors import ConfigError

#: Less than this leaves batches so small that a corpus of any size takes for ever.
LEAST_MEMORY = 16 << 20
#: What the steps take where nothing else is said.
MEMORY = 512 << 20


@dataclass(frozen=True)
class Plan:
    """Memory and disk of one step.

    Args:
        step: its name.
        documents, size: what goes in, and its UTF-8 bytes.
        memory: most bytes of memory beside what the process holds already; the largest document comes on top, with 16
            bytes a word.
        disk: most bytes of scratch files.
    """

    step: str
    documents: int
    size: int
    memory: int
    disk: int

    def line(self) -> str:
        """For the screen."""
        return (
            f"{self.step}: {self.documents:,} documents, {_bytes(self.size)}: at most {_bytes(self.memory)} of memory, "
            f"{_bytes(self.disk)} on disk"
        )


def check_memory(memory: int) -> None:
    """Refuse what cannot work.

    Raises:
        ConfigError: it is below `LEAST_MEMORY`.
    """
    if memory < LEAST_MEMORY:
        raise ConfigError(
            f"{memory:,} bytes of memory for the search for duplicates; it needs {LEAST_MEMORY:,} at least, {MEMORY:,} is usual"
        )


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
