"""Run folders under several processes: one writes, all end alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.processes import finish, start


def several(run: Path, how: str) -> list[tuple[int, str, str]]:
    return finish(start(2, "tests.tenet.several", str(run), how))


def test_the_first_writes_and_all_get_the_record(tmp_path: Path) -> None:
    ended = several(tmp_path, "")
    assert [code for code, _, _ in ended] == [0, 0], ended
    said = [[json.loads(line) for line in out.splitlines()] for _, out, _ in ended]
    assert [row[:3] for row in said[0]] == [row[:3] for row in said[1]]
    assert said[0][0][:3] == said[0][1][:3] and said[0][0][2] == 2  # the second start of a finished stage gives the old record
    assert (tmp_path / "together" / "out.txt").read_text() == "written by 0"
    assert not list(tmp_path.glob("*.partial"))
    # A stage that is not made for several runs on the first alone.
    assert {path.name for path in tmp_path.glob("here-*")} == {"here-together-0", "here-together-1", "here-alone-0"}


@pytest.mark.parametrize(
    ("how", "code", "words"),
    [
        ("first fails", 1, "the first one's error"),
        ("last fails", 2, "the last one's error"),
        ("last interrupted", 75, "the last one's word"),
    ],
)
def test_an_error_of_one_ends_all_with_its_code_and_is_told_once(tmp_path: Path, how: str, code: int, words: str) -> None:
    ended = several(tmp_path, how)
    assert [c for c, _, _ in ended] == [code, code], ended
    said = [line for _, _, err in ended for line in err.splitlines() if words in line]
    assert sorted(said) == sorted([words, f"relayed: {words}"])
    assert (tmp_path / "together.partial" / "out.txt").exists() and not (tmp_path / "together").exists()


def test_a_killed_process_ends_the_others_with_a_way_out(tmp_path: Path) -> None:
    ended = several(tmp_path, "last killed")
    assert [c for c, _, _ in ended] == [1, -9], ended
    assert "run the same command again" in ended[0][2]
