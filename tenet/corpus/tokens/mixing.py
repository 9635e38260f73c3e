"""How often each source is read: weights, and a cap on passes.

A weight is the share of the training bytes that a source should have. A small source that should be a large share is
repeated, but not more often than `max_epochs`: up to about four passes teach nearly as much as new text, later ones
little (arXiv:2305.16264). So the mix is as large as the scarcest source allows, its shares are those asked for, and what
the others have beyond that is left out, chosen by a seeded order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tenet.corpus.documents import Held, size
from tenet.corpus.split import order_key
from tenet.errors import ConfigError, StageError
from tenet.settings.corpus import SourceConfig


@dataclass(frozen=True)
class Portion:
    """One source in the mix.

    Args:
        source: its name.
        share: of the bytes that was asked for.
        there: bytes of its training documents.
        epochs: passes over them; below 1 some are left out.
        bytes: what they come to.
    """

    source: str
    share: float
    there: int
    epochs: float
    bytes: int


def check_mix(sources: Sequence[SourceConfig]) -> None:
    """Refuse weights that cannot be.

    Raises:
        ConfigError: a negative weight, a cap of nothing, or weights for some sources only.
    """
    for source in sources:
        where = f"corpus.sources {source.name or source.kind}"
        if source.weight < 0 or not math.isfinite(source.weight):
            raise ConfigError(f"{where}: weight is {source.weight}; it is a share of the mix, above 0 (0: no mixing)")
        if source.max_epochs <= 0 or not math.isfinite(source.max_epochs):
            raise ConfigError(f"{where}: max_epochs is {source.max_epochs}; it must be above 0 (1 reads it once at most)")
    without = [source.name or source.kind for source in sources if not source.weight]
    if without and len(without) < len(sources):
        raise ConfigError(
            f"corpus.sources: {', '.join(without)} has no weight and others do; give each one a weight, or none of them"
        )


def mix(documents: Sequence[Held], sources: Sequence[SourceConfig], seed: int) -> tuple[list[int], list[Portion]]:
    """How many times each document goes into the training text.

    Args:
        documents: of the train split; `_source` in their metadata is the place of their source.
        sources: with their weights; without any, every document goes in once and there are no portions.
        seed: of the order in which documents are taken where only a part of a source is.

    Returns:
        copies of each document, and what became of each source.

    Raises:
        StageError: a source with a weight has no training document.
    """
    if not any(source.weight for source in sources):
        return [1] * len(documents), []
    places: dict[int, list[int]] = {place: [] for place in range(len(sources))}
    for i, document in enumerate(documents):
        places[document["metadata"].get("_source", 0)].append(i)
    there = {place: sum(size(documents[i]) for i in members) for place, members in places.items()}
    whole = sum(source.weight for source in sources)
    for place, source in enumerate(sources):
        if not there[place]:
            raise StageError(
                f"corpus.sources {source.name or source.kind}: weight {source.weight:g}, but no document of it is left for training; "
                "see removed.jsonl, or take it out"
            )
    total = min(source.max_epochs * there[place] * whole / source.weight for place, source in enumerate(sources))
    copies, portions = [0] * len(documents), []
    for place, source in enumerate(sources):
        wanted = total * source.weight / whole
        passes, rest = divmod(wanted, there[place])
        for i in places[place]:
            copies[i] = int(passes)
        for i in sorted(places[place], key=lambda i: (order_key(seed, documents[i]["id"]), i)):
            if rest < size(documents[i]) / 2:  # nearest to what was asked, not the last below it
                break
            copies[i] += 1
            rest -= size(documents[i])
        got = sum(copies[i] * size(documents[i]) for i in places[place])
        share = source.weight / whole
        portions.append(Portion(source.name or source.kind, share, there[place], got / there[place], got))
    return copies, portions
