"""Planted copies are found, whatever the order of the documents; n-grams agree with a slow, obvious definition."""

from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenet.corpus.cards.card import filter_rows
from tenet.corpus.dedup.alike import Rule
from tenet.corpus.dedup.budget import LEAST_MEMORY
from tenet.corpus.dedup.exact import digest
from tenet.corpus.dedup.near import near_duplicates
from tenet.corpus.documents import document, public, size
from tenet.corpus.ngrams import GramIndex, WordHasher, grams
from tenet.corpus.selection import Selection, over_share, over_size, select
from tenet.corpus.sources import read
from tenet.corpus.storage.stored import stored
from tenet.evaluate.task_rows import evaluation_texts
from tenet.settings.corpus import SourceConfig

WORDS = [f"word{i}" for i in range(400)]
#: Where documents are put down, of the test that runs.
FOLDERS: list[Path] = []
SETTINGS: dict[str, Any] = {
    "seed": 0, "heldout": (0.2, 0.3), "near_duplicate": 0.8, "ngram": 13, "group_cap": 1.0, "max_bytes": "all",
}  # fmt: skip


def prose(seed: int, length: int = 120) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def make(name: str, text: str, group: str = "", **more: Any) -> dict[str, Any]:
    return document(text, name, "made up", "CC0-1.0", group=group, **more)


def edited(text: str, share: float, seed: int = 0) -> str:
    """The text with a share of its words replaced."""
    pick = random.Random(seed)
    return " ".join(pick.choice(WORDS) if pick.random() < share else word for word in text.split())


def one_word_changed(text: str, seed: int) -> str:
    words = text.split()
    words[random.Random(seed).randrange(len(words))] = "changed"
    return " ".join(words)


def chosen(documents: Sequence[dict[str, Any]], **changes: Any) -> Selection:
    """`select` from documents on disk."""
    held = stored(documents, Path(tempfile.mkdtemp(dir=FOLDERS[-1])))
    return select(held, **{**SETTINGS, **changes})


@pytest.fixture(autouse=True)
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    FOLDERS.append(tmp_path_factory.mktemp("stored"))
    yield
    FOLDERS.pop()


def texts_of(found: Selection) -> dict[str, list[tuple[str, str]]]:
    return {split: [(item.id, item["text"]) for item in items] for split, items in found.splits.items()}


def planted() -> list[dict[str, Any]]:
    base = [make(f"base/{i:03}", prose(i), group=f"group {i % 60}") for i in range(120)]
    exact = [make(f"exact/{i:03}", prose(i).upper() + " !", group=f"group {i % 60}") for i in range(0, 20)]
    near = [make(f"near/{i:03}", one_word_changed(prose(i), i), group=f"group {i % 60}") for i in range(40, 80)]
    return base + exact + near


def reasons(found: Selection, name: str) -> set[str]:
    return {entry[2]["id"] for entry in found.removed if entry[0] == name}


def test_planted_duplicates_are_found() -> None:
    found = chosen(planted())
    # One of each pair goes; which one is a matter of the seeded order.
    assert {name.split("/")[1] for name in reasons(found, "exact duplicate")} == {f"{i:03}" for i in range(20)}
    assert {name.split("/")[1] for name in reasons(found, "near duplicate")} == {f"{i:03}" for i in range(40, 80)}
    assert sum(map(len, found.splits.values())) == 120


def test_the_order_of_reading_changes_nothing() -> None:
    documents = planted()
    shuffled = random.Random(5).sample(documents, len(documents))
    one, other = chosen(documents), chosen(shuffled)
    assert texts_of(one) == texts_of(other)
    assert [(a, b, c["id"]) for a, b, c in one.removed] == [(a, b, c["id"]) for a, b, c in other.removed]


