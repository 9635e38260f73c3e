"""Which size of vocabulary: the same small model with tokenizers of several sizes, trained at equal compute and compared
in bits per byte of held-out text.

A larger vocabulary says more bytes with a token and costs more FLOPs a token (the head) and more parameters; at equal
FLOPs it sees fewer tokens. Bits per byte do not depend on the tokenizer, so they decide (arXiv:2407.13623 does the same
at scale). A finished training is not computed again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tenet.corpus.cards import findings
from tenet.corpus.documents import Document
from tenet.corpus.split import order_key
from tenet.corpus.tokens import shards
from tenet.corpus.tokens.tokenizer import check_size
from tenet.errors import ConfigError
from tenet.files import read_json, read_jsonl, write_json
from tenet.pipeline.sweep import FEWEST, RESAMPLES, interval, trained
from tenet.settings.corpus import CorpusConfig, FiltersConfig, SourceConfig
from tenet.settings.preset import Preset
from tenet.units import short

#: Tokens that fix the budget where none is given: so many at the vocabulary that the run has.
TOKENS = 500_000
#: Most held-out documents that are scored.
MOST_HELD = 400
#: Resamplings in which a size must be the best one before it is called so.
SURE = 0.95
Bits = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Size:
    """One size.

    Args:
        entries: of the tokenizer, as asked; made: as the text allowed.
        embedding, parameters: of the model that was trained.
        tokens: it saw, of text_bytes of text; passes: over it.
        bits: per byte of the held-out text, mean over seeds; spread: largest less smallest seed.
        difference: to the size with the fewest bits, with low and high of its 95 % interval over documents.
        best: share of the resamplings of documents and seeds in which it has the fewest.
        fertility: "source X" or "language X" -> tokens a byte of held-out text.
    """

    entries: int
    made: int
    embedding: int
    parameters: int
    tokens: int
    text_bytes: int
    passes: float
    bits: float
    spread: float
    difference: float
    low: float
    high: float
    best: float
    fertility: dict[str, float]


def held_documents(corpus: Path, most: int = MOST_HELD) -> list[Document]:
    """Validation and test text of a corpus, at most so many documents by a fixed draw.

    Raises:
        ConfigError: too few to compare on.
    """
    found = [one for split in ("valid", "test") for one in read_jsonl(corpus / "heldout" / f"{split}.jsonl")]
    if len(found) < FEWEST:
        raise ConfigError(f"--run: {len(found)} held-out documents; at least {FEWEST} are needed (corpus.heldout, or more text)")
    return sorted(sorted(found, key=lambda one: order_key(0, one["id"]))[:most], key=lambda one: one["id"])


def kept_text(corpus: Path, entries: int, workers: int) -> CorpusConfig:
    """A corpus of what another one kept for training, with a tokenizer of its own: nothing is filtered or cut again; a
    hundredth is held out, since a corpus must."""
    source = SourceConfig("folder", str(corpus / "documents" / "train.jsonl.gz"), personal="keep")
    return CorpusConfig(
        sources=(source,), max_bytes="all", group_cap=1.0, filters=FiltersConfig(language="any", gopher="off", repair=False),
        vocab_size=entries, near_duplicate=1.1, edited_copy=0.0, evaluation=(), heldout=(0.005, 0.005), instructions=0,
        preferences=0, requests=0, workers=workers, keep_removed=False,
    )  # fmt: skip


def budget_of(preset: Preset, entries: int, tokens: float = TOKENS) -> float:
    """FLOPs of so many tokens at a vocabulary."""
    return tokens * _model(preset, entries).flops_per_token(preset.pretrain.context)


def _model(preset: Preset, entries: int) -> Any:
    return dataclasses.replace(preset.model, vocab_size=entries)


def tokens_for(preset: Preset, entries: int, budget: float) -> int:
    """Whole steps of tokens that a budget pays for, the head included.

    Raises:
        ConfigError: not one step.
    """
    step = preset.pretrain.batch_tokens
    tokens = round(budget / _model(preset, entries).flops_per_token(preset.pretrain.context) / step) * step
    if not tokens:
        raise ConfigError(f"--budget {budget:.3g}: less than one step of {step:,} tokens at {entries:,} entries; raise it")
    return int(tokens)


def vocabulary(
    preset: Preset, corpus: Path, sizes: Sequence[int], seeds: Sequence[int], folder: Path, budget: float,
    tell: Callable[[str], None] = print,
) -> list[Size]:  # fmt: skip
    """Train every size with every seed and compare.

    Args:
        preset: model and training settings; its vocabulary is replaced.
        corpus: folder of a finished corpus stage, whose training text is used and whose held-out text is measured on.
        sizes: entries.
        seeds: of training.
        folder: a run in it for each size and seed.
        budget: FLOPs of each training.
        tell: a line of progress.
    """
    check_sizes(sizes)
    documents = held_documents(corpus)
    held, workers = [one["text"] for one in documents], preset.corpus.workers
    lengths = np.array([len(text.encode()) for text in held], dtype=np.float64)
    runs: list[list[dict[str, Any]]] = []
    for entries in sizes:
        config = kept_text(corpus, entries, workers)
        shaped = dataclasses.replace(preset, domain="", model=_model(preset, entries))
        tokens = tokens_for(preset, entries, budget)
        runs.append([trained(shaped, config, held, s, folder / f"{entries}-{s}", tokens, tell) for s in seeds])
    bits = np.array([[run["bits"] for run in of_size] for of_size in runs])  # [sizes, seeds, documents]
    means, first = bits.mean(axis=1), int(bits.sum(axis=2).mean(axis=1).argmin())
    wins = best_shares(bits, lengths)
    told = findings.languages(documents, FiltersConfig(), 0)
    found = []
    for i, entries in enumerate(sizes):
        by_seed, model = bits[i].sum(axis=1) / lengths.sum(), _model(preset, entries)
        low, high = interval(means[i] - means[first], lengths)
        tokens, made = tokens_for(preset, entries, budget), folder / f"{entries}-{seeds[0]}" / "corpus"
        found.append(
            Size(
                entries=entries,
                made=read_json(made / "card.json")["tokenizer"]["entries"],
                embedding=model.embedding_parameters(),
                parameters=model.parameters(),
                tokens=tokens,
                text_bytes=round(tokens * read_json(made / "card.json")["bytes_per_token"]["train"]),
                passes=tokens / runs[i][0]["tokens"],
                bits=float(by_seed.mean()),
                spread=float(by_seed.max() - by_seed.min()),
                difference=float((means[i] - means[first]).sum() / lengths.sum()),
                low=low,
                high=high,
                best=wins[i],
                fertility=_fertility(made / "tokenizer", told),
            )
        )
    write_json(folder / "vocabulary.json", [dataclasses.asdict(one) for one in found])
    return found


def check_sizes(sizes: Sequence[int]) -> None:
    """Refuse sizes that are none, or nothing to compare.

    Raises:
        ConfigError: names the size.
    """
    if len(set(sizes)) < 2 or len(set(sizes)) < len(sizes):
        raise ConfigError(
            f"--sizes {', '.join(map(str, sizes)) or 'none'}: name at least two different ones, e.g. 1024,2048,4096"
        )
    for entries in sizes:
        check_size(entries)


def best_shares(bits: Bits, lengths: Bits, seed: int = 0) -> list[float]:
    """Share of the resamplings in which each size has the fewest bits a byte: documents drawn alike for all sizes, seeds
    for each size on its own. Sizes that are equal share a resampling.

    Args:
        bits: [sizes, seeds, documents].
        lengths: [documents] in bytes.
    """
    sizes, seeds, documents = bits.shape
    pick = np.random.default_rng(seed)
    drawn = pick.multinomial(documents, np.full(documents, 1 / documents), size=RESAMPLES)  # [resamplings, documents]
    sums = np.einsum("rd,ksd->rks", drawn, bits) / (drawn @ lengths)[:, None, None]
    which = pick.multinomial(seeds, np.full(seeds, 1 / seeds), size=(RESAMPLES, sizes)) / seeds
    values = (sums * which).sum(axis=2)
    first = values <= values.min(axis=1, keepdims=True) + 1e-12
    return [float(share) for share in (first / first.sum(axis=1, keepdims=True)).mean(axis=0)]


def _fertility(folder: Path, told: findings.Told) -> dict[str, float]:
    from lightning_modules.data.chat import ChatTokenizer

    chat = ChatTokenizer.from_folder(folder)
    by = findings.fertility(told, lambda texts: shards.counted(texts, chat))
    return {
        f"{kind.removeprefix('by_')} {key}": round(1 / row["bytes_per_token"], 4)
        for kind, rows in by.items()
        for key, row in rows.items()
        if row["bytes_per_token"]
    }


def verdict(found: Sequence[Size], seeds: int) -> str:
    """Which size is chosen, and how sure that is."""
    best = min(found, key=lambda one: one.bits)
    others = [one for one in found if one is not best and one.low <= 0]
    sure = f"it has the fewest bits in {best.best:.0%} of the resamplings of documents and seeds"
    ends = {min(one.entries for one in found): "smallest", max(one.entries for one in found): "largest"}
    if best.entries in ends:
        sure += f"; it is the {ends[best.entries]} that was tried, so a better one may lie beyond"
    if seeds < 2:
        sure += "; one seed says nothing of the noise of training, so use at least 3"
    if best.best >= SURE and not others:
        return f"{best.entries:,} entries: {sure}"
    near = min([best, *others], key=lambda one: one.entries) if others else best
    named = ", ".join(f"{one.entries:,}" for one in others) or "none by documents alone"
    if near is best:
        return f"{best.entries:,} entries, not surely: {sure}; not told apart from it: {named}"
    return (
        f"{near.entries:,} entries, not surely: {best.entries:,} is best by {near.difference:.4f}, and {sure}; not told apart from it: "
        f"{named}, of which the smallest costs the fewest parameters"
    )


def as_text(found: Sequence[Size], held: int, seeds: int, budget: float) -> str:
    """The tables and the verdict."""
    lines = [
        f"{held} held-out documents, {seeds} seeds, {budget:.3g} FLOPs each (embedding and head included)",
        f"{'entries':>9}{'in embeddings':>22}{'tokens':>10}{'text':>9}{'passes':>8}{'bits/byte':>11}{'spread':>8}  "
        f"{'to the best [95 %]':<28}{'best in':>8}",
    ]
    for one in found:
        share = f"{short(one.embedding)} ({one.embedding / one.parameters:.0%} of all)"
        against = f"{one.difference:+.4f} [{one.low:+.4f}, {one.high:+.4f}]" if one.difference else "the best"
        fewer = "" if one.made == one.entries else f"  the text makes only {one.made:,}"
        lines.append(
            f"{one.entries:>9,}{share:>22}{short(one.tokens):>10}{short(one.text_bytes):>9}{one.passes:>8.2f}{one.bits:>11.4f}"
            f"{one.spread:>8.4f}  {against:<28}{one.best:>8.0%}{fewer}"
        )
    lines += ["", f"{'tokens a byte':<40}" + "".join(f"{one.entries:>10,}" for one in found)]
    for key in found[0].fertility:
        lines.append(f"{key[:39]:<40}" + "".join(f"{one.fertility.get(key, float('nan')):>10.3f}" for one in found))
    return "\n".join([*lines, "", f"chosen: {verdict(found, seeds)}"])
