"""The phases of pretraining on the corpus that the run has: their sources found in the training shard, their passes
counted and held against `pretrain.max_epochs`, and what is told of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lightning_modules.data.phases import Phase, PhasedBatches
from lightning_modules.data.shards import SourceRows, TokenRows
from tenet.corpus.tokens.origins import FILE, read_origins
from tenet.errors import ConfigError
from tenet.runs.summary import Figure
from tenet.settings.phases import ends, shares
from tenet.settings.training import PretrainConfig

#: What the corpus as it is mixed is called in reports.
MIX = "the whole mix"


@dataclass(frozen=True)
class Curriculum:
    """The phases on a corpus.

    Args:
        batches: of this process.
        names: of the streams that they draw from: the whole mix, and the sources that a phase names.
        passes: source -> passes over what the training shard has of it, on its own and as a part of the mix.
        copies: source -> how often the mix has its text, which the shard's passes repeat.
    """

    batches: PhasedBatches
    names: list[str]
    passes: dict[str, float]
    copies: dict[str, float]


def curriculum(config: PretrainConfig, whole: TokenRows, folder: Path, seed: int, rank: int, world: int) -> Curriculum:
    """Find the sources of the phases in the shard and count how often they are read.

    Args:
        config: with its steps as they are trained.
        whole: the training shard.
        folder: of the shards.

    Raises:
        ConfigError: a source that the corpus has not, has too little of, or that would be read too often.
        ValueError: the batch cannot be dealt to the processes.
    """
    wanted = list(dict.fromkeys(source for phase in config.phases for source in phase.weights))
    found = read_origins(folder, len(whole.ends))
    for number, phase in enumerate(config.phases, 1):
        for source in phase.weights:
            if source not in found.sources:
                known = ", ".join(found.sources) or f"none told apart (one source, or a corpus made before {FILE} was)"
                raise ConfigError(f"pretrain.phases {number}: no source {source!r} in the training text; there are {known}")
    try:
        streams = [whole, *(SourceRows(whole, found.sources[source], f"pretrain.phases: {source}") for source in wanted)]
    except ValueError as error:
        raise ConfigError(str(error)) from None
    place = {source: i for i, source in enumerate(wanted, 1)}
    phases = [
        Phase(end, {place[source]: share for source, share in shares(phase).items()} or {0: 1.0})
        for end, phase in zip(ends(config.phases, config.steps), config.phases, strict=True)
    ]
    rows = config.batch_tokens // config.context
    batches = PhasedBatches(streams, phases, seed, rows, config.micro_batch, config.document_mask, rank, world)
    drawn = batches.drawn[-1]
    passes = {source: drawn[0] / len(whole) + drawn[i] / len(streams[i]) for source, i in place.items()}
    _check_passes(config, passes)
    lengths = np.diff(whole.ends, prepend=0)
    copies = {source: _copies(lengths[found.sources[source]], found.again[found.sources[source]]) for source in wanted}
    return Curriculum(batches, [MIX, *wanted], passes, copies)


def _copies(lengths: npt.NDArray[np.int64], again: npt.NDArray[np.bool_]) -> float:
    return float(lengths.sum() / lengths[~again].sum())


def _check_passes(config: PretrainConfig, found: dict[str, float]) -> None:
    if config.max_epochs == "all":
        return
    for source, times in found.items():
        if times > config.max_epochs:
            raise ConfigError(
                f"pretrain.phases: {source} would be read {times:.1f} times, pretrain.max_epochs is {config.max_epochs}; lower its weight, "
                "the share of its phase or pretrain.tokens, or raise max_epochs"
            )


def figures(config: PretrainConfig, made: Curriculum) -> list[Figure]:
    """A line of the run's table for each phase, and for each source that one names."""
    found, begin = [], 0
    rows = zip(config.phases, made.batches.phases, made.batches.rows_drawn(), strict=True)
    for number, (phase, placed, drawn) in enumerate(rows, 1):
        steps, begin = placed.end - begin, placed.end
        what = ", ".join(f"{count / sum(drawn):.1%} {name}" for name, count in zip(made.names, drawn, strict=True) if count)
        rate = f"; rate: {phase.schedule}" if phase.schedule else ""
        name = f"phase {number}" + (f", {phase.name}" if phase.name else "")
        found.append(Figure(name, steps * config.batch_tokens, "tokens", better="neither", note=f"{steps:,} steps: {what}{rate}"))
    for source, times in made.passes.items():
        copies = made.copies[source]
        note = f"the mix has its text {copies:.2f} times, and was read {times:.2f} times" if copies > 1 else ""
        found.append(Figure(f"passes over {source}", round(times * copies, 2), "passes", better="neither", note=note))
    return found