def test_near_duplicates_by_the_definition(tmp_path: Path) -> None:
    hasher = WordHasher()
    texts = [prose(1), edited(prose(1), 0.01, 3), edited(prose(1), 0.3, 3), prose(2)]
    words = [hasher(text) for text in texts]

    def similarity(i: int, j: int) -> float:
        a, b = ({tuple(texts[k].split()[n : n + 5]) for n in range(len(texts[k].split()) - 4)} for k in (i, j))
        return len(a & b) / len(a | b)

    for threshold in (0.3, 0.8, 0.99):
        found = near_duplicates(words, tmp_path / "near", Rule(threshold, 0), 0, LEAST_MEMORY)
        assert found[0] == found[3] == -1
        assert (found[1] == 0) == (similarity(0, 1) >= threshold)
    assert near_duplicates(words, tmp_path / "near", Rule(1.1, 0), 0, LEAST_MEMORY).tolist() == [-1] * 4


def test_training_copies_of_heldout_text_go_and_the_heldout_text_stays() -> None:
    documents = [make(f"d/{i:03}", prose(i), group=f"group {i}") for i in range(40)]
    first = chosen(documents)
    victim = first.splits["test"][0]
    words = victim["text"].split()
    copy = make("copy", " ".join(words[:80] + prose(99, 20).split()))
    boilerplate = make("boilerplate", " ".join(words[:20] + prose(98, 100).split()))
    found = chosen([*documents, copy, boilerplate])
    assert reasons(found, "held-out overlap") == {"copy"}
    assert texts_of(found)["test"] == texts_of(first)["test"]
    assert "boilerplate" in {d["id"] for d in found.splits["train"]}
    assert 0 < found.heldout_overlap < 0.1


def test_pages_of_one_form_are_no_copies_of_each_other() -> None:
    """Half of each page are the words of its form: what more than ten training pages have is no evidence."""
    form = prose(1, 70)
    pages = [make(f"p/{i:02}", f"{form} {prose(100 + i, 40)}", group=f"group {i}") for i in range(40)]
    found = chosen(pages)
    held = found.splits["test"][0]
    assert not found.removed and len(found.splits["train"]) > 15
    copies = [make(f"copy {i}", f"{held['text']} {prose(900 + i, 30)}") for i in range(2)]
    assert reasons(chosen([*pages, *copies]), "held-out overlap") == {"copy 0", "copy 1"}


def test_passages_are_cut_from_all_but_the_first() -> None:
    """The text as it is afterwards is what is written, counted and remembered."""
    passage = prose(7, 60)
    documents = [make(f"d/{i:02}", f"{prose(i)}\n\n{passage}\n\n{prose(i + 500)}", group=f"group {i}") for i in range(40)]
    seen: list[bytes] = []
    found = chosen(documents, passages=50, remember=lambda known, words: seen.append(known))
    kept = [item for items in found.splits.values() for item in items]
    assert found.cut == (39, 39 * len(passage)) and len(kept) == 40
    assert sum(passage in item["text"] for item in kept) == 1 and sum(passage in public(item)["text"] for item in kept) == 1
    assert seen == [digest(item["text"]) for item in kept]
    assert all(size(item) == len(item["text"].encode()) for item in kept)


def test_no_group_takes_more_than_its_share() -> None:
    documents = [make(f"{i}", "x" * 100, group="big" if i < 80 else f"small {i}") for i in range(100)]
    gone = over_share(documents, 0.3, "all")
    assert sum(not reason for reason in gone[:80]) == 30 and not any(gone[80:])
    assert not any(over_share(documents, 1.0, "all"))
    assert not any(over_share(documents, "source", "all"))  # files and rows have no cap of their own
    capped = [make(f"{i}", "x" * 100, group="family", _cap=f"service {i % 2}", _cap_share=0.2) for i in range(100)]
    assert sum(not reason for reason in over_share(capped, "source", "all")) == 40


def test_size_is_kept_by_a_seeded_order() -> None:
    documents = [make(f"{i}", "x" * 100) for i in range(50)]
    splits: list[Any] = ["train"] * 50
    gone = over_size(documents, splits, 0, 1000)
    assert sum(not reason for reason in gone) == 10
    assert gone != over_size(documents, splits, 1, 1000)
    assert not any(over_size(documents, splits, 0, "all"))


def test_size_leaves_something_of_each_split() -> None:
    documents = [make(f"{i}", "x" * 100) for i in range(400)]
    splits: list[Any] = ["test", "valid", *["train"] * 398]
    for seed in range(20):
        gone = over_size(documents, splits, seed, 500)
        assert not gone[0] and not gone[1] and sum(not reason for reason in gone) == 5


