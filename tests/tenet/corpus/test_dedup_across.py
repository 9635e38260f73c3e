"""A finished split is looked at once more: nothing alike on two sides, shares near what was asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenet.corpus.dedup.across import Leak, across, shares
from tenet.corpus.dedup.alike import Rule
from tenet.corpus.dedup.budget import LEAST_MEMORY
from tests.tenet.corpus.test_dedup_near import edited, hashed, prose

SIZES = {"train": 880, "valid": 40, "test": 80}
ASKED = (0.04, 0.08)


def test_copies_across_the_split_are_named(tmp_path: Path) -> None:
    splits = {
        "train": [(hashed(prose(i)), True) for i in range(30)],
        "valid": [(hashed(prose(i)), True) for i in range(30, 34)],
        "test": [(hashed(prose(i)), True) for i in range(34, 40)],
    }
    clean = across(splits, SIZES, ASKED, tmp_path / "a", LEAST_MEMORY)  # type: ignore[arg-type]
    assert clean.leaks == [] and clean.notes == [] and clean.shares == {"train": 0.88, "valid": 0.04, "test": 0.08}
    splits["train"][7] = (hashed(edited(prose(36), 0.05, 1)), True)
    splits["train"].append(splits["train"][3])  # on one side alone: not what is asked here
    splits["valid"][1] = (hashed(prose(35)), True)
    found = across(splits, SIZES, ASKED, tmp_path / "a", LEAST_MEMORY)  # type: ignore[arg-type]
    assert found.leaks == [Leak("valid", 1, "test", 1), Leak("train", 7, "test", 2)]
    assert found.notes[0].startswith("2 documents are near duplicates of held-out ones, e.g. valid 1 of test 1")
    strict = across(splits, SIZES, ASKED, tmp_path / "a", LEAST_MEMORY, Rule(0.8, 0))  # type: ignore[arg-type]
    assert strict.leaks == [Leak("valid", 1, "test", 1)]


@pytest.mark.parametrize(
    ("sizes", "how", "says"),
    [
        ({"train": 880, "valid": 40, "test": 80}, "hash", []),
        (
            {"train": 700, "valid": 40, "test": 260},
            "share",
            ["test has 26.0% of the text, 8.0% was asked for (groups are held out whole"],
        ),
        (
            {"train": 970, "valid": 10, "test": 20},
            "hash",
            ["test has 2.0%", "valid has 1.0% of the text, 4.0% was asked for (what was removed"],
        ),
        (
            {"train": 950, "valid": 40, "test": 10},
            "within",
            ["test has 1.0% of the text, 8.0% was asked for (documents are held out whole"],
        ),
        ({"train": 0, "valid": 0, "test": 0}, "", ["test has 0.0%", "valid has 0.0%"]),
    ],
)
def test_shares_that_are_off_are_said(sizes: dict[str, int], how: str, says: list[str]) -> None:
    notes = shares(sizes, ASKED, how)[1]  # type: ignore[arg-type]
    assert len(notes) == len(says) and all(note.startswith(begin) for note, begin in zip(notes, says, strict=True))
