"""Out of core decides as in memory; edited copies go, pages of one form stay; memory is what was said."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tenet.corpus.dedup import hashing, near
from tenet.corpus.dedup.alike import Rule, Text, covered, jaccard, lost_words, unique
from tenet.corpus.dedup.budget import LEAST_MEMORY
from tenet.corpus.dedup.near import NearDuplicates, near_duplicates, plan
from tenet.corpus.dedup.signature import EXACT, estimates, signatures
from tenet.corpus.dedup.spill import Column, Partitioned
from tenet.corpus.ngrams import Hashes, WordHasher, grams
from tenet.errors import ConfigError

MEMORY = LEAST_MEMORY
VOCABULARY = [f"word{i}" for i in range(3000)]
HASH = WordHasher()


def prose(seed: int, length: int = 200) -> list[str]:
    """Words by Zipf's law, as in prose: some repeat, most do not."""
    pick = random.Random(seed)
    return pick.choices(VOCABULARY, weights=[1 / (rank + 3) for rank in range(len(VOCABULARY))], k=length)


def edited(words: list[str], share: float, seed: int = 0) -> list[str]:
    pick, result = random.Random(seed), list(words)
    for at in sorted(pick.sample(range(len(words)), round(share * len(words))), reverse=True):
        how = pick.randrange(3)
        if how == 0:
            result[at] = pick.choice(words)
        elif how == 1:
            del result[at]
        elif at + 1 < len(result):
            result[at], result[at + 1] = result[at + 1], result[at]
    return result


def hashed(words: list[str]) -> Hashes:
    return HASH(" ".join(words))


def in_memory(texts: list[Hashes], threshold: float, seed: int) -> list[int]:
    """The search as it is told in a text book: all buckets in one dictionary, sets of 5-grams."""
    found, buckets = [], defaultdict(list)
    sets = [set(grams(words, 5).tolist()) for words in texts]
    keys = signatures([unique(grams(words, 5)) for words in texts], EXACT, seed)[0].tolist() if texts else []
    for i, own in enumerate(keys):
        met = sorted({j for key in own for j in buckets[key]})
        alike = (j for j in met if len(sets[i] & sets[j]) / max(1, len(sets[i] | sets[j])) >= threshold)
        found.append(-1 if threshold > 1 else next(alike, -1))
        if found[-1] < 0:
            for key in own:
                buckets[key].append(i)
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([0.0, 0.01, 0.03, 0.1]), st.integers(0, 3), st.integers(0, 120)), max_size=40
    ),
    st.sampled_from([0.3, 0.5, 0.8, 0.95, 1.1]),
    st.integers(0, 2),
)
@example([(5, 0.0, 0, 37), (5, 0.1, 0, 20)], 0.3, 1)  # one is half as long as the other, and they share a quarter
def test_the_decisions_are_those_of_a_search_in_memory(
    tmp_path: Path, made: list[tuple[int, float, int, int]], threshold: float, seed: int
) -> None:
    texts = [hashed(edited(prose(text, length), share, change)) for text, share, change, length in made]
    found = near_duplicates(texts, tmp_path / "near", Rule(threshold, edited=0), seed, MEMORY)
    assert found.tolist() == in_memory(texts, threshold, seed)


def test_batches_slices_and_mapped_files_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [hashed(edited(prose(i % 300), 0.01 * (i >= 300), i)) for i in range(600)]
    expected = in_memory(texts, 0.8, 0)
    assert 100 < sum(twin >= 0 for twin in expected) < 450
    monkeypatch.setattr(near, "check_memory", lambda memory: None)
    for memory in (40_000, 300_000, 1 << 28):
        assert near_duplicates(texts, tmp_path / "near", Rule(0.8, edited=0), 0, memory).tolist() == expected
    assert not (tmp_path / "near").exists()


def test_edited_copies_go_with_one_and_with_five_words_in_a_hundred(tmp_path: Path) -> None:
    for share, edits, least in ((0.01, 0.0, 99), (0.05, Rule().edited, 95)):
        originals = [hashed(prose(i, 80 + 13 * i)) for i in range(100)]
        copies = [hashed(edited(prose(i, 80 + 13 * i), share, i)) for i in range(100)]
        found = near_duplicates([*originals, *copies], tmp_path / "near", Rule(0.8, edits), 0, MEMORY)
        assert found[:100].tolist() == [-1] * 100
        assert (found[100:] == np.arange(100)).sum() >= least


def form(thing: str, seed: int) -> list[str]:
    """A page of an API: forty sentences that all pages have, and the name of the thing in each."""
    pick = random.Random(seed)
    return [word for sentence in range(40) for word in (*prose(sentence, 18), thing)] + pick.choices(VOCABULARY, k=10)


def test_pages_of_one_form_are_not_copies(tmp_path: Path) -> None:
    """A word in nineteen differs, as in an edited copy; but it is always the same one."""
    pages = [hashed(form(f"thing{i}", i)) for i in range(12)]
    one, other = Text(pages[0]), Text(pages[1])
    assert min(covered(one.words, other.shingles), covered(other.words, one.shingles)) > 0.85
    assert (near_duplicates(pages, tmp_path / "near", Rule(), 0, MEMORY) == -1).all()


