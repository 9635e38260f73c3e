"""Executing the notebooks: the same bytes twice, limits, refusals, failures that are kept and shown."""

from __future__ import annotations

import copy
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tenet.cli.main import main
from tenet.errors import ConfigError, StageError
from tenet.files import read_json, sha256, write_json
from tenet.report import index, report
from tenet.report.data import STAGES
from tenet.report.execute import kernel as kernel_module
from tenet.report.execute import notebooks, paper
from tenet.report.execute.kernel import Kernel, Limits
from tests.tenet.report.pages import Tags, assert_opens_from_disk


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


def test_two_executions_are_the_same_bytes(reported: Path) -> None:
    """Notebook, page and the pictures in it: hashes of two executions, the second in another kernel and without its
    neighbours."""
    paths = [reported / "redteam" / name for name in ("report.ipynb", "report.html")]
    pictures = re.findall(r"data:image/png;base64,[^\"]+", paths[1].read_text(encoding="utf-8"))
    before, when = [sha256(path) for path in paths], [path.stat().st_mtime_ns for path in paths]
    assert len(pictures) >= 2
    report(reported, "redteam", again=True)
    assert [path.stat().st_mtime_ns for path in paths] != when and [sha256(path) for path in paths] == before


def test_nothing_is_executed_twice(reported: Path) -> None:
    page = reported / "redteam" / "report.html"
    when = page.stat().st_mtime_ns
    assert report(reported, "redteam") == [page] and page.stat().st_mtime_ns == when


def test_a_changed_record_makes_a_new_report(run: Path) -> None:
    report(run, "plan")
    first = (run / "plan" / "report.html").read_text()
    record = read_json(run / "plan" / "run.json")
    write_json(run / "plan" / "run.json", {**record, "attempts": 2})
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
    assert page.exists() and read_json(tmp_path / "fresh" / "plan" / "run.json")["status"] == "done"
    assert "planned for all training" in page.read_text()


# --- limits, one kernel, bars ----------------------------------------------------------------------------------------


def notebook_of(folder: Path, *code: str, parameters: str = "size: int = 1  # how big") -> Path:
    """A notebook of one's own with a cell for each piece of code."""
    from nbformat import v4

    cells = [v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}), *map(v4.new_code_cell, code)]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = folder / f"notebook{len(list(folder.iterdir()))}.ipynb"
    path.write_text(nbformat.writes(v4.new_notebook(cells=cells, metadata=metadata)))
    return path


def shown_by(notebook: Any) -> str:
    return json.dumps([cell.get("outputs") for cell in notebook.cells])


def test_one_kernel_runs_many_notebooks_and_forgets_between_them(tmp_path: Path) -> None:
    first = notebook_of(tmp_path, "import os\nsecret = 1\nprint('process', os.getpid())")
    second = notebook_of(tmp_path, "import os\nprint('process', os.getpid())", "secret")
    with Kernel() as kernel:
        one, why = kernel.execute(first, {}, Limits())
        two, refused = kernel.execute(second, {}, Limits())
    number = re.search(r"process \d+", shown_by(one))
    assert why == "" and number and number[0] in shown_by(two)
    assert refused.startswith("code cell 3 ('secret'): NameError")


def test_a_cell_and_a_notebook_have_deadlines_and_the_next_one_runs_all_the_same(tmp_path: Path) -> None:
    slow = notebook_of(tmp_path, "print('began')", "import time\ntime.sleep(600)")
    many = notebook_of(tmp_path, *["import time\ntime.sleep(0.8)"] * 8)
    fine = notebook_of(tmp_path, "print('alive')")
    started = time.monotonic()
    with Kernel() as kernel:
        kept, why = kernel.execute(slow, {}, Limits(cell=2))
        assert "TimeoutError" in why and "began" in shown_by(kept)
        _, why = kernel.execute(many, {}, Limits(cell=60, whole=2))
        assert "longer than 2 s in all" in why or "TimeoutError" in why
        after, why = kernel.execute(fine, {}, Limits())
    assert why == "" and "alive" in shown_by(after) and time.monotonic() - started < 120


def test_a_cell_that_runs_a_stage_has_no_limit(tmp_path: Path) -> None:
    from nbformat import v4

    seconds = kernel_module._clock(Limits(cell=5, whole=7))
    stage = v4.new_code_cell("", metadata={"tags": ["stage"]})
    assert seconds(v4.new_code_cell("")) == 5 and seconds(stage) is None


