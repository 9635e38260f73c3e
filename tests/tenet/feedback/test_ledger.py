"""The file of judgements: who gets which item, nothing lost, figures and preference rows of it."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest

from tenet.cli.main import main
from tenet.errors import ConfigError
from tenet.feedback.answering import Answer
from tenet.feedback.export import export, majority, preference_rows
from tenet.feedback.handout import LEASE, Conflict, judge, next_item, progress, undo
from tenet.feedback.ledger import Judgement, Ledger
from tenet.feedback.tally import as_text, tally
from tenet.posttrain.training import pair_tree
from tenet.rows import read_table
from tests.tenet.evaluate.tiny import tokenizer
from tests.tenet.feedback.made import ledger_of, prompt_row


def pick_for(ledger: Ledger, annotator: str, side: str) -> str:
    """Where a side stands on the screen of an annotator."""
    shown = next_item(ledger, annotator)
    assert shown is not None
    return "first" if (side == "a") == shown.a_left else "second"


def vote(ledger: Ledger, annotator: str, verdict: str, reason: str = "") -> int:
    """Judge the next item; returns its number."""
    shown = next_item(ledger, annotator)
    assert shown is not None
    place = pick_for(ledger, annotator, verdict) if verdict in ("a", "b") else verdict
    judge(ledger, annotator, shown.item.id, place, reason, 1.0)
    return shown.item.id


# --- who gets what ---------------------------------------------------------------------------------------------------


def test_without_overlap_two_people_share_the_items(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, 10, overlap=0.0)
    mine = {vote(ledger, ("ann", "ben")[i % 2], "tie") for i in range(10)}
    assert mine == set(range(1, 11))
    assert next_item(ledger, "ann") is None and next_item(ledger, "cid") is None


def test_with_overlap_everybody_judges_the_shared_ones(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, 20, overlap=0.25)
    shared = {number for number, item in ledger.items().items() if item.shared}
    assert len(shared) == 5
    seen: dict[str, set[int]] = {"ann": set(), "ben": set()}
    turns = random.Random(0)
    while any(next_item(ledger, name) for name in seen):
        name = turns.choice(list(seen))
        if next_item(ledger, name):
            seen[name].add(vote(ledger, name, "tie"))
    assert seen["ann"] & seen["ben"] == shared and seen["ann"] | seen["ben"] == set(range(1, 21))


def test_an_item_that_somebody_left_open_goes_to_another_after_a_while(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, 1, overlap=0.0)
    shown = next_item(ledger, "ann", now=1000.0)
    assert shown is not None and next_item(ledger, "ben", now=1000.0 + LEASE - 1) is None
    assert progress(ledger, "ben", now=1000.0 + LEASE - 1).left == 0
    assert next_item(ledger, "ben", now=1000.0 + LEASE + 1) is not None
    judge(ledger, "ann", shown.item.id, "tie", "", 1.0)  # came back: nothing of it is thrown away
    assert [one.annotator for one in ledger.judgements()] == ["ann"]


def test_a_skipped_item_goes_to_somebody_else(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, 1, overlap=0.0)
    vote(ledger, "ann", "skip")
    assert next_item(ledger, "ann") is None
    assert vote(ledger, "ben", "a") == 1
    assert progress(ledger, "ann").skipped == 1


def test_both_orders_are_drawn_and_kept(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, 60)
    for _ in range(60):
        vote(ledger, "ann", "a")
    assert {one.verdict for one in ledger.judgements()} == {"a"}
    left = sum(one.a_left for one in ledger.judgements())
    assert 12 <= left <= 48  # a fair coin is outside once in two million
    assert sum(one.first or False for one in ledger.judgements()) == left


# --- nothing is lost ---------------------------------------------------------------------------------------------------


def test_the_same_verdict_twice_is_one_and_another_is_refused(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, 2)
    shown = next_item(ledger, "ann")
    assert shown is not None
    for _ in range(2):
        judge(ledger, "ann", shown.item.id, "tie", "", 1.0)
    assert len(ledger.judgements()) == 1
    with pytest.raises(Conflict, match="judged already"):
        judge(ledger, "ann", shown.item.id, "bad", "", 1.0)
    with pytest.raises(Conflict, match="was not shown to ben"):
        judge(ledger, "ben", shown.item.id, "tie", "", 1.0)
    with pytest.raises(Conflict, match="verdict is 'left'"):
        judge(ledger, "ann", shown.item.id, "left", "", 1.0)


def test_undo_keeps_what_was_said_and_shows_it_again_in_the_same_order(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, 3)
    first = next_item(ledger, "ann")
    assert first is not None
    vote(ledger, "ann", "a", "because")
    then = next_item(ledger, "ann")
    back = undo(ledger, "ann")
    assert then is not None and back is not None and (back.item.id, back.a_left) == (first.item.id, first.a_left)
    assert vote(ledger, "ann", "b") == first.item.id
    again = next_item(ledger, "ann")
    assert again is not None and again.item.id == then.item.id
    assert [(one.verdict, one.reason, one.undone) for one in ledger.judgements()] == [("a", "because", True), ("b", "", False)]
    assert undo(ledger, "ben") is None


def test_time_is_never_more_than_passed_here(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, 3)
    for seconds in (1e9, -5.0, float("nan")):
        shown = next_item(ledger, "ann")
        assert shown is not None
        judge(ledger, "ann", shown.item.id, "tie", "", seconds)
    assert all(0 <= one.seconds < 60 for one in ledger.judgements())


def test_many_threads_and_two_connections_lose_nothing(tmp_path: Path) -> None:
    ledgers = [ledger_of(tmp_path, 60, overlap=0.5), Ledger(tmp_path)]
    failed: list[Exception] = []

    def work(number: int) -> None:
        try:
            while next_item(ledgers[number % 2], f"p{number}"):
                vote(ledgers[number % 2], f"p{number}", "tie")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = ledgers[1].judgements()
    assert not failed
    # 30 shared ones four times, 30 once.
    assert len(found) == 30 * 4 + 30 and len({(one.item, one.annotator) for one in found}) == len(found)


def test_the_file_is_its_owner_s_and_of_one_comparison(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path / "f", 1)
    assert os.stat(ledger.path).st_mode & 0o077 == 0
    ledger.same("settings", {"a": "x", "seed": 0})
    ledger.same("settings", {"a": "x", "seed": 0})
    with pytest.raises(ConfigError, match="begun with settings seed 0, now it is 1"):
        ledger.same("settings", {"a": "x", "seed": 1})
    with pytest.raises(ConfigError, match=r"no feedback\.sqlite there"):
        Ledger(tmp_path / "absent")
    (tmp_path / "feedback.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(ConfigError, match="not a database"):
        Ledger(tmp_path)


# --- figures -----------------------------------------------------------------------------------------------------------


def given(item: int, annotator: str, verdict: str, a_left: bool = True, undone: bool = False) -> Judgement:
    return Judgement(item, annotator, verdict, a_left, "", 2.0, 0.0, undone)


def test_figures_of_a_hand_worked_example() -> None:
    """b won 3, a 1, one tie, one both bad: (3 + 0.5 + 0.5) / 6. First preferred: of four decided ones those of items 1
    (a, left) and 3 (b, a right)."""
    made = [
        *(given(1, "ann", "a", True), given(2, "ann", "b", True), given(3, "ann", "b", False), given(4, "ann", "b", True)),
        *(given(5, "ben", "tie"), given(6, "ben", "bad"), given(7, "ben", "skip"), given(7, "ben", "a", undone=True)),
    ]
    found = tally(made, items=10)
    assert (found.judged, found.undone, found.verdicts) == (6, 1, {"a": 1, "b": 3, "tie": 1, "bad": 1, "skip": 1})
    assert found.win_rate.value == pytest.approx(4 / 6) and found.win_rate.n == 6
    assert found.p == pytest.approx(2 * (1 + 4) / 16)  # 1 of 4 coin flips or fewer, both sides
    assert (found.first.value, found.first.n) == (0.5, 4)
    assert found.people["ann"].win_rate.value == 0.75 and found.people["ben"].win_rate.value == 0.5
    assert found.seconds == 2.0 and found.agreement.items == 0
    assert "66.7%" in as_text(found, {"a": "x", "b": "y"}) and "--overlap" in as_text(found, {"a": "x", "b": "y"})


def test_verdicts_on_one_item_are_not_so_many_items() -> None:
    """Five people who say the same of four items know four things, not twenty."""
    one = tally([given(i, "ann", "ab"[i % 2]) for i in range(4)], 4)
    five = tally([given(i, name, "ab"[i % 2]) for i in range(4) for name in "vwxyz"], 4)
    assert five.win_rate.high - five.win_rate.low > 0.8 * (one.win_rate.high - one.win_rate.low)
    assert five.agreement.alpha == 1.0
    assert five.p == one.p == 1.0


def test_an_empty_file_has_no_figures_and_says_so() -> None:
    found = tally([], 5)
    assert "unknown" in as_text(found, {"a": "x", "b": "y"})
    assert found.as_dict()["win_rate"]["value"] is None


# --- preference rows -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("votes", "wins"),
    [
        ({"a": 2, "b": 1}, "a"),
        ({"a": 1, "b": 1}, None),
        ({"a": 1, "tie": 1}, None),
        ({"b": 1, "tie": 3}, "tie"),
        ({"bad": 2, "a": 1}, "bad"),
        ({}, ""),
    ],
)
def test_more_than_half_decide(votes: dict[str, int], wins: str | None) -> None:
    assert majority(votes) == wins


def test_export_goes_through_the_reader_and_into_training(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, 6)
    verdicts = {  # in the order of the items
        "ann": ["a", "b", "tie", "bad", "a", "skip"],
        "ben": ["a", "b", "tie", "bad", "b", "skip"],
        "cid": ["b", "b", "a", "bad", "tie", "skip"],
    }
    for name, given_verdicts in verdicts.items():
        for verdict in given_verdicts:
            vote(ledger, name, verdict, "shorter" if verdict == "b" else "")
    path = tmp_path / "rows.jsonl"
    made = export(ledger, path)
    assert made.left_out == {"ties": 1, "both bad": 1, "without a majority": 1, "not judged": 1} and made.disagreed == 3
    table = read_table(str(path), "preferences")
    assert not table.refused and len(table.rows) == 2
    texts = [(row["chosen"][0]["content"].split()[0], row["rejected"][0]["content"].split()[0]) for row in table.rows]
    assert texts == [("alpha", "beta"), ("beta", "alpha")]
    assert [row["margin"] for row in table.rows] == [round(1 / 3, 4), 1.0]
    assert table.rows[0]["votes"] == {"a": 2, "b": 1} and table.rows[0]["annotators"] == ["ann", "ben", "cid"]
    assert table.rows[1]["reasons"] == ["shorter"] * 3
    assert {row["licence"] for row in table.rows} == {"CC0-1.0"} and {row["source"] for row in table.rows} == {"made"}
    assert all(len(pair_tree(tokenizer(), row).answers) == 2 for row in table.rows)
    assert main(["data", "check", str(path)]) == 0
    with pytest.raises(ConfigError, match="is there already and is not overwritten"):
        export(ledger, path)


def test_calls_and_empty_answers_in_an_export() -> None:
    call = {"name": "find", "arguments": {"what": "lamp"}}
    items = {}
    for number, (a, b) in enumerate([(Answer("", (call,)), Answer("Upstairs.")), (Answer(""), Answer("Upstairs."))], 1):
        from tenet.feedback.ledger import Item

        items[number] = Item(number, prompt_row(number, tools=[{"type": "function", "function": {"name": "find"}}]), a, b, False)
    made = preference_rows(items, [given(1, "ann", "a"), given(2, "ann", "b")])
    (row,) = made.rows
    assert row["chosen"] == [{"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]}]
    assert row["tools"] and made.left_out == {"with an empty answer, which no row may hold": 1}


def test_nothing_to_export_is_said(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, 2)
    with pytest.raises(ConfigError, match=r"no pair has a winner yet \(2 not judged"):
        export(ledger, tmp_path / "rows.jsonl")
    assert not (tmp_path / "rows.jsonl").exists()
