"""Groups are held out whole where that gives what was asked, else the ends of them; a split is never empty in
silence."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from tenet.corpus.documents import Document, document
from tenet.corpus.split import FEWEST, hold_out, place, split_of
from tenet.errors import StageError

SHARES = (0.04, 0.08)


def pieces_of(files: dict[str, int], length: int = 1000) -> list[Document]:
    """Files of so many pieces, each of one length."""
    return [
        document("x" * length, f"{name}#{i}", "made up", "MIT", group=name, _at=i) for name, n in files.items() for i in range(n)
    ]


def shares(documents: list[Document], splits: list[Any]) -> dict[str, float]:
    total = sum(len(d["text"]) for d in documents)
    taken: Counter[str] = Counter()
    for item, split in zip(documents, splits, strict=True):
        taken[split] += len(item["text"])
    return {split: taken[split] / total for split in ("train", "valid", "test")}


def test_many_groups_go_by_their_hash() -> None:
    documents = pieces_of({f"file {i}": 3 for i in range(2000)})
    found = hold_out(documents, SHARES)
    assert found.how == "hash"
    assert found.splits == [split_of(d["metadata"]["group"], SHARES) for d in documents]
    more = hold_out([*documents, *pieces_of({f"new {i}": 3 for i in range(200)})], SHARES)
    assert more.splits[: len(documents)] == found.splits  # new documents move nothing


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_ends_of_few_files_are_held_out(count: int) -> None:
    documents = pieces_of({f"book {i}": 50 for i in range(count)})
    found = hold_out(documents, SHARES)
    assert found.how == "within"
    for name in {d["metadata"]["group"] for d in documents}:
        inside = [split for d, split in zip(documents, found.splits, strict=True) if d["metadata"]["group"] == name]
        assert inside == ["train"] * 44 + ["valid"] * 2 + ["test"] * 4


def test_uneven_files_are_filled_up_to_the_share() -> None:
    """18 files with an unlucky hash: whole files, as near to the shares as they allow."""
    for seed in range(30):
        documents = pieces_of({f"chapter {seed} {i}": 10 for i in range(18)})
        found = hold_out(documents, SHARES)
        taken = shares(documents, found.splits)
        assert found.how in ("hash", "share")
        assert 0.04 <= taken["valid"] <= 0.1 and 0.04 <= taken["test"] <= 0.16
        for name in {d["metadata"]["group"] for d in documents}:
            assert len({s for d, s in zip(documents, found.splits, strict=True) if d["metadata"]["group"] == name}) == 1


def test_a_huge_file_never_lands_in_a_held_out_split_whole() -> None:
    for seed in range(30):
        documents = pieces_of({f"huge {seed}": 600} | {f"small {seed} {i}": 1 for i in range(11)})
        taken = shares(documents, hold_out(documents, SHARES).splits)
        assert taken["train"] > 0.8 and 0.02 <= taken["valid"] <= 0.1 and 0.04 <= taken["test"] <= 0.16


def test_no_split_is_empty_from_ten_documents_on() -> None:
    for n in range(FEWEST, 40):
        for files in ({"one": n}, {f"f{i}": 1 for i in range(n)}, {"a": n - 3, "b": 1, "c": 2}):
            for heldout in (SHARES, (0.001, 0.001), (0.2, 0.25)):
                found = hold_out(pieces_of(files), heldout)
                assert set(found.splits) == {"train", "valid", "test"}, (n, files, heldout)
                assert Counter(found.splits)["train"] >= n // 2
    with pytest.raises(StageError, match=r"9 documents of 1 files or rows are left .* at least 10"):
        hold_out(pieces_of({"one": 9}), SHARES)


def test_the_order_of_reading_changes_nothing() -> None:
    documents = pieces_of({"book": 30, "other": 12})
    shuffled = random.Random(3).sample(documents, len(documents))
    by_id = [{d["id"]: s for d, s in zip(a, hold_out(a, SHARES).splits, strict=True)} for a in (documents, shuffled)]
    assert by_id[0] == by_id[1]


def test_without_any_group_each_document_is_one() -> None:
    documents = [document("x" * 100, f"topic {i}", "made up", "MIT") for i in range(300)]
    found = hold_out(documents, SHARES)
    assert set(found.splits) == {"train", "valid", "test"} and found.groups["test"]
    mixed = [document("x", f"topic {i}", "made up", "MIT") for i in range(20)] + pieces_of({f"file {i}": 1 for i in range(100)})
    assert set(hold_out(mixed, SHARES).splits[:20]) == {"train"}


def test_a_domains_own_groups_are_never_split() -> None:
    fixed = [{**d, "metadata": {**d["metadata"], "_fixed": True, "_cap": f"{d['id']}"}} for d in pieces_of({"a": 40, "b": 40})]
    found = hold_out([*fixed, *pieces_of({"mine": 60})], SHARES)
    assert found.splits[:40] == [split_of("a", SHARES)] * 40 and found.splits[40:80] == [split_of("b", SHARES)] * 40
    assert Counter(found.splits[80:]) == {"train": 53, "valid": 2, "test": 5}


def test_places_stay_where_they_were() -> None:
    assert place("dynamodb") == pytest.approx(0.178893, abs=1e-6)  # the demo's families must not move
    assert split_of("glacier", SHARES) == "test" and split_of("ecr", SHARES) == "valid"
