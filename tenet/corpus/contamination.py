"""Which rows of which benchmark stand in which document, with the words that say so.

Two looks at a document:

1. *Exact*: n words in a row that a row has too (GPT-3, arXiv:2005.14165, appendix C, with n = 13); a row of 8 to 12
   words as a whole. Case, punctuation and line breaks do not matter.
2. *Paraphrase*, by setting: three rare words in a row (words that many rows have, and numbers, are skipped) lead to a
   place; there a window of twice the row's length is scored by the inverse document frequencies of the row's words that
   it holds, in any order (as Decon of Dolma 3 grows clusters from n-grams). Synonyms, a turned clause and other numbers
   leave most of that weight. Rows with few rare words are looked for exactly only: about anything holds them.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tenet.corpus.dedup.alike import inside, unique
from tenet.corpus.dedup.cutting import word_places
from tenet.corpus.ngrams import GramIndex, Hashes, WordHasher, grams, grams_of_each

Ints = npt.NDArray[np.int64]
EvaluationRow = tuple[str, str, str]  # task, row id, text
#: Rare words in a row that lead to a place.
SEED_WORDS = 3
#: A word is rare when at most this share of the rows have it (or this many of few rows).
RARE_SHARE, RARE_ROWS = 0.02, 20
#: Three rare words that more rows share than this lead nowhere in particular.
SEED_ROWS = 50
#: Rows with fewer different rare words are looked for exactly only.
FEWEST_RARE = 5
#: Characters of matched text in a report, and matches that it quotes for each task.
QUOTED, EXAMPLES = 300, 20


@dataclass(frozen=True)
class ContaminationConfig:
    """What counts as contaminated.

    Args:
        ngram: words in a row shared with a row.
        shortest: rows of fewer words than `ngram` are found whole, down to this many.
        paraphrase: share of a row's weight that a place must hold; 0 leaves the second look out. At 0.8 it finds 99 of 100
            reworded rows, and 1 place more in 56 MB of books and papers; at 0.7 it takes ten sentences of a textbook for
            questions about the same subject.
    """

    ngram: int = 13
    shortest: int = 8
    paraphrase: float = 0.0


@dataclass(frozen=True)
class Match:
    """A row of a benchmark in a document.

    Args:
        row: its number. how: exact | paraphrase.
        share: of the row's words that stand there in a row, or of its weight.
        begin, end: words of the document.
    """

    row: int
    how: str
    share: float
    begin: int
    end: int


class Contamination:
    """All rows, ready to be looked for.

    Args:
        rows: as `evaluate.tasks.evaluation_texts` gives them.
        config: what counts.
    """

    def __init__(self, rows: Iterable[EvaluationRow], config: ContaminationConfig) -> None:
        self.rows, self.config = list(rows), config
        self.words = WordHasher()
        self._of_row = [self.words(text) for _, _, text in self.rows]
        self.index = GramIndex.of_words(self._of_row, config.ngram, config.shortest)
        self._paraphrase = _Paraphrase(self._of_row, [text for *_, text in self.rows], config) if config.paraphrase else None

    def __getstate__(self) -> dict[str, Any]:
        """What travels to the workers, who only ask `first_of`: not the rows' words, tens of thousands of arrays."""
        return {
            "rows": [(task, "", "") for task, _, _ in self.rows],
            "config": self.config,
            "words": WordHasher(),
            "index": self.index,
            "_paraphrase": self._paraphrase,
        }

    def __deepcopy__(self, memo: dict[int, Any]) -> Contamination:
        """The same: nothing here changes. (Each task of a single process gets a copy of the pipeline.)"""
        return self

    @cached_property
    def _owners(self) -> dict[int, tuple[Hashes, Ints, Ints]]:
        """Length -> every gram; only `matches` asks, the filter does not."""
        return {length: self._positions(length) for length in self.index.tables}

    def _positions(self, length: int) -> tuple[Hashes, Ints, Ints]:
        """Every gram of one length of every row, sorted: hashes, rows, places in the row. (The index knows only one row
        for each gram.)"""
        of = [i for i, words in enumerate(self._of_row) if min(self.config.ngram, len(words)) == length]
        hashes, which = grams_of_each([self._of_row[i] for i in of], length)
        counts = np.bincount(which, minlength=len(of))
        rows = np.array(of, dtype=np.int64)[which]
        places = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
        order = np.argsort(hashes, kind="stable")
        return hashes[order], rows[order], places[order]

    def first(self, words: Hashes) -> tuple[str, str] | None:
        """(task, how) of the first row that a document holds, or None."""
        return self.first_of([words])[0]

    def first_of(self, documents: Sequence[Hashes]) -> list[tuple[str, str] | None]:
        """`first` of several documents, which are looked through together: what the filter asks."""
        found: list[tuple[str, str] | None] = []
        for words, row in zip(documents, self.index.first_matches(documents), strict=True):
            if row is not None:
                found.append((self.rows[row][0], "exact"))
            else:
                loose = self._paraphrase.matches(words) if self._paraphrase else iter(())
                found.append(next(((self.rows[match.row][0], "paraphrase") for match in loose), None))
        return found

    def matches(self, words: Hashes) -> list[Match]:
        """All rows that a document holds; one found exactly is not looked for again."""
        exact = list(self._exact(words))
        known = {match.row for match in exact}
        loose = self._paraphrase.matches(words) if self._paraphrase else ()
        return exact + [match for match in loose if match.row not in known]

    def _exact(self, words: Hashes) -> Iterator[Match]:
        found: dict[int, list[tuple[int, int, int]]] = defaultdict(list)  # row -> (place in document, in row, length)
        tables = self._owners if self.index.first_match(words) is not None else {}
        for length, (hashes, rows, places) in tables.items():
            if len(words) < length:
                continue
            wanted = grams(words, length)
            for at in np.flatnonzero(inside(wanted, hashes)):
                begin, end = (int(np.searchsorted(hashes, wanted[at], side=side)) for side in ("left", "right"))
                for entry in range(begin, end):
                    found[int(rows[entry])].append((int(at), int(places[entry]), length))
        for row, hits in sorted(found.items()):
            held = np.zeros(len(self._of_row[row]), dtype=np.bool_)
            for _, place, length in hits:
                held[place : place + length] = True
            begin, end = _longest_run([(at, at + length) for at, _, length in hits])
            yield Match(row, "exact", float(held.mean()), begin, end)