def test_only_prose_is_judged_as_edited(tmp_path: Path) -> None:
    texts = [hashed(prose(1, 400)), hashed(edited(prose(1, 400), 0.05, 1))]
    for prose_flags, twin in (([True, True], 0), ([True, False], -1), ([False, True], -1)):
        assert near_duplicates(texts, tmp_path / "near", Rule(), 0, MEMORY, prose_flags).tolist() == [-1, twin]


def test_a_thousand_pages_of_one_form_take_no_time(tmp_path: Path) -> None:
    """All of them meet in some band and none is like another: signatures must settle it."""
    shared = prose(1, 300)
    pages = [hashed([*shared, *random.Random(i).choices(VOCABULARY, k=180)]) for i in range(1000)]
    compared = 0

    class Counting(Rule):
        def __call__(self, one: Text, other: Text) -> bool:
            nonlocal compared
            compared += 1
            return super().__call__(one, other)

    found = near_duplicates(pages, tmp_path / "near", Counting(0.8, 0), 0, MEMORY)
    assert (found == -1).all() and compared < 10_000  # half a million pairs meet
    copies = near_duplicates([pages[0]] * 1000, tmp_path / "near", Counting(0.8, 0), 0, MEMORY)
    assert copies.tolist() == [-1] + [0] * 999


def test_the_plan_is_kept_and_too_little_is_refused(tmp_path: Path) -> None:
    texts = [prose(i, 300) for i in range(500)]
    said = plan(len(texts), sum(len(" ".join(text)) for text in texts), MEMORY)
    search = NearDuplicates(tmp_path / "near", Rule(), 0, MEMORY)
    for text in texts:
        search.add(hashed(text))
    search.twins()
    on_disk = sum(path.stat().st_size for path in (tmp_path / "near").rglob("*") if path.is_file())
    search.close()
    assert 0 < on_disk <= said.disk and said.memory >= MEMORY
    assert "500 documents" in said.line() and "MB of memory" in said.line()
    with pytest.raises(ConfigError, match="1,000,000 bytes of memory"):
        NearDuplicates(tmp_path / "near", Rule(), 0, 1_000_000)


def test_nothing_and_single_words(tmp_path: Path) -> None:
    assert near_duplicates([], tmp_path / "near", Rule(), 0, MEMORY).tolist() == []
    texts = [HASH(""), HASH("one"), HASH("one"), HASH("two")]
    assert near_duplicates(texts, tmp_path / "near", Rule(), 0, MEMORY).tolist()[1:] == [-1, 1, -1]


def test_signatures_estimate_the_similarity() -> None:
    one, other = (unique(grams(hashed(edited(prose(1, 2000), share, 1)), 5)) for share in (0.0, 0.03))
    low = signatures([one, other], EXACT, 0)[1]
    assert abs(estimates(low[0], low[1:])[0] - jaccard(one, other)) < 4 * (0.25 / EXACT.size) ** 0.5


def test_a_repeated_word_that_is_missing_is_lost() -> None:
    assert lost_words(HASH("a a b a b c d"), HASH("b c d e")) == 3
    assert lost_words(HASH("a b c"), HASH("x y z")) == 0


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 40).map(lambda i: i * 0x0FEDCBA987654321 % 2**64), max_size=200), st.integers(1, 5000))
def test_what_repeats_comes_together_in_its_order(tmp_path: Path, keys: list[int], memory: int) -> None:
    rows = np.empty(len(keys), dtype=[("key", "<u8"), ("at", "<u4")])
    rows["key"], rows["at"] = keys, range(len(keys))
    parted = Partitioned(tmp_path / "rows", rows.dtype)
    for begin in range(0, len(rows), 7):
        parted.add(rows[begin : begin + 7])
    every = [tuple(row) for part in parted.slices(memory) for row in part]
    again = [tuple(row) for part in parted.repeated(memory) for row in part]
    parted.close()
    assert sorted(every) == sorted(zip(keys, range(len(keys)), strict=True))
    assert again == sorted(pair for pair in every if keys.count(pair[0]) > 1)


def test_a_mapped_column_keeps_what_is_written(tmp_path: Path) -> None:
    column = Column(tmp_path / "column", np.uint32)
    column.add(np.arange(100_000))
    array = column.open(1000)
    for i in range(0, 100_000, 50):
        array[i] = 7
        column.touch(1)
    assert array[50] == 7 and array[51] == 51
    column.close()
    assert not (tmp_path / "column").exists()


def test_a_hasher_that_forgets_hashes_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "REMEMBERED", 50)
    bounded = hashing.BoundedHasher()
    for i in range(20):
        assert bounded(" ".join(prose(i))).tolist() == hashed(prose(i)).tolist()
    assert len(bounded._known) <= 50 + 200
