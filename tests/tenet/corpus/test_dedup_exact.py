"""The same texts go as in memory, whatever is held at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenet.corpus.dedup import exact
from tenet.corpus.dedup.budget import LEAST_MEMORY
from tenet.corpus.dedup.exact import DIGEST, digest, exact_duplicates, plan

text = st.lists(st.sampled_from(["a", "B", "b", " ", "\n", "!", "ä", "字"]), max_size=4).map("".join)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(text, max_size=60))
def test_the_decisions_are_those_of_a_search_in_memory(tmp_path: Path, texts: list[str]) -> None:
    first: dict[str, int] = {}
    plain = [re.sub(r"\W+", " ", text.lower()).strip() for text in texts]
    expected = [-1 if first.setdefault(text, i) == i else first[text] for i, text in enumerate(plain)]
    assert exact_duplicates(texts, tmp_path / "exact", LEAST_MEMORY).tolist() == expected


def test_many_in_small_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "check_memory", lambda memory: None)
    texts = [f"text {i % 30_000}" for i in range(40_000)]
    found = exact_duplicates(texts, tmp_path / "exact", 5_000)
    assert found.tolist() == [-1] * 30_000 + list(range(10_000))
    assert not (tmp_path / "exact").exists()


def test_a_digest_is_of_letters_and_digits() -> None:
    assert digest("The  End!\n") == digest("the end") != digest("theend") and len(digest("")) == DIGEST


def test_a_million_documents_take_20_megabytes_of_disk() -> None:
    assert plan(1_000_000, 0, LEAST_MEMORY).disk == 20_000_000
