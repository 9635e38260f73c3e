"""docs/rows.md as it stands: its example files are written, its checks are run, and every row of them is taken."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tenet.cli.main import main

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "rows.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w.]+)`[^\n]*:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))
CHECKS = re.findall(r"^    tenet (data check .*)$", PAGE, re.MULTILINE)


def test_the_page_has_examples_and_checks() -> None:
    kinds = {"conversations.jsonl", "preferences.jsonl", "ratings.jsonl", "prompts.jsonl"}
    assert set(FILES) == kinds | {"my_rewards.py"} and len(CHECKS) == 5


@pytest.mark.parametrize("command", CHECKS)
def test_every_check_takes_every_row(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    words = [*dict.fromkeys([*shlex.split(command), "--json"])]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    name = words[2]
    assert found["rows"] == len(FILES[name].splitlines()) and found["refused"] == 0
    assert found["kind"] == name.removesuffix(".jsonl")