def test_ids_that_repeat_merge_nothing() -> None:
    """Null ids, an article's id in each of its passages, numbers that begin again in each shard."""
    for name in (lambda i: "same", lambda i: f"article {i // 8}", lambda i: str(i % 40)):
        documents = [make(name(i), prose(i), group=f"group {i}") for i in range(160)]
        found = chosen(documents)
        kept = [d["text"] for items in found.splits.values() for d in items]
        assert sorted(kept) == sorted(prose(i) for i in range(160))
        shuffled = random.Random(1).sample(documents, len(documents))
        assert texts_of(chosen(shuffled)) == texts_of(found)


def test_the_card_adds_up() -> None:
    documents = planted()
    found = chosen(documents)
    rows = filter_rows(found.removed, list(found.entered), len(documents), sum(map(size, documents)))
    for row, following in pairwise(rows):
        assert (row["documents_out"], row["bytes_out"]) == (following["documents_in"], following["bytes_in"])
    assert all((row["documents_in"], row["bytes_in"]) == found.entered[row["filter"]] for row in rows)
    kept = [d for items in found.splits.values() for d in items]
    assert (rows[-1]["documents_out"], rows[-1]["bytes_out"]) == (len(kept), sum(map(size, kept)))
    assert rows[0]["reasons"] == {"same as": 20} and len(rows[0]["examples"]) == 3


# --- n-grams ---------------------------------------------------------------------------------------------------------

few_words = st.lists(st.sampled_from("abcde"), max_size=30).map(" ".join)


@given(few_words, few_words, st.integers(2, 5))
def test_a_shared_gram_is_found(one: str, other: str, n: int) -> None:
    def of(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    index = GramIndex.of([one], n, shortest=n)
    assert (index.first_match(WordHasher()(other)) == 0) == bool(of(one) & of(other))


@given(st.lists(few_words, max_size=5), st.lists(few_words, max_size=5))
def test_texts_looked_for_together_are_found_as_each_alone(known: list[str], texts: list[str]) -> None:
    index, words = GramIndex.of(known, 4, shortest=2), WordHasher()
    hashed = [words(text) for text in texts]
    assert index.first_matches(hashed) == [index.first_match(one) for one in hashed]


@given(few_words, few_words)
def test_coverage_is_the_share_of_words_in_shared_grams(one: str, other: str) -> None:
    words, known = other.split(), one.split()
    inside = [False] * len(words)
    for i in range(len(words) - 2):
        if any(known[j : j + 3] == words[i : i + 3] for j in range(len(known) - 2)):
            inside[i : i + 3] = [True] * 3
    expected = sum(inside) / len(words) if words else 0.0
    assert GramIndex.of([one], 3, shortest=3).coverage(WordHasher()(other)) == np.float64(expected)


def test_short_rows_match_whole_and_very_short_ones_never() -> None:
    index = GramIndex.of(["one two three four five six seven eight nine", "one two three"], 13)
    hasher = WordHasher()
    assert index.first_match(hasher("x One, two; three four five SIX seven eight nine y")) == 0
    assert index.first_match(hasher("one two three four five six seven eight")) is None


def test_real_leaks_are_found(shared_data: Path) -> None:
    """SciQ's questions were written from open textbooks, so an open physics book holds some of their passages; a novel
    holds none."""
    index = GramIndex.of((text for _, _, text in evaluation_texts(("sciq",))), 13)
    hasher = WordHasher()

    def hits(source: SourceConfig) -> int:
        texts = (re.sub(r"<[^>]+>", " ", item["text"]) for item in read(source))
        return sum(index.first_match(hasher(text)) is not None for text in texts)

    assert hits(SourceConfig("folder", name=str(shared_data / "openstax"), column="cnxml")) >= 5
    assert hits(SourceConfig("folder", name=str(shared_data / "gutenberg"), max_bytes=4_000_000)) == 0


def test_hashes_are_the_same_in_every_process() -> None:
    assert grams(WordHasher()("The quick brown fox"), 2).tolist() == grams(WordHasher()("the QUICK brown fox!"), 2).tolist()
    assert int(WordHasher()("fox")[0]) == 13218999603221225746
