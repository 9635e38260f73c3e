"""Documents on disk are the documents that went there, whatever is asked of them; the overlap with held-out text is that
of a slow, obvious definition at any memory."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenet.corpus.dedup import overlap
from tenet.corpus.dedup.budget import LEAST_MEMORY
from tenet.corpus.dedup.exact import digest
from tenet.corpus.dedup.hashing import BoundedHasher
from tenet.corpus.dedup.overlap import HeldoutOverlap
from tenet.corpus.documents import document, public, size, text_key
from tenet.corpus.ngrams import WordHasher
from tenet.corpus.storage import output
from tenet.corpus.storage.stored import Store, Texts, stored
from tenet.errors import StageError

LETTERS = "abcdefgh"


def some(count: int, length: int = 40) -> list[dict[str, Any]]:
    pick = random.Random(count)
    return [
        document(" ".join(pick.choices(LETTERS, k=length)) + " ä…", f"d/{i}", "s", "MIT", group=f"g{i % 3}", _at=i, title="T")
        for i in range(count)
    ]


def test_documents_come_back_as_they_were(tmp_path: Path) -> None:
    documents, hasher = some(3_000), WordHasher()  # more than the table begins with
    held = stored(documents, tmp_path)
    for item, made in zip(documents, held, strict=True):
        assert (made.id, made["text"], made.size) == (item["id"], item["text"], size(item))
        assert made.whole() == item and public(made) == public(item)
        assert made.words().tolist() == hasher(item["text"]).tolist()
        assert (made.digest, made.key) == (digest(item["text"]), text_key(item))
        assert "title" not in made.metadata and made.metadata["_at"] == item["metadata"]["_at"]
    assert Texts(held)[2] == documents[2]["text"] and Texts(held)[:2] == [d["text"] for d in documents[:2]]
    assert list(Texts(held)) == [d["text"] for d in documents]


def test_what_is_changed_afterwards_is_there_and_in_the_output(tmp_path: Path) -> None:
    held = stored(some(5), tmp_path)
    held[1].store.replace(held[1], "Another  text.")
    held[1].metadata["group"] = "new"
    assert (held[1]["text"], held[1].size, held[1].digest) == ("Another  text.", 14, digest("another text"))
    assert held[1].words().tolist() == WordHasher()("another text").tolist()
    assert public(held[1])["text"] == "Another  text." and public(held[1])["metadata"]["group"] == "new"
    assert held[0]["text"] == some(5)[0]["text"] and held[2]["text"] == some(5)[2]["text"]


def test_a_file_that_was_cut_is_named(tmp_path: Path) -> None:
    held = stored(some(5), tmp_path)
    path = tmp_path / "kept" / "00000.jsonl"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(StageError, match=r"00000\.jsonl: it ends before byte"):
        held[4]["text"]
    with pytest.raises(StageError, match=r"00000\.jsonl:5: not valid JSON"):
        list(Store(tmp_path).kept())


def test_hashes_and_digest_come_from_one_split() -> None:
    hasher, alone = BoundedHasher(), WordHasher()
    for text in ("", "One, TWO\n three_4 ", "院子里的梨树开花了 and more", "ΣΑΣ ÉÀ", "\ud83d x"):
        words, found = hasher.with_digest(text)
        assert words.tolist() == alone(text).tolist() and found == digest(text)


def test_rows_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    def rows() -> Any:
        yield {"n": 1}
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        output.write_rows(tmp_path / "rows.jsonl", rows())
    assert not list(tmp_path.iterdir())


# --- overlap with held-out text --------------------------------------------------------------------------------------

texts_of_letters = st.lists(st.lists(st.sampled_from(LETTERS), max_size=25).map(" ".join), max_size=6)


def by_definition(held: list[list[str]], train: list[list[str]], n: int, common: int) -> list[float]:
    def runs(words: list[str]) -> set[tuple[str, ...]]:
        return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}

    known = set().union(*map(runs, held)) if held else set()
    having = {gram: sum(gram in runs(words) for words in train) for gram in known}
    shares = []
    for words in train:
        rare, form = [False] * len(words), [False] * len(words)
        for i in range(len(words) - n + 1):
            if (gram := tuple(words[i : i + n])) in known:
                for j in range(i, i + n):
                    (form if having[gram] > common else rare)[j] = True
        only = sum(f and not r for f, r in zip(form, rare, strict=True))
        shares.append(sum(rare) / max(1, len(words) - only))
    return shares


@settings(max_examples=80, deadline=None)
@given(texts_of_letters, texts_of_letters, st.integers(2, 4), st.integers(0, 2), st.booleans(), st.data())
def test_overlap_by_the_definition(
    tmp_path_factory: pytest.TempPathFactory, held: list[str], train: list[str], n: int, common: int, parts: bool, data: Any
) -> None:
    words = WordHasher()
    sides = [[words(text) for text in texts] for texts in (held, train)]
    left = data.draw(st.lists(st.booleans(), min_size=len(train), max_size=len(train)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "BATCH", 16)
        patch.setattr(overlap, "GRAM", LEAST_MEMORY // 8 if parts else 48)
        search = HeldoutOverlap(tmp_path_factory.mktemp("overlap") / "x", n, LEAST_MEMORY)
        search.search(lambda: sides[0], lambda: sides[1], common)
        split = [text.split() for text in held], [text.split() for text in train]
        assert search.copied_shares().tolist() == by_definition(*split, n, common)
        found = search.covered_share(lambda: sides[0], np.array(left, dtype=bool))
        chosen = [words for words, one in zip(split[1], left, strict=True) if one]
        expected = by_definition(chosen, split[0], n, len(held))
        assert found == pytest.approx(np.mean(expected) if expected else 0.0)
        search.close()