class _Paraphrase:
    """The second look."""

    def __init__(self, rows: Sequence[Hashes], texts: Sequence[str], config: ContaminationConfig) -> None:
        self.least = config.paraphrase
        self.distinct = [unique(words) for words in rows]
        vocabulary, counts = _counted(np.concatenate([*self.distinct, np.zeros(0, dtype=np.uint64)]))
        numbers = WordHasher()(
            " ".join({one for text in texts for one in re.findall(r"\b\d+\b", text)} | set(map(str, range(10_000))))
        )
        rare = (counts <= max(RARE_ROWS, RARE_SHARE * len(rows))) & ~inside(vocabulary, np.sort(numbers))
        weight = np.where(inside(vocabulary, np.sort(numbers)), 0.0, np.log((len(rows) + 1) / counts))
        self.skipped = np.sort(np.concatenate((vocabulary[~rare], numbers)))
        self.weights = [weight[np.searchsorted(vocabulary, words)] for words in self.distinct]
        self.lengths = [len(words) for words in rows]
        self._index(rows)

    def _index(self, rows: Sequence[Hashes]) -> None:
        found, owners = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int64)]
        for number, words in enumerate(rows):
            rare = words[~inside(words, self.skipped)]
            if len(unique(rare)) >= FEWEST_RARE:
                seeds = unique(grams(rare, SEED_WORDS))
                found.append(seeds)
                owners.append(np.full(len(seeds), number, dtype=np.int64))
        hashes, rows_of = np.concatenate(found), np.concatenate(owners)
        order = np.argsort(hashes, kind="stable")
        hashes, rows_of = hashes[order], rows_of[order]
        table, counts = _counted(hashes)
        common = np.repeat(counts > SEED_ROWS, counts)
        self.seeds, self.owners = hashes[~common], rows_of[~common]
        self.table = table[counts <= SEED_ROWS]
        bits = max(len(self.table) * 8, 2).bit_length()
        self.shift = np.uint64(64 - bits)
        self.prefix = np.zeros(1 << bits, dtype=np.bool_)  # rules out most seeds with one look
        self.prefix[self.table >> self.shift] = True

    def matches(self, words: Hashes) -> Iterator[Match]:
        """Rows of which a place in the document holds enough, each at its best place."""
        at = np.flatnonzero(~inside(words, self.skipped))
        if len(at) < SEED_WORDS or not len(self.table):
            return
        seeds = grams(words[at], SEED_WORDS)
        maybe = np.flatnonzero(self.prefix[seeds >> self.shift])
        hits = maybe[inside(seeds[maybe], self.table)]
        places: dict[int, list[int]] = defaultdict(list)
        begins, ends = (np.searchsorted(self.seeds, seeds[hits], side=side) for side in ("left", "right"))
        for hit, begin, end in zip(hits, begins, ends, strict=True):
            for row in self.owners[begin:end]:
                places[int(row)].append(int(at[hit]))
        for row, where in sorted(places.items()):
            best = max(
                (self._score(row, words, place) for place in _spaced(where, self.lengths[row])), key=lambda match: match.share
            )
            if best.share >= self.least:
                yield best

    def _score(self, row: int, words: Hashes, place: int) -> Match:
        length, distinct = self.lengths[row], self.distinct[row]
        begin = max(0, place - length)
        window = words[begin : place + length + SEED_WORDS]
        where = np.flatnonzero(inside(window, distinct))
        held = np.zeros(len(distinct), dtype=np.bool_)
        held[np.searchsorted(distinct, window[where])] = True
        weights = self.weights[row]
        share = float(weights[held].sum() / max(weights.sum(), 1e-9))
        rare = where[~inside(window[where], self.skipped)]
        return Match(row, "paraphrase", share, begin + int(rare[0]), begin + int(rare[-1]) + 1)


