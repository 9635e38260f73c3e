"""Pictures, cells and the committed notebooks."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from tenet.report import load
from tenet.report.data import STAGES
from tenet.report.execute import notebooks
from tenet.report.pages import cells, finding, steps
from tenet.report.render import figures
from tenet.report.render.html import table
from tests.tenet.made_up_run import HOSTILE
from tests.tenet.report.pages import assert_opens_from_disk


@pytest.mark.parametrize(
    "page",
    [
        "<img src=https://x.example/a.png>",
        "<script>1</script>",
        "<a href='//x.example'>",
        "<p onclick=f()>",
        "<style>@import 'x'</style>",
    ],
)
def test_the_check_for_remote_references_bites(page: str) -> None:
    with pytest.raises(AssertionError):
        assert_opens_from_disk(page)
    assert_opens_from_disk(
        "<style>p { color: red }</style><a href='rows.jsonl'>src='https://x'</a><img src='data:image/png;base64,'>"
    )


def test_a_picture_is_the_same_bytes_twice_and_speaks() -> None:
    dots = [figures.Dot("warn before deletion", 0.1, 0.8, 0.5, 0.05, 0.16), figures.Dot("broken", math.nan, 0.4)]
    first, second = (figures.before_after(dots, "share", "violations fell") for _ in range(2))
    assert first == second
    assert 'alt="violations fell. warn before deletion: 10 %, before 80 %, baseline 50 %; broken: n/a, before 40 %"' in first


def test_a_picture_depends_on_its_data() -> None:
    low, high = (figures.curve({"train/loss": [(0, 5.0), (1, end)]}, "nats", "loss") for end in (2.0, 4.0))
    assert low != high and "from 5 at step 0 to 2 at step 1" in low


def test_smoothing_keeps_the_gap_at_nan() -> None:
    smoothed = figures.smooth([1.0, 1.0, math.nan, 1.0, 1.0])
    assert [math.isnan(v) for v in smoothed] == [False, False, True, False, False] and smoothed[1] == 1.0


def test_only_columns_of_numbers_are_set_to_the_right() -> None:
    markup = table(("name", "count", "words"), [("a", 3, "x"), ("b", None, "y")])
    assert '<td class="n">3</td><td class="short">x</td>' in markup and '<th scope="col" class="n">count</th>' in markup


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_has_a_finding_with_a_picture(made: Path, name: str) -> None:
    stage = load(made, name)
    shown = finding.headline(stage)
    assert stage.summary["headline"].replace("'", "&#x27;") in shown
    assert re.search(r'<img src="data:image/png;base64,[^"]+" alt="[^"]{20,}">', shown)


def test_what_a_model_wrote_is_shown_as_text(made: Path) -> None:
    for name in ("pretrain", "rlhf"):
        shown = cells.samples(load(made, name))
        assert HOSTILE not in shown and "&lt;script src=" in shown


def test_what_is_absent_is_said(run: Path) -> None:
    stage = load(run, "pretrain")
    assert "kl was not logged in this run" in cells.curves(stage, "train/loss", "kl")
    (run / "pretrain" / "metrics.csv").unlink()
    assert "metrics.csv is not there" in cells.curves(load(run, "pretrain"))
    assert "no principles" in steps.comparison(stage, "principles")
    (run / "corpus" / "card.json").unlink()
    assert "card.json is not there" in finding.headline(load(run, "corpus"))


def test_a_prefix_takes_all_metrics_under_it_into_one_picture(made: Path) -> None:
    shown = cells.curves(load(made, "rlhf"), "reward/")
    assert shown.count("<img") == 1 and "reward/mean" in shown and "reward/verified" in shown and ">kl<" not in shown


def test_the_table_holds_each_figure_with_its_comparison(made: Path) -> None:
    shown = cells.table(load(made, "pretrain"))
    for part in ("held-out compression", "1.14 bits per byte", "8.02 bits per byte", "1.4 bits per byte", ">31<", ">better<"):
        assert part in shown


def test_results_and_filters_carry_the_numbers(made: Path) -> None:
    assert "26 % (18 to 34; 100)" in steps.results(load(made, "evaluate"))
    shown = steps.filters(load(made, "corpus"))
    assert ">3,800<" in shown and "too short 3,800" in shown and HOSTILE not in shown


def committed() -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in notebooks.NOTEBOOKS.glob("*.ipynb")}


def test_there_is_one_notebook_for_each_stage() -> None:
    assert set(committed()) == set(STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_a_committed_notebook_is_stripped_and_holds_no_logic(name: str) -> None:
    notebook = committed()[name]
    assert [cell["id"] for cell in notebook["cells"]] == [f"c{i}" for i in range(len(notebook["cells"]))]
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert all(len("".join(cell["source"]).splitlines()) <= 3 for cell in code)
    assert [cell["metadata"].get("tags") for cell in code[:3]] == [["parameters"], None, ["stage"]]
    calls = {"".join(cell["source"]).split("(")[0] for cell in code[4:]}
    assert {"went_in", "table", "doubts"} <= calls and all(call.isidentifier() for call in calls)
    assert f'"{name}"' in "".join(code[2]["source"]) and f'"{name}"' in "".join(code[3]["source"])


def test_the_pages_of_a_reward_model(made: Path) -> None:
    stage = load(made, "reward")
    shown = steps.calibration(stage)
    assert "confidence is off by 5 % (baseline" in shown and "pairs by confidence" in shown
    rests = steps.rests_on(stage)
    assert "weakest: planted garbage that loses: meta, 50 %" in rests and "garbage that won: 3 of all" in rests
    table = steps.extremes(stage)
    rows = re.findall(r'<th scope="row">(\w+)</th><td><a href="rows.html#row-(\d+)"', table.replace("\n", ""))
    margins = {(i * 7) % 30 - 12: i + 1 for i in range(30)}
    assert [(name, int(place)) for name, place in rows] == [
        *(("worst", margins[m]) for m in (-12, -11, -10)),
        *(("median", margins[m]) for m in (2, 3, 4)),
        *(("best", margins[m]) for m in (15, 16, 17)),
    ]
    bare = load(made, "finetune")
    assert all("Not shown" in page(bare) for page in (steps.calibration, steps.rests_on, steps.extremes))
