"""The prompts of a comparison: a file of prompt rows, or some of it drawn by seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from tenet.errors import ConfigError
from tenet.rows import Row, read_table
from tenet.verifiers import Verifier


@dataclass(frozen=True)
class PromptSet:
    """Prompt rows in the order of their file.

    Args:
        sha256: of the file. refused: records that made no prompt.
    """

    rows: list[Row]
    name: str
    sha256: str
    refused: int


def read_prompts(data: str, limit: int = 0, seed: int = 0, verifiers: Mapping[str, Verifier] | None = None) -> PromptSet:
    """Read and draw.

    Args:
        limit: so many rows, drawn by seed, in the file's order; 0 takes all.
        verifiers: kinds that a domain adds.

    Raises:
        ConfigError: as `tenet.rows.read_table`.
    """
    table = read_table(data, "prompts", verifiers=verifiers)
    rows = table.rows
    if not rows:
        raise ConfigError(f"--prompts {data}: no prompt in it; a row is `prompt` or `messages`")
    if 0 < limit < len(rows):
        rows = [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), limit))]
    return PromptSet(rows, data, table.sha256, len(table.refused))
