"""A run folder that somebody tampered with: every notebook fails or shows it. Cells are run here, without a kernel, to
try every file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tenet.errors import StageError
from tenet.files import read_json, write_json
from tenet.report.data import STAGES
from tenet.report.execute import notebooks
from tenet.report.render import figures
from tenet.report.render.html import Html


@pytest.fixture(autouse=True)
def without_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are drawn but not turned into PNG, which is what takes the time."""
    monkeypatch.setattr(figures, "_embed", lambda picture, title, said: Html(f"<p>{title}. {said}</p>"))


def shown(run: Path, stage: str) -> str:
    """What the notebook's cells return for a run, joined."""
    names: dict[str, object] = {}
    markup = []
    for cell in json.loads((notebooks.NOTEBOOKS / f"{stage}.ipynb").read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        *first, last = "".join(cell["source"]).splitlines()
        if last.split("(")[0].isidentifier() and not cell["metadata"].get("tags"):
            exec("\n".join(first), names)
            markup.append(str(eval(last, names)))
        else:
            exec("\n".join([*first, last]), names)
            names["run"] = str(run)
    assert len(markup) >= 4
    return "\n".join(markup)


@pytest.mark.parametrize("stage", STAGES)
def test_every_file_that_is_missing_or_changed_is_shown(run: Path, stage: str) -> None:
    outputs = [entry["path"] for entry in read_json(run / stage / "run.json")["outputs"]]
    for name in outputs:
        path = run / stage / name
        content = path.read_bytes()
        path.unlink()
        if name == "summary.json":
            with pytest.raises(StageError, match=r"summary\.json: no such file"):
                shown(run, stage)
        else:
            assert f"{name} is listed in run.json and is not there" in shown(run, stage)
        path.write_bytes(content)
    changed = run / stage / "config.yaml"
    changed.write_text(changed.read_text() + "\n")
    assert "config.yaml differs from its hash in run.json" in shown(run, stage)


@pytest.mark.parametrize("stage", STAGES)
def test_a_figure_that_is_not_a_number_is_shown(run: Path, stage: str) -> None:
    path = run / stage / "summary.json"
    summary = read_json(path)
    summary["figures"][0]["value"] = float("nan")
    write_json(path, summary)
    page = shown(run, stage)
    assert f"{summary['figures'][0]['name']} is not a number: nothing was measured" in page and "n/a" in page


@pytest.mark.parametrize("stage", STAGES)
def test_another_stages_files_are_refused(run: Path, stage: str) -> None:
    other = "plan" if stage != "plan" else "model"
    for name in ("run.json", "summary.json"):
        kept = (run / stage / name).read_bytes()
        shutil.copy(run / other / name, run / stage / name)
        with pytest.raises(StageError, match=f"'{other}', not '{stage}'"):
            shown(run, stage)
        (run / stage / name).write_bytes(kept)


@pytest.mark.parametrize("stage", ["pretrain", "finetune", "reward", "rlhf"])
def test_a_curve_with_a_hole_is_shown(run: Path, stage: str) -> None:
    path = run / stage / "metrics.csv"
    lines = path.read_text().splitlines()
    step, *cells = lines[9].split(",")
    path.write_text("\n".join([*lines[:9], ",".join([step, *["nan" for _ in cells]]), *lines[10:]]) + "\n")
    assert f"values that are not numbers, the first at step {step}" in shown(run, stage)


def test_rows_that_cannot_be_read_are_named(run: Path) -> None:
    (run / "reward" / "rows.jsonl").write_text('{"stage": "reward"}\n{"stage": ')
    with pytest.raises(StageError, match=r"rows\.jsonl:2: not valid JSON"):
        shown(run, "reward")