def test_limits_of_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="--whole-seconds is 0"):
        Limits(whole=0)


def test_a_kernel_that_dies_is_replaced(tmp_path: Path) -> None:
    dies, fine = notebook_of(tmp_path, "import os\nos._exit(1)"), notebook_of(tmp_path, "print('alive')")
    with Kernel() as kernel:
        _, why = kernel.execute(dies, {}, Limits())
        after, fine_why = kernel.execute(fine, {}, Limits())
    assert why.startswith("code cell 2 ('os._exit(1)'): DeadKernelError") and fine_why == "" and "alive" in shown_by(after)


def test_two_kernels_at_once_share_no_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default both are given the same ones in the working folder, and each may be answered by the other's kernel."""
    monkeypatch.chdir(tmp_path)
    with Kernel() as one, Kernel() as other:
        for kernel in (one, other):
            assert kernel.execute(notebook_of(tmp_path, "print(1)"), {}, Limits())[1] == ""
        assert one._manager.ip != other._manager.ip
        assert Path(one._manager.ip).parent == one._scratch and Path(other._manager.ip).parent == other._scratch
        assert not list(tmp_path.glob("kernel-ipc*"))


def test_a_kernel_that_never_answers_is_replaced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    run = Kernel._run

    def first_is_deaf(self: Kernel, *given: Any) -> None:
        started.append(1)
        if len(started) == 1:
            raise RuntimeError("Kernel didn't respond in 120 seconds")
        run(self, *given)

    monkeypatch.setattr(Kernel, "_run", first_is_deaf)
    with Kernel() as kernel:
        assert kernel.execute(notebook_of(tmp_path, "print(1)"), {}, Limits())[1] == ""
    monkeypatch.setattr(
        Kernel, "_run", lambda *given: (_ for _ in ()).throw(RuntimeError("Kernel didn't respond in 120 seconds"))
    )
    with Kernel() as kernel, pytest.raises(RuntimeError, match="didn't respond"):
        kernel.execute(notebook_of(tmp_path, "print(1)"), {}, Limits())


def test_bars_leave_their_last_state_only() -> None:
    from nbformat import v4

    bar = v4.new_output("stream", name="stderr", text=" 10%\r 50%\r100%\ndone\n")
    widget = v4.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "bar"})
    log = v4.new_code_cell("run_stage()", metadata={"tags": ["stage"]}, outputs=[bar])
    notebook = v4.new_notebook(cells=[v4.new_code_cell("x", outputs=[copy.deepcopy(bar), widget]), log])
    paper.normalise(notebook, "x")
    assert [o["text"] for o in notebook.cells[0].outputs] == ["100%\ndone\n"] and notebook.cells[1].outputs == []


def test_no_report_holds_a_log(reported: Path) -> None:
    for name in STAGES:
        notebook = json.loads((reported / name / "report.ipynb").read_text(encoding="utf-8"))
        assert [o for c in notebook["cells"] for o in c.get("outputs", []) if o["output_type"] in ("stream", "error")] == []


def test_one_broken_notebook_does_not_hide_the_others(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("model", "plan", "corpus"):
        shutil.copy(notebooks.NOTEBOOKS / f"{name}.ipynb", tmp_path)
    for name in set(STAGES) - {"model", "plan", "corpus"}:
        shutil.rmtree(run / name)
    shutil.copy(run / "model" / "summary.json", run / "corpus" / "summary.json")
    monkeypatch.setattr(notebooks, "NOTEBOOKS", tmp_path)
    with pytest.raises(StageError, match=r"corpus\.ipynb, code cell .*'model', not 'corpus'"):
        report(run)
    assert (run / "plan" / "report.html").exists() and (run / "model" / "report.html").exists()
    assert "This report failed: code cell" in (run / "corpus.report-failed.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"), [(["-p", "steps", "3"], "parameter steps"), (["-p", "run", "3"], "parameter run is given twice")]
)
def test_the_command_refuses_wrong_parameters(run: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--stage", "plan", *words]) == 2
    assert said in capsys.readouterr().err


def test_the_command_fails_and_still_links_the_failed_report(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(run / "reward" / "summary.json", run / "deploy" / "summary.json")
    assert main(["report", str(run), "--stage", "deploy"]) == 1
    assert "deploy.ipynb" in capsys.readouterr().err
    assert "deploy.report-failed.html" in (run / "index.html").read_text()
