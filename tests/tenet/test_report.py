"""Reports: what they say about a run, that they say it the same way twice, and that a doctored run is shown rather than believed."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tenet import runs
from tenet.errors import ConfigError, StageError
from tenet.report import cells, figures, finding, index, lineage_text, load, notebooks, report, rules, show, steps, words
from tenet.report.data import STAGES, STEPS
from tenet.report.html import table
from tenet.runs import Figure
from tests.tenet.made_up_run import HOSTILE, make_run


class Tags(HTMLParser):
    """Tags and attributes as a browser sees them: text that only looks like markup is not one."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(page)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((name, {key: value or "" for key, value in attributes}))

    def values(self, *keys: str) -> list[str]:
        return [given[key] for _, given in self.found for key in keys if key in given]


def assert_opens_from_disk(page: str) -> None:
    """No script, nothing remote, nothing that a style sheet would load."""
    tags = Tags(page)
    assert not {name for name, _ in tags.found} & {"script", "iframe", "object", "embed", "base", "form"}
    assert [v for v in tags.values("src", "href", "srcset", "action") if re.match(r"\s*(\w+:)?//|\s*(?!data:)\w+:", v)] == []
    assert not [key for _, given in tags.found for key in given if key.startswith("on")]
    assert not re.search(r"@import|url\(", page.split("</style>")[0])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finished made-up run; tests that change it take a copy."""
    return make_run(tmp_path_factory.mktemp("report") / "demo")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may doctor."""
    return Path(shutil.copytree(made, tmp_path / "demo"))


