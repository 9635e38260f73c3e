"""What the blocks found in the documents: counts for the card, and the numbers of every document beside it, so that a
threshold can be moved afterwards without reading again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenet.corpus.documents import ENGLISH_LIMITS, KIND, LANGUAGE, MASKED, NUMBERS, REPAIRED, SCORE, TOXIC, Held, size, whole
from tenet.corpus.filters.thresholds import KINDS, Limit, limits_for, numbers_asked, verdict
from tenet.corpus.ngrams import WordHasher
from tenet.corpus.split import order_key
from tenet.corpus.storage import output
from tenet.errors import ConfigError
from tenet.settings.corpus import FiltersConfig

#: Documents whose language is told for the card where no setting asks for all of them.
SAMPLE = 1_000
FILE = Path("documents") / "numbers.parquet"
#: Its columns ahead of the numbers, and rows of a group.
COLUMNS = {
    "id": "string", "place": "string", "filter": "string", "source": "string", "bytes": "int64", "kind": "string",
    "english_limits": "bool", "language": "string", "language_probability": "double", "score": "double", "toxicity": "double",
}  # fmt: skip
ROWS = 1 << 17


def repaired(documents: Iterable[Held]) -> dict[str, int]:
    """Kind of repair -> how often."""
    counts: Counter[str] = Counter()
    for document in documents:
        counts.update(document["metadata"].get(REPAIRED, {}))
    return dict(sorted(counts.items()))


def masked(documents: Iterable[Held]) -> dict[str, dict[str, int]]:
    """Source -> kind of personal data -> how often it was masked."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for document in documents:
        if found := document["metadata"].get(MASKED):
            counts[document["metadata"]["source"]].update(found)
    return {source: dict(sorted(found.items())) for source, found in sorted(counts.items())}


@dataclass(frozen=True)
class Told:
    """Documents and the language of each.

    Args:
        of: "all", or what sample; by: the model.
    """

    documents: Sequence[Held]
    codes: Sequence[str]
    of: str
    by: str

    def card(self) -> dict[str, Any]:
        """Documents and bytes by language."""
        return {"of": self.of, "by": self.by, "languages": _by_language(self.documents, self.codes)}


def languages(kept: Sequence[Held], filters: FiltersConfig, seed: int) -> Told:
    """The languages of what is kept: of all where the pipeline told them, else of a sample."""
    if all(LANGUAGE in document["metadata"] for document in kept):
        codes = [document["metadata"][LANGUAGE][0] for document in kept]
        return Told(kept, codes, "all", filters.language_model or "py3langid")
    from tenet.corpus.filters.language import Identifier

    sample = sorted(kept, key=lambda document: order_key(seed, document["id"]))[:SAMPLE]
    identifier = Identifier(Path(filters.language_model) if filters.language_model else None)
    of = "all" if len(sample) == len(kept) else f"a sample of {len(sample):,} documents"
    return Told(sample, [identifier.identify(document["text"])[0] for document in sample], of, identifier.name)


def fertility(told: Told, count: Callable[[Sequence[str]], list[int]]) -> dict[str, dict[str, dict[str, float]]]:
    """How the tokenizer fares: bytes a token and tokens a word, by source and by language, of at most `SAMPLE`
    documents.

    Args:
        told: documents and languages.
        count: texts -> tokens of each.
    """
    documents, codes = told.documents[:SAMPLE], told.codes[:SAMPLE]
    texts = [document["text"] for document in documents]
    words = WordHasher()
    rows = [(size(d), tokens, len(words(text))) for d, tokens, text in zip(documents, count(texts), texts, strict=True)]
    sources = [document["metadata"]["source"] for document in documents]
    return {"by_source": _fertility(sources, rows), "by_language": _fertility(codes, rows)}


def _fertility(keys: Sequence[str], rows: Sequence[tuple[int, int, int]]) -> dict[str, dict[str, float]]:
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for key, row in zip(keys, rows, strict=True):
        sums[key] = [one + more for one, more in zip(sums[key], row, strict=True)]
    return {
        key: {"bytes_per_token": round(length / max(1, tokens), 3), "tokens_per_word": round(tokens / max(1, words), 3)}
        for key, (length, tokens, words) in sorted(sums.items())
    }