def _counted(values: Hashes) -> tuple[Hashes, Ints]:
    """Different values, sorted, and how often each occurs."""
    ordered = np.sort(values)
    if not len(ordered):
        return ordered, np.zeros(0, dtype=np.int64)
    begins = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return ordered[begins], np.diff(np.append(begins, len(ordered)))


def _spaced(places: Sequence[int], length: int) -> Iterator[int]:
    """Places that are at least half a row apart; nearer ones see the same window."""
    last = None
    for place in sorted(places):
        if last is None or place - last > length // 2:
            yield place
            last = place


def _longest_run(spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The longest stretch that overlapping spans make."""
    best = current = min(spans)
    for begin, end in sorted(spans):
        current = (current[0], max(current[1], end)) if begin <= current[1] else (begin, end)
        best = max(best, current, key=lambda span: span[1] - span[0])
    return best


def report(
    documents: Iterable[tuple[str, str]], rows: Iterable[EvaluationRow], config: ContaminationConfig | None = None
) -> dict[str, Any]:
    """What stands where, by benchmark.

    Args:
        documents: (id, text). Those that were removed for it are enough: the others hold nothing.
        rows: of the benchmarks.
        config: as the filter had it.

    Returns:
        task -> {"rows", "rows_hit", "documents_hit", "exact", "paraphrase" (rows by how), "matches": the first
        `EXAMPLES`, each {"row", "document", "how", "share", "text": as the document has it, "row_text"}}; tasks without
        a hit too.
    """
    rows, documents = list(rows), iter(documents)
    some = next(documents, None)  # without any there is nothing to make an index for
    looked_for = Contamination(rows if some else (), config or ContaminationConfig())
    found: dict[str, dict[str, Any]] = {}
    hit: dict[str, dict[str, set[Any]]] = defaultdict(lambda: defaultdict(set))
    for task, _, _ in rows:
        found.setdefault(task, {"rows": 0, "matches": []})["rows"] += 1
    for name, text in itertools.chain([some] if some else [], documents):
        matches = looked_for.matches(looked_for.words(text))
        places = word_places(text) if matches else []
        for match in sorted(matches, key=lambda match: -match.share):
            task, row, row_text = looked_for.rows[match.row]
            hit[task]["rows"].add(match.row)
            hit[task]["documents"].add(name)
            hit[task][match.how].add(match.row)
            if len(found[task]["matches"]) < EXAMPLES:
                quoted = text[places[match.begin][0] : places[match.end - 1][1]]
                found[task]["matches"].append(
                    {"row": row, "document": name, "how": match.how, "share": round(match.share, 3),
                     "text": _clipped(quoted), "row_text": _clipped(row_text)}
                )  # fmt: skip
    for task, entry in found.items():
        sets = hit[task]
        entry.update(
            rows_hit=len(sets["rows"]), documents_hit=len(sets["documents"]),
            exact=len(sets["exact"]), paraphrase=len(sets["paraphrase"] - sets["exact"]),
        )  # fmt: skip
    return found


def _clipped(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= QUOTED else f"{text[:QUOTED]} ..."