@pytest.fixture(scope="module")
def reported(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all twelve notebooks executed and the index written."""
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("reported") / "demo"))
    report(folder)
    index(folder)
    return folder


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


# --- reading a stage -------------------------------------------------------------------------------------------------


def test_the_steps_are_those_of_the_pipeline() -> None:
    from tenet.stages import STAGES as pipeline

    assert [(step, name) for step, name, _, _ in STEPS] == [(s.step, s.name) for s in pipeline.values()]


def test_metrics_skip_empty_cells_and_keep_nan(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,train/loss,kl\n0,7.5,\n1,nan,0.1\n")
    stage_metrics = load_metrics(tmp_path)
    assert stage_metrics["kl"] == [(1.0, 0.1)]
    assert stage_metrics["train/loss"][0] == (0.0, 7.5) and math.isnan(stage_metrics["train/loss"][1][1])


def load_metrics(folder: Path) -> dict[str, Any]:
    from tenet.report.data import read_metrics

    return read_metrics(folder / "metrics.csv")


def test_curves_of_a_stages_parts_carry_the_parts_name(run: Path) -> None:
    (run / "constitutional" / "metrics-supervised.csv").write_text("step,train/loss\n0,3.5\n1,2.5\n")
    stage = load(run, "constitutional")
    assert stage.metrics["supervised/train/loss"] == [(0.0, 3.5), (1.0, 2.5)]
    assert "supervised/train/loss fell to 2.5 from 3.5 in 1 steps" in cells.curves(stage)


def test_a_broken_metrics_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,train/loss\n0,7.5\n1,seven\n")
    with pytest.raises(StageError, match=r"metrics\.csv:3: .*seven"):
        load_metrics(tmp_path)


def test_unknown_and_unfinished_stages_are_refused(run: Path) -> None:
    with pytest.raises(ConfigError, match="there are corpus, plan"):
        load(run, "pretraining")
    shutil.rmtree(run / "serve")
    with pytest.raises(StageError, match="tenet serve --run"):
        load(run, "serve")


def test_another_stages_summary_is_refused(run: Path) -> None:
    shutil.copy(run / "reward" / "summary.json", run / "pretrain" / "summary.json")
    with pytest.raises(StageError, match="'reward', not 'pretrain'"):
        load(run, "pretrain")


def test_a_figure_without_value_is_refused(run: Path) -> None:
    runs.write_json(run / "reward" / "summary.json", {"stage": "reward", "headline": "", "figures": [{"name": "accuracy"}]})
    with pytest.raises(StageError, match="no value"):
        load(run, "reward")


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (1.2345, "1.23"),
        (0.0, "0"),
        (2.1e-6, "2.10e-06"),
        (None, "n/a"),
        (math.nan, "n/a"),
        (True, "yes"),
        (20.0, "20"),
    ],
)
def test_numbers(value: Any, text: str) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.42, "0.4 s"), (59.4, "59 s"), (185, "3 min 05 s"), (7620, "2 h 07 min"), (None, "n/a")]
)
def test_durations(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


def test_a_sentence_says_when_two_values_cannot_be_told_apart() -> None:
    figure = Figure("accuracy", 0.55, "share", 0.4, 0.52, 0.5, 0.6, 100)
    assert words.sentence(figure) == "accuracy: 55 %; was 40 % (better); baseline 52 % (cannot be told apart)"


@pytest.mark.parametrize(
    ("unit", "interval", "change"),
    [("share (exact)", "10 to 30 %", "5 → 20 %"), ("nats/token", "0.1 to 0.3 nats/token", "0.05 → 0.2 nats/token")],
)
def test_intervals_and_changes_name_the_unit_once(unit: str, interval: str, change: str) -> None:
    figure = Figure("f", 0.2, unit, 0.05, None, 0.1, 0.3)
    assert (words.interval(figure), words.change(figure)) == (interval, change)


# --- what to doubt ---------------------------------------------------------------------------------------------------

SOLID = Figure("accuracy", 0.7, "share", 0.5, 0.52, 0.66, 0.74, 400)


def doubts_about(made: Path, **changes: Any) -> str:
    stage = load(made, "reward")
    figure = dataclasses.replace(SOLID, **changes)
    return " ".join(rules.doubts(dataclasses.replace(stage, figures=[figure])))


def test_a_solid_figure_raises_only_the_standing_doubt(made: Path) -> None:
    stage = dataclasses.replace(load(made, "reward"), figures=[SOLID])
    assert [d for d in rules.doubts(stage) if not d.startswith(rules.ENERGY)] == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"n": 12}, "rests on 12 rows only"),
        ({"low": 0.49}, "interval includes the value before"),
        ({"before": None, "low": 0.51}, "interval includes its baseline"),
        ({"value": 0.4, "low": 0.36, "high": 0.44}, "is worse than the value before"),
        ({"value": 0.5, "low": None, "high": None}, "equals the value before"),
        ({"value": math.nan}, "is not a number"),
        ({"before": math.nan}, "the value before is not a number"),
        ({"before": None, "baseline": None}, "nothing to be compared with"),
        ({"low": None, "high": None}, "no interval (n/a)"),
        ({"better": "lower"}, "is worse than the value before"),
    ],
)
def test_each_rule_about_figures(made: Path, changes: dict[str, Any], said: str) -> None:
    assert said in doubts_about(made, **changes)


@pytest.mark.parametrize(
    ("series", "said"),
    [
        ([(0, 2.0), (10, math.nan)], "1 values that are not numbers, the first at step 10"),
        ([(i, v) for i, v in enumerate((5, 3, 2, 2.5, 3))], "above its best of 2"),
        ([(i, v) for i, v in enumerate((5, 4, 3, 2.5, 2))], "still falling at the end"),
    ],
)
def test_rules_about_curves(made: Path, series: list[tuple[float, float]], said: str) -> None:
    stage = dataclasses.replace(load(made, "pretrain"), metrics={"valid/bits_per_byte": series})
    assert said in " ".join(rules.doubts(stage))


def test_groups_guards_and_gates_are_doubted(made: Path) -> None:
    assert "Harmless look-alikes are hit more often than before: p2" in " ".join(rules.doubts(load(made, "constitutional")))
    stage = load(made, "redteam")
    summary = {**stage.summary, "guard": "KL above 0.5", "gate": {"promoted": False, "reasons": ["the fall may be chance"]}}
    said = " ".join(rules.doubts(dataclasses.replace(stage, summary=summary)))
    assert "guard: KL above 0.5" in said and "gate refused the new model: the fall may be chance" in said


def test_changed_and_missing_files_are_doubted(run: Path) -> None:
    (run / "redteam" / "modes.json").write_text("[]")
    (run / "redteam" / "gate.json").unlink()
    said = " ".join(rules.doubts(load(run, "redteam")))
    assert "modes.json differs from its hash" in said and "gate.json is listed in run.json and is not there" in said


def test_an_input_that_was_made_again_is_doubted(run: Path) -> None:
    record = runs.read_json(run / "corpus" / "run.json")
    runs.write_json(run / "corpus" / "run.json", {**record, "fingerprint": "another"})
    assert "The input corpus was made again" in " ".join(rules.doubts(load(run, "pretrain")))


def test_interruption_and_uncommitted_code_are_doubted(run: Path) -> None:
    record = runs.read_json(run / "plan" / "run.json")
    runs.write_json(run / "plan" / "run.json", {**record, "attempts": 3, "code": "abc+changes"})
    said = " ".join(rules.doubts(load(run, "plan")))
    assert "continued 2 time(s)" in said and "not a committed one" in said


# --- pictures --------------------------------------------------------------------------------------------------------


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


# --- cells -----------------------------------------------------------------------------------------------------------


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


# --- the committed notebooks -----------------------------------------------------------------------------------------


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


# --- executing them --------------------------------------------------------------------------------------------------


def test_every_notebook_gives_a_page_that_opens_from_disk(reported: Path) -> None:
    for name in STAGES:
        page = (reported / name / "report.html").read_text(encoding="utf-8")
        assert_opens_from_disk(page)
        images = [given for tag, given in Tags(page).found if tag == "img"]
        assert images and all(len(given["alt"]) > 10 and given["src"].startswith("data:image/png;") for given in images), name
        assert "What to doubt" in page and page.index('class="finding"') < page.index("<img") < page.index("What went in")


def test_the_executed_notebook_keeps_parameters_and_nothing_volatile(reported: Path) -> None:
    notebook = json.loads((reported / "reward" / "report.ipynb").read_text(encoding="utf-8"))
    assert set(notebook["metadata"]) == {"kernelspec", "language_info", "tenet"}
    assert notebook["metadata"]["tenet"]["parameters"] == {"run": str(reported), "preset": ""}
    assert all(set(cell["metadata"]) <= {"tags"} for cell in notebook["cells"])


def test_two_executions_are_the_same_bytes_and_nothing_is_done_twice(reported: Path) -> None:
    paths = [reported / "redteam" / name for name in ("report.ipynb", "report.html")]
    before, when = [path.read_bytes() for path in paths], [path.stat().st_mtime_ns for path in paths]
    assert report(reported, "redteam") == [paths[1]]
    assert [path.stat().st_mtime_ns for path in paths] == when
    report(reported, "redteam", again=True)
    assert [path.stat().st_mtime_ns for path in paths] != when and [path.read_bytes() for path in paths] == before


def test_a_changed_record_makes_a_new_report(run: Path) -> None:
    report(run, "plan")
    first = (run / "plan" / "report.html").read_text()
    record = runs.read_json(run / "plan" / "run.json")
    runs.write_json(run / "plan" / "run.json", {**record, "attempts": 2})
    report(run, "plan")
    assert "continued 1 time(s)" in (run / "plan" / "report.html").read_text() and "continued 1 time(s)" not in first


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"steps": 3}, "parameter steps: .* does not have it; it has run, preset"),
        ({"run": 3}, "parameter run is 3 .int.; .* declares it as str"),
    ],
)
def test_unknown_and_mistyped_parameters_are_refused(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        notebooks.check_parameters(notebooks.NOTEBOOKS / "plan.ipynb", parameters)


def test_report_refuses_what_cannot_be_reported(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such stage"):
        report(run, "pretraining")
    with pytest.raises(ConfigError, match="parameter steps"):
        report(run, "plan", parameters={"steps": 3})
    with pytest.raises(ConfigError, match="no finished stage"):
        report(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="--preset huge"):
        report(run, "plan", preset="huge")


def test_a_failing_notebook_is_kept_and_names_its_cell(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = json.loads((notebooks.NOTEBOOKS / "plan.ipynb").read_text())
    notebook["cells"][-1]["source"] = ["doubts(stage.nothing)"]
    (tmp_path / "plan.ipynb").write_text(json.dumps(notebook))
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path)
    with pytest.raises(
        StageError, match=r"plan\.ipynb, code cell \d+ \('doubts\(stage\.nothing\)'\): AttributeError.*report-failed"
    ):
        report(run, "plan")
    kept = (run / "plan.report-failed.html").read_text()
    assert "AttributeError" in kept and "Step 2" in kept and (run / "plan.report-failed.ipynb").exists()
    assert not (run / "plan" / "report.html").exists()
    assert "plan.report-failed.html" in index(run).read_text()
    monkeypatch.undo()
    report(run, "plan")
    assert not (run / "plan.report-failed.html").exists()


def test_a_doctored_stage_fails_its_report(run: Path) -> None:
    shutil.copy(run / "reward" / "summary.json", run / "deploy" / "summary.json")
    with pytest.raises(StageError, match="another stage's file"):
        report(run, "deploy")


def test_with_a_preset_the_stage_is_run_first(tmp_path: Path) -> None:
    (page,) = report(tmp_path / "fresh", "plan", preset="tiny")
    assert page.exists() and runs.read_json(tmp_path / "fresh" / "plan" / "run.json")["status"] == "done"
    assert "planned for all training" in page.read_text()


# --- the index, the terminal -----------------------------------------------------------------------------------------


def test_the_index_links_only_what_is_there(reported: Path) -> None:
    page = (reported / "index.html").read_text(encoding="utf-8")
    assert_opens_from_disk(page)
    local = [link for link in Tags(page).values("href") if not link.startswith(("data:", "#"))]
    assert len(local) > 40 and all((reported / link).exists() for link in local)
    assert all(f"{name}/report.html" in local for name in STAGES)


def test_the_index_shows_the_run_at_a_glance(reported: Path) -> None:
    page = (reported / "index.html").read_text(encoding="utf-8")
    for part in (
        "12 of 12",
        "tiny",
        "Creates a new bucket.",
        "8.02 → 1.14 bits per byte",
        "every hash holds",
        "Apache-2.0",
        "0.915",
    ):
        assert part in page, part


def test_the_index_names_what_is_unfinished_or_doctored(run: Path) -> None:
    shutil.rmtree(run / "serve")
    (run / "deploy").rename(run / "deploy.partial")
    (run / "deploy.partial" / "run.json").unlink()
    runs.write_json(run / "deploy.partial" / "started.json", {"fingerprint": "x", "attempts": 2})
    shutil.copy(run / "reward" / "summary.json", run / "evaluate" / "summary.json")
    page = index(run).read_text(encoding="utf-8")
    for part in (
        "nothing has answered yet",
        "unfinished: run the same command to go on",
        "&#x27;reward&#x27;, not &#x27;evaluate&#x27;",
        "not started",
    ):
        assert part in page, part


def test_a_folder_killed_before_its_last_rename_is_no_result(run: Path) -> None:
    (run / "serve").rename(run / "serve.partial")
    assert "11 of 12" in index(run).read_text(encoding="utf-8")
    assert "7 min 14 s in all" in printed(run)


def test_the_index_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such run"):
        index(tmp_path / "nothing")


def printed(run: Path) -> str:
    from rich.console import Console

    console = Console(width=180, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(show(run))
    return console.export_text()


def test_show_prints_a_row_for_every_stage(run: Path) -> None:
    shutil.rmtree(run / "serve")
    text = printed(run)
    assert all(name in text for name in STAGES)
    assert "8.02 → 1.14 bits per byte" in text and "3 min 03 s" in text and "not started" in text and "9 to 18 %" in text


def test_lineage_reaches_documents_and_licences(run: Path) -> None:
    text = lineage_text(run, "serve")
    weights = next(
        o["sha256"] for o in runs.read_json(run / "redteam" / "run.json")["outputs"] if o["path"].endswith(".safetensors")
    )
    for part in (weights[:16], "botocore 1.44", "Apache-2.0", "PSF-2.0", "ab" * 32):
        assert part in text, part
    assert "BROKEN" not in text
    record = runs.read_json(run / "corpus" / "run.json")
    runs.write_json(run / "corpus" / "run.json", {**record, "fingerprint": "another"})
    assert "corpus   BROKEN" in lineage_text(run, "serve")


def test_show_needs_neither_matplotlib_nor_papermill(made: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tenet.report import lineage_text, show; "
        f"show(Path({str(made)!r})); lineage_text(Path({str(made)!r})); "
        "print([m for m in ('matplotlib', 'papermill', 'nbconvert', 'torch', 'IPython') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_exists() -> None:
    import tenet.report as package

    assert all(callable(getattr(package, name)) for name in package.__all__)
    with pytest.raises(AttributeError, match="has no plot"):
        _ = package.plot