def _by_language(documents: Sequence[Held], codes: Sequence[str]) -> dict[str, dict[str, int]]:
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for document, code in zip(documents, codes, strict=True):
        counts[code][0] += 1
        counts[code][1] += size(document)
    ordered = sorted(counts.items(), key=lambda item: (-item[1][1], item[0]))
    return {code: {"documents": count, "bytes": length} for code, (count, length) in ordered}


# --- numbers ---------------------------------------------------------------------------------------------------------


def write_numbers(path: Path, places: Iterable[tuple[str, str, Held]]) -> None:
    """A row a document, in Parquet.

    Args:
        path: of the file.
        places: (split or "removed", filter, document).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([*COLUMNS.items(), *((name, "double") for name in numbers_asked())])
    ordered = sorted(places, key=lambda entry: (entry[2]["id"], entry[0], entry[1]))
    with output.whole(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for begin in range(0, max(1, len(ordered)), ROWS):
            rows = [_numbers_row(*entry) for entry in ordered[begin : begin + ROWS]]
            columns = zip(*rows, strict=True) if rows else ([] for _ in schema)
            arrays = [pa.array(values, type=kind) for values, kind in zip(columns, schema.types, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=ROWS)


def _numbers_row(place: str, filter_name: str, document: Held) -> list[Any]:
    metadata = whole(document)["metadata"]
    language, probability = metadata.get(LANGUAGE, (None, None))
    toxic = max(metadata[TOXIC].values(), default=None) if TOXIC in metadata else None
    return [
        document["id"], place, filter_name, metadata["source"], size(document), metadata.get(KIND),
        metadata.get(ENGLISH_LIMITS, True), language, probability, metadata.get(SCORE), toxic,
        *(metadata.get(NUMBERS) or [None] * len(numbers_asked())),
    ]  # fmt: skip


@dataclass(frozen=True)
class Moved:
    """What another threshold would change.

    Args:
        limit: the rule, with its present threshold; to: the other one.
        asked: documents that the rule was asked of.
        broken: that break it now; broken_then: with the other threshold.
        back: ids of removed documents that would pass this filter; gone: of documents that would not any more.
    """

    limit: Limit
    to: float
    asked: int
    broken: int
    broken_then: int
    back: list[str]
    gone: list[str]


def moved(folder: Path, rule: str, to: float) -> Moved:
    """Judge every document anew with another threshold, from the numbers that the run kept.

    Args:
        folder: of the corpus stage.
        rule: name of a limit of Gopher's, e.g. gopher_short_doc.

    Raises:
        ConfigError: no such rule, or the run kept no numbers.
    """
    import pyarrow.parquet as pq

    if not (folder / FILE).is_file():
        raise ConfigError(f"{folder}: the run kept no numbers of its documents; make the corpus again with this version")
    rules = {kind: limits_for(kind) for kind in KINDS}
    named = {limit.name: limit for limits in rules.values() for limit in limits}
    if rule not in named:
        raise ConfigError(f"--threshold {rule}: no such rule; there are {', '.join(sorted(named))}")
    asked = broken = broken_then = 0
    back, gone = [], []
    for row in pq.read_table(folder / FILE).to_pylist():
        limits = rules.get(row["kind"] or "", ())
        if (row["filter"] not in ("", "quality", "repetition") and row["place"] == "removed") or row["words"] is None:
            continue  # another filter took it, before or after: this rule does not decide
        mine = [limit for limit in limits if row["english_limits"] or not limit.english]
        if not any(limit.name == rule for limit in mine):
            continue
        asked += 1
        other = [limit._replace(threshold=to) if limit.name == rule else limit for limit in mine]
        now, then = _broken(row, mine), _broken(row, other)
        broken, broken_then = broken + (rule in now), broken_then + (rule in then)
        if now and not then:
            back.append(row["id"])
        elif then and not now:
            gone.append(row["id"])
    return Moved(named[rule], to, asked, broken, broken_then, back, gone)


def _broken(row: Mapping[str, Any], limits: Sequence[Limit]) -> set[str]:
    there = [limit for limit in limits if row.get(limit.number) is not None]
    return {reason.name for reason in verdict(row, limits=there).reasons}
