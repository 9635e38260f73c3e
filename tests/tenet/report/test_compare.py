"""Runs side by side: what is better is better, what may be chance is called so, and what was set otherwise is named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tenet.cli.main import main
from tenet.files import read_json, write_json
from tenet.report.pages import compare
from tenet.runs.summary import Figure
from tests.tenet.report.pages import assert_opens_from_disk


@pytest.mark.parametrize(
    ("first", "other", "said"),
    [
        (Figure("f", 0.5, low=0.4, high=0.6), Figure("f", 0.7, low=0.65, high=0.75), "better"),
        (Figure("f", 0.5, low=0.4, high=0.6, better="lower"), Figure("f", 0.7, low=0.65, high=0.75, better="lower"), "worse"),
        (Figure("f", 0.5, low=0.4, high=0.6), Figure("f", 0.55, low=0.45, high=0.65), "cannot be told apart"),
        (Figure("f", 0.5), Figure("f", 0.55), "better (no interval: may be chance)"),
        (Figure("f", 0.5), Figure("f", 0.5), "equal"),
        (Figure("f", float("nan")), Figure("f", 0.5), "not a number"),
        (None, Figure("f", 0.5), "only in one"),
    ],
)
def test_verdicts(first: Figure | None, other: Figure, said: str) -> None:
    assert compare.verdict(first, other) == said


def other_run(run: Path, **figure: Any) -> Path:
    """A copy whose red team found something else, with another setting."""
    made = Path(shutil.copytree(run, run.parent / "other"))
    summary = read_json(made / "redteam" / "summary.json")
    summary["figures"][0] |= figure
    write_json(made / "redteam" / "summary.json", summary)
    settings = yaml.safe_load((made / "redteam" / "config.yaml").read_text())
    settings["redteam"]["lr"] = 0.5
    (made / "redteam" / "config.yaml").write_text(yaml.safe_dump(settings))
    return made


def test_the_page_and_the_table_say_what_differs(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = other_run(run, value=0.1, low=0.05, high=0.15)
    assert main(["compare", str(run), str(made)]) == 0
    printed = capsys.readouterr().out
    assert "30 % (22 to 39 %)" in printed and "10 % (5 to 15 %)" in printed and "better" in printed
    page = (run / "compare.html").read_text(encoding="utf-8")
    assert_opens_from_disk(page)
    assert "13 key figures: 12 equal, 1 better" in page and "redteam.lr" in page and ">0.5<" in page
    assert "All runs have the seed 0" in page and 'href="../other/index.html"' in page
    assert page.count("<img") >= 2 and "valid/bits_per_byte ends at demo 1.21, other 1.21" in page
    assert "other: summary.json differs from its hash" in page  # it was doctored, and the page says so


def test_a_broken_stage_and_one_that_is_not_there_are_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = other_run(run)
    shutil.copy(run / "reward" / "summary.json", made / "evaluate" / "summary.json")
    shutil.rmtree(made / "serve")
    assert main(["compare", str(run), str(made), "--out", str(run.parent / "pages" / "c.html")]) == 0
    page = (run.parent / "pages" / "c.html").read_text(encoding="utf-8")
    assert "other, evaluate:" in page and "2 only in one" in page and 'href="../demo/index.html"' in page
    assert "cannot be read" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "said"), [(["demo"], "at least two"), (["demo", "demo"], "same run twice"), (["demo", "no"], "no such run")]
)
def test_what_cannot_be_compared_is_refused(run: Path, names: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *(str(run.parent / name) for name in names)]) == 2
    assert said in capsys.readouterr().err
