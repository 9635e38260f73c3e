"""Passages by the slow, obvious definition; what is cut are whole paragraphs of later documents."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tenet.corpus.dedup import spans
from tenet.corpus.dedup.budget import LEAST_MEMORY
from tenet.corpus.dedup.cutting import characters, cut, word_places
from tenet.corpus.dedup.signature import mixed
from tenet.corpus.dedup.spans import RepeatedSpans, Span, runs
from tenet.corpus.ngrams import WordHasher, grams

HASH = WordHasher()
WORDS = [f"word{i}" for i in range(2000)]


def prose(seed: int, length: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def search(texts: list[str], folder: Path, least: int = 50, within: bool = False) -> dict[int, list[Span]]:
    found = RepeatedSpans(folder / "spans", LEAST_MEMORY, least, within)
    for text in texts:
        found.add(HASH(text))
    result = found.spans()
    found.close()
    return result


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=25), max_size=6), st.integers(2, 6), st.booleans())
def test_by_the_definition(tmp_path: Path, texts: list[list[str]], least: int, within: bool) -> None:
    expected: dict[int, set[int]] = {}
    first: dict[tuple[str, ...], int] = {}
    for number, words in enumerate(texts):
        for at in range(len(words) - least + 1):
            owner = first.setdefault(tuple(words[at : at + least]), number * 100 + at)
            if owner != number * 100 + at and (within or owner // 100 != number):
                expected.setdefault(number, set()).update(range(at, at + least))
    found = search([" ".join(words) for words in texts], tmp_path, least, within)
    assert {n: {i for span in held for i in range(span.begin, span.end)} for n, held in found.items()} == expected
    for number, held in found.items():
        for span in held:
            there, here = texts[span.source][span.at :], texts[number][span.begin :]
            assert there[:least] == here[:least] and (span.source < number or within)


@pytest.mark.parametrize("n", [1, 2, 3, 13, 50, 64])
def test_runs_are_polynomials(n: int) -> None:
    words = np.random.default_rng(0).integers(0, 2**63, 200, dtype=np.uint64)
    assert (runs(words, n) == mixed(grams(words, n))).all()


def test_copied_paragraphs_inside_long_documents(tmp_path: Path) -> None:
    paragraphs = [[prose(100 * document + i, 90) for i in range(20)] for document in range(40)]
    for i in range(20):
        paragraphs[20 + i].insert(10, paragraphs[i][i % 20])
    texts = ["\n\n".join(one) for one in paragraphs]
    found = search(texts, tmp_path)
    assert found == {20 + i: [Span(900, 990, i, 90 * (i % 20))] for i in range(20)}
    for number, held in found.items():
        after = cut(texts[number], held)
        assert after.removed == [paragraphs[number][10]]
        assert after.text == "\n\n".join(paragraphs[number][:10] + paragraphs[number][11:])
        [(begin, end)] = characters(texts[number], held)
        assert texts[number][begin:end] == paragraphs[number][10]
        assert after.places == [(begin, end)]


def test_what_is_shorter_stays(tmp_path: Path) -> None:
    licence = prose(1, 49)
    texts = [f"{licence}\n\n{prose(10 + i, 100)}" for i in range(5)]
    assert search(texts, tmp_path) == {}
    assert set(search(texts, tmp_path, least=49)) == {1, 2, 3, 4}
    held = search(texts, tmp_path, least=49)[1]
    assert cut(texts[1], held, least_characters=10_000).removed == []


def test_half_a_paragraph_stays(tmp_path: Path) -> None:
    shared = prose(1, 60)
    texts = [shared, f"{prose(2, 30)} {shared} {prose(3, 30)}\n\n{prose(4, 20)}"]
    held = search(texts, tmp_path)[1]
    assert held == [Span(30, 90, 0, 0)]
    assert cut(texts[1], held).text == texts[1]
    assert cut(texts[1], held, most=0.5).text == prose(4, 20)


def test_a_text_a_thousand_times_does_not_explode(tmp_path: Path) -> None:
    begin = time.process_time()
    found = search([prose(1, 500)] * 1000 + ["again " * 20_000], tmp_path)
    assert found == {i: [Span(0, 500, 0, 0)] for i in range(1, 1000)}
    assert time.process_time() - begin < 10
    within = search(["again " * 20_000], tmp_path, within=True)
    assert [(s.begin, s.end) for s in within[0]] == [(1, 20_000)]


def test_small_slices_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [prose(i % 30, 300) + " " + prose(1000 + i, 50) for i in range(60)]
    expected = search(texts, tmp_path)
    assert set(expected) == set(range(30, 60))
    monkeypatch.setattr(spans, "check_memory", lambda memory: None)
    monkeypatch.setattr("tests.tenet.corpus.test_dedup_spans.LEAST_MEMORY", 20_000)
    assert search(texts, tmp_path) == expected


@example("B.Σ")  # a sigma at the end of a word is another letter in small ones, and what ends a word stands outside of it
@given(st.text(alphabet="aB İßΣ字汉\n.,1_", max_size=40))
def test_places_of_words_are_those_that_are_hashed(text: str) -> None:
    places = word_places(text)
    assert len(places) == len(HASH(text))
    assert all(0 <= begin < end <= len(text) for begin, end in places)
    lower = text.lower()
    if len(lower) == len(text):
        assert [HASH(lower[begin:end])[0] for begin, end in places] == HASH(text).tolist()


def test_lines_are_paragraphs_where_no_line_is_blank() -> None:
    text = f"{prose(1, 10)}\n{prose(2, 60)}\n{prose(3, 10)}"
    assert cut(text, [Span(10, 70, 0, 0)]).text == f"{prose(1, 10)}\n{prose(3, 10)}"
    assert cut(text, []).text == text
