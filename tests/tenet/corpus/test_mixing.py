"""Weights and caps: shares come out as asked, the scarcest source sets the size, nothing is read too often."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenet.corpus.documents import Document, document, size
from tenet.corpus.tokens.mixing import check_mix, mix
from tenet.errors import ConfigError, StageError
from tenet.settings.corpus import SourceConfig


def texts(place: int, count: int, length: int) -> list[Document]:
    return [document("x" * length, f"{place}/{i}", "s", "MIT", _source=place) for i in range(count)]


def source(name: str, weight: float = 0.0, most: float = 4.0) -> SourceConfig:
    return SourceConfig("folder", name, weight=weight, max_epochs=most)


def test_without_weights_each_document_goes_in_once() -> None:
    documents = texts(0, 3, 10) + texts(1, 2, 10)
    assert mix(documents, [source("a"), source("b")], 0) == ([1] * 5, [])


def test_the_scarce_source_is_repeated_and_the_other_one_shortened() -> None:
    documents = texts(0, 100, 100) + texts(1, 10, 100)
    copies, (web, books) = mix(documents, [source("web", 1), source("books", 1)], 0)
    assert set(copies[100:]) == {4} and books.epochs == 4
    assert sum(copies[:100]) == 40 and set(copies[:100]) == {0, 1} and web.epochs == pytest.approx(0.4)
    assert web.bytes == books.bytes == 4000 and web.share == 0.5
    other, _ = mix(documents, [source("web", 1), source("books", 1)], 1)
    assert other != copies and sum(other) == sum(copies)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.integers(20, 60), st.integers(20, 200), st.floats(0.5, 5), st.floats(0.5, 6)), min_size=1, max_size=4)
)
def test_shares_and_caps_hold(made: list[tuple[int, int, float, float]]) -> None:
    documents = [one for place, (count, length, _, _) in enumerate(made) for one in texts(place, count, length)]
    sources = [source(str(place), weight, most) for place, (_, _, weight, most) in enumerate(made)]
    copies, portions = mix(documents, sources, 3)
    total = sum(portion.bytes for portion in portions)
    assert total == sum(n * size(one) for n, one in zip(copies, documents, strict=True))
    for portion, (count, length, _, most) in zip(portions, made, strict=True):
        # Whole documents: a source is at most half of one away from its share.
        assert abs(portion.bytes - portion.share * total) <= length + len(made) * 200
        assert portion.epochs <= most + 0.5 / count + 1e-9
    assert max(p.epochs / most for p, (_, _, _, most) in zip(portions, made, strict=True)) > 0.9


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="books has no weight"):
        check_mix([source("web", 1), source("books")])
    with pytest.raises(ConfigError, match="weight is -1"):
        check_mix([source("web", -1)])
    with pytest.raises(ConfigError, match="max_epochs is 0"):
        check_mix([source("web", 1, 0)])
    check_mix([source("web"), source("books")])
    with pytest.raises(StageError, match=r"books: weight 1, but no document"):
        mix(texts(0, 3, 10), [source("web", 1), source("books", 1)], 0)
