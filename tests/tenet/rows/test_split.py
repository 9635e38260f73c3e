"""Holding out: by what is asked, near the share that was asked for, never an empty side."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tenet.errors import ConfigError
from tenet.rows import group_of, split


def chat(asked: str, system: str = "", group: str = "") -> dict[str, Any]:
    turns = [{"role": "system", "content": system}] if system else []
    return {"messages": [*turns, {"role": "user", "content": asked}, {"role": "assistant", "content": "Here."}], "group": group}


@pytest.mark.parametrize("systems", [["Be brief."], ["Be brief.", "Be kind."], ["Be brief."] * 19 + ["You are a guide."]])
def test_a_shared_system_turn_says_nothing(systems: list[str]) -> None:
    rows = [chat(f"Where is lamp {i}?", systems[i % len(systems)]) for i in range(120)]
    train, test = split(rows)
    assert len(train) + len(test) == 120 and 6 <= len(test) <= 24


def test_rows_of_one_prompt_stay_together_and_later_rows_move_nothing() -> None:
    rows = [{**chat(f" where IS  lamp {i % 40}?" if i % 2 else f"Where is lamp {i % 40}?"), "i": i} for i in range(400)]
    train, test = split(rows)
    assert {group_of(row) for row in train}.isdisjoint(group_of(row) for row in test)
    more, more_test = split(rows + [chat(f"Another {i}?") for i in range(100)])
    assert {row["i"] for row in more_test if "i" in row} == {row["i"] for row in test} and len(more) > len(train)


def test_a_group_is_held_out_whole() -> None:
    rows = [chat(f"Question {i}?", group=f"document {i // 10}") for i in range(600)]
    train, test = split(rows, 0.2)
    assert {row["group"] for row in train}.isdisjoint(row["group"] for row in test) and 60 <= len(test) <= 240


def test_one_prompt_cannot_be_split() -> None:
    with pytest.raises(ConfigError, match="12 rows hold 1 different prompts; at least 2"):
        split([chat("Where?")] * 12)


def test_groups_of_very_different_size() -> None:
    rows = [chat(f"a{i}", group="large") for i in range(900)] + [chat(f"b{i}", group=f"small {i % 30}") for i in range(100)]
    train, test = split(rows)
    assert 50 <= len(test) <= 200 and all(row["group"] != "large" for row in test) and len(train) + len(test) == 1000


@example([0, 0, 0, 0, 1, 1, 1], 0.3, 0)
@given(st.lists(st.integers(0, 12), min_size=2, max_size=200), st.sampled_from([0.05, 0.1, 0.3]), st.integers(0, 5))
def test_no_side_is_ever_empty(groups: list[int], heldout: float, seed: int) -> None:
    rows = [chat(f"Where is lamp {group}?") for group in groups]
    if len(set(groups)) < 2:
        return
    train, test = split(rows, heldout, seed)
    assert train and test and len(train) + len(test) == len(rows)
    assert {group_of(row) for row in train}.isdisjoint(group_of(row) for row in test)
    assert len(test) <= len(train)


@pytest.mark.parametrize("heldout", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_that_is_none(heldout: float) -> None:
    with pytest.raises(ConfigError, match="above 0 and below 1"):
        split([chat("a"), chat("b")], heldout)
