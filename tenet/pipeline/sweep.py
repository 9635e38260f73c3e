"""What each filter and each source is worth: the same small model trained on variants of one corpus, compared in bits
per byte of held-out text that the caller chooses.

Bits per byte do not depend on the tokenizer, so variants may train their own. Every variant sees the same number of
tokens; a variant with less text reads it more often, and the table says how often. Differences are paired by document
and averaged over seeds; the interval is of a bootstrap over documents. A finished variant is not computed again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tenet.corpus.ngrams import GramIndex, WordHasher
from tenet.corpus.sources import opened
from tenet.errors import ConfigError
from tenet.files import read_json, write_json
from tenet.settings.build import build, plain
from tenet.settings.corpus import CorpusConfig, SourceConfig
from tenet.settings.preset import Preset

Change = Callable[[CorpusConfig], CorpusConfig]
RESAMPLES = 10_000
#: Tokens of the windows that are scored at once.
WINDOWS_TOKENS = 2048
#: Fewest held-out documents; the interval is over them.
FEWEST = 8


def _filters(**changes: Any) -> Change:
    return lambda config: dataclasses.replace(config, filters=dataclasses.replace(config.filters, **changes))


def _corpus(**changes: Any) -> Change:
    return lambda config: dataclasses.replace(config, **changes)


#: Name -> change, for what a corpus has switched on by default.
WITHOUT: dict[str, Change] = {
    "without repair": _filters(repair=False),
    "without limits": _filters(gopher="off"),
    "without near duplicates": _corpus(near_duplicate=1.1, edited_copy=0.0),
}


@dataclass(frozen=True)
class Worth:
    """One variant.

    Args:
        name: of the change.
        documents, tokens: of its training text; passes: over it.
        bits: per byte of the held-out text, mean over seeds; spread: largest less smallest seed.
        difference: to the corpus as it is, with low and high of its 95 % interval; positive: the change costs bits.
        overlap: share of the held-out words in runs of 13 that its training text has too.
    """

    name: str
    documents: int
    tokens: int
    passes: float
    bits: float
    spread: float
    difference: float
    low: float
    high: float
    overlap: float


def variants(config: CorpusConfig, own: Sequence[str] = ()) -> dict[str, CorpusConfig]:
    """The corpus as it is, without each filter, without each source, and the caller's own changes.

    Args:
        config: with its sources named.
        own: KEY=VALUE, e.g. filters.gopher=reference or passages=50; several in one by commas.

    Raises:
        ConfigError: no such key, or a value that cannot be.
    """
    found = {"as it is": config} | {name: change(config) for name, change in WITHOUT.items()}
    if config.filters.quality_model:
        found["without the classifier"] = _filters(quality_model="")(config)
    if len(config.sources) > 1:
        for place, source in enumerate(config.sources):
            left = tuple(one for other, one in enumerate(config.sources) if other != place)
            found[f"without source {source.name or source.kind}"] = dataclasses.replace(config, sources=left)
    for change in own:
        found[change] = _changed(config, change)
    return {name: made for name, made in found.items() if name == "as it is" or made != config}


def _changed(config: CorpusConfig, change: str) -> CorpusConfig:
    import yaml

    values = plain(config)
    for one in change.split(","):
        key, equals, value = one.partition("=")
        *path, last = key.strip().split(".")
        place = values
        for part in path:
            place = place.get(part, {})
        if not equals or last not in place:
            raise ConfigError(
                f"--variant {change!r}: {key!r} is no setting of the corpus; write KEY=VALUE, e.g. filters.gopher=off"
            )
        read = yaml.safe_load(value)
        place[last] = value if isinstance(read, bool) and isinstance(place[last], str) else read  # `off` is a word here
    return build(CorpusConfig, values, f"--variant {change}")


def held_texts(place: Path) -> list[str]:
    """The documents of a file or folder.

    Raises:
        ConfigError: too few to compare on.
    """
    source = SourceConfig("folder", str(place), personal="keep")
    texts = [item["text"] for item in opened([source])[0].items() if isinstance(item, dict)]
    if len(texts) < FEWEST:
        raise ConfigError(
            f"--held {place}: {len(texts)} documents; at least {FEWEST} are needed to tell a difference from chance"
        )
    return texts


def sweep(
    preset: Preset, made: dict[str, CorpusConfig], held: Sequence[str], seeds: Sequence[int], folder: Path,
    tokens: float, tell: Callable[[str], None] = print,
) -> list[Worth]:  # fmt: skip
    """Train every variant with every seed and compare.

    Args:
        preset: model and training settings.
        made: of `variants`; the first one is what the others are compared with.
        held: documents to measure on.
        seeds: of corpus and training.
        folder: a run in it for each variant and seed; bits of each document beside them.
        tokens: that each training sees.
        tell: a line of progress.
    """
    sizes = np.array([len(text.encode()) for text in held], dtype=np.float64)
    base: npt.NDArray[np.float64] | None = None
    worth = []
    for name, config in made.items():
        runs = [trained(preset, config, held, seed, folder / f"{slug(name)}-{seed}", tokens, tell) for seed in seeds]
        bits = np.array([run["bits"] for run in runs])  # [seeds, documents]
        mean = bits.mean(axis=0)
        base = mean if base is None else base
        by_seed = bits.sum(axis=1) / sizes.sum()
        low, high = interval(mean - base, sizes)
        first = runs[0]
        worth.append(
            Worth(
                name,
                first["documents"],
                first["tokens"],
                tokens / first["tokens"],
                float(by_seed.mean()),
                float(by_seed.max() - by_seed.min()),
                float((mean - base).sum() / sizes.sum()),
                low,
                high,
                first["overlap"],
            )
        )
    write_json(folder / "sweep.json", [dataclasses.asdict(one) for one in worth])
    return worth


def interval(differences: npt.NDArray[np.float64], sizes: npt.NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of bits per byte over documents."""
    drawn = np.random.default_rng(seed).multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), size=RESAMPLES)
    low, high = np.quantile((drawn @ differences) / (drawn @ sizes), (0.025, 0.975))
    return float(low), float(high)


def slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name).strip("-")[:80]


def trained(
    preset: Preset, config: CorpusConfig, held: Sequence[str], seed: int, run: Path, tokens: float, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Corpus and model of one variant, and the bits of each held-out document.

    Args:
        preset: model and training settings.
        config: of the corpus.
        held: documents to measure on.
        seed: of corpus and training.
        run: folder of the run; what is finished in it is not computed again.
        tokens: that the training sees.
        tell: a line of progress.
    """
    from tenet.pipeline.run import run_stage

    pretrain = dataclasses.replace(
        preset.pretrain, tokens=tokens, max_epochs="all", phases=(), validate_every=10**9, sample_every=10**9
    )
    whole = dataclasses.replace(preset, corpus=config, pretrain=pretrain, pipeline=("corpus", "pretrain"))
    for stage in ("corpus", "pretrain"):
        tell(f"{run.name}: {stage}")
        record = run_stage(run, stage, whole, seed=seed)
    card, file = read_json(run / "corpus" / "card.json"), run / "bits.json"
    made_by = {"model": record["fingerprint"], "documents": len(held), "bytes": sum(map(len, held))}
    if file.is_file() and read_json(file)["made_by"] == made_by:
        return dict(read_json(file))
    found = {
        "made_by": made_by,
        "documents": card["documents"]["train"],
        "tokens": card["tokens"]["train"],
        "bits": _bits(run / "pretrain" / "model", held, whole.pretrain.context),
        "overlap": _overlap(run / "corpus", held),
    }
    write_json(file, found)
    return found


def _bits(folder: Path, texts: Sequence[str], context: int) -> list[float]:
    """Bits of each document, window by window."""
    import torch

    from lightning_modules.data.chat import ChatTokenizer
    from lightning_modules.generation.scoring import score
    from lightning_modules.model.hub import load_model

    model, tokenizer = load_model(folder).eval(), ChatTokenizer.from_folder(folder)
    pairs, owners = [], []
    for number, text in enumerate(texts):
        ids = [*tokenizer.encode(text), tokenizer.end_of_text]
        for at in range(0, len(ids), context - 1):
            pairs.append(([tokenizer.end_of_text], ids[at : at + context - 1]))
            owners.append(number)
    # All windows begin alike, and `score` lays what begins alike into one row, under a mask as wide as it is long.
    together = max(1, WINDOWS_TOKENS // context)
    with torch.inference_mode():
        scores = [one for at in range(0, len(pairs), together) for one in score(model, pairs[at : at + together])]
    bits = [0.0] * len(texts)
    for owner, one in zip(owners, scores, strict=True):
        bits[owner] -= one.loglik / math.log(2)
    return bits


def _overlap(corpus: Path, held: Sequence[str]) -> float:
    """Of the held-out words, the share that training text has in the same order."""
    from tenet.corpus.cards.inspection import documents

    words = WordHasher()
    index = GramIndex.of_words([words(item["text"]) for place, item in documents(corpus) if place == "train"], 13)
    return float(np.mean([index.coverage(words(text)) for text in held]))


def as_text(worth: Sequence[Worth], held: int) -> str:
    """The table."""
    lines = [
        f"{held} held-out documents; a positive difference: the change costs bits, so what it takes away is worth that much",
        f"{'variant':<40}{'documents':>10}{'tokens':>12}{'passes':>8}{'bits/byte':>11}{'spread':>8}  difference [95 %]          overlap",
    ]
    for one in worth:
        against = "" if one is worth[0] else f"{one.difference:+.4f} [{one.low:+.4f}, {one.high:+.4f}]"
        lines.append(
            f"{one.name[:39]:<40}{one.documents:>10,}{one.tokens:>12,}{one.passes:>8.1f}{one.bits:>11.4f}{one.spread:>8.4f}  {against:<27}"
            f"{one.overlap:>7.1%}"
        )
    return "\n".join(lines)
