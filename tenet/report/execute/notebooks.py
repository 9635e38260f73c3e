"""Executes the notebooks: `runs/NAME/STAGE/report.ipynb` and a `report.html` that opens from disk.

Papermill accepts unknown parameters with a warning and any value for any type; `check_parameters` refuses both. What
changes from one execution to the next (times, paths, random cell ids) is removed, so that the same run gives the same
bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError, StageError
from tenet.files import read_json, write_text
from tenet.report.data import STAGES, load, step_of
from tenet.report.execute.kernel import ROOT, Kernel, Limits
from tenet.report.execute.paper import exporter, normalise, render, say_failed
from tenet.report.pages.rows import write_rows
from tenet.runs.workspace import Progress

NOTEBOOKS = ROOT / "notebooks"
TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}


def report(
    run: Path,
    stage: str | None = None,
    progress: Progress | None = None,
    *,
    preset: str = "",
    parameters: Mapping[str, Any] | None = None,
    again: bool = False,
    limits: Limits | None = None,
) -> list[Path]:
    """Execute the notebooks of a run's finished stages. One that fails does not keep the others from being made.

    Args:
        run: run folder.
        stage: only this one; None takes all that are finished, or all there are when a preset is given.
        progress: told after every notebook.
        preset: run each stage at this preset first if it is not finished.
        parameters: further notebook parameters.
        again: execute even if nothing changed since the last time.
        limits: seconds for a cell and for a whole notebook.

    Returns:
        the HTML pages, in the order of the steps.

    Raises:
        ConfigError: no such stage, unknown or mistyped parameter, or the stage is not finished.
        StageError: notebooks failed; the message names the cells, and what was executed is kept beside the stages.
    """
    names = _chosen(run, stage, preset)
    given = {**(parameters or {}), "run": str(run), "preset": preset}
    for name in names:
        check_parameters(NOTEBOOKS / f"{name}.ipynb", given)
    pages, failures, export = [], [], exporter()
    with Kernel() as kernel:
        for done, name in enumerate(names):
            if progress:
                progress(done, len(names), f"{name}: report")
            try:
                pages.append(_one(run, name, given, kernel, limits or Limits(), export, again))
            except StageError as error:
                failures.append(str(error))
    if failures:
        raise StageError("\n".join(failures))
    if progress:
        progress(len(names), len(names), f"{len(pages)} reports")
    return pages


def _chosen(run: Path, stage: str | None, preset: str) -> list[str]:
    if preset:
        from tenet.settings.preset import load_preset

        load_preset(preset)  # a wrong name is told before a kernel starts
    finished = [name for name in STAGES if (run / name / "run.json").exists()]
    if stage is None:
        names = list(STAGES) if preset else finished
        if not names:
            raise ConfigError(f"{run}: no finished stage to report on; `tenet run --preset tiny --run {run}` makes them")
        return names
    step_of(stage)
    if stage not in finished and not preset:
        raise ConfigError(f"{run / stage}: stage {stage} is not finished; run `tenet {stage} --run {run}` first")
    return [stage]


def _one(run: Path, stage: str, parameters: dict[str, Any], kernel: Kernel, limits: Limits, export: Any, again: bool) -> Path:
    import nbformat

    source = NOTEBOOKS / f"{stage}.ipynb"
    notebook_path, html_path = run / stage / "report.ipynb", run / stage / "report.html"
    if not again and html_path.exists() and _made_from(notebook_path) == _inputs_hash(run, stage, source):
        return html_path
    executed, why = kernel.execute(source, parameters, limits)
    normalise(executed, _inputs_hash(run, stage, source))
    if why:
        say_failed(executed, why)
        write_text(kept := _failed_path(run, stage, ".ipynb"), nbformat.writes(executed) + "\n")
        write_text(_failed_path(run, stage, ".html"), render(executed, stage, export, "index.html"))
        raise StageError(f"notebooks/{source.name}, {why}. What ran is kept in {kept}")
    write_text(notebook_path, nbformat.writes(executed) + "\n")
    write_rows(load(run, stage, verify=False))
    write_text(html_path, render(executed, stage, export))
    for suffix in (".ipynb", ".html"):
        _failed_path(run, stage, suffix).unlink(missing_ok=True)
    return html_path


def check_parameters(source: Path, parameters: Mapping[str, Any]) -> None:
    """Hold parameters against the notebook's own `parameters` cell.

    Raises:
        ConfigError: names the parameter, its value, and what the notebook declares.
    """
    from papermill import inspect_notebook

    if not source.exists():
        raise ConfigError(f"{source}: no such notebook; there is one for each of {', '.join(STAGES)}")
    declared = inspect_notebook(str(source))
    for name, value in parameters.items():
        if name not in declared:
            raise ConfigError(f"parameter {name}: {source.name} does not have it; it has {', '.join(declared)}")
        wanted = declared[name]["inferred_type_name"]
        if wanted in TYPES and type(value) is not TYPES[wanted]:
            raise ConfigError(f"parameter {name} is {value!r} ({type(value).__name__}); {source.name} declares it as {wanted}")


def _failed_path(run: Path, stage: str, suffix: str) -> Path:
    """Beside the stage's folder: the folder belongs to the stage and may not even exist yet."""
    return run / f"{stage}.report-failed{suffix}"


def _inputs_hash(run: Path, stage: str, source: Path) -> str:
    """Identity of everything a report depends on: the stage's record, the notebook and the code that draws."""
    record = run / stage / "run.json"
    if not record.exists():
        return "not finished"
    digest = hashlib.sha256()
    for path in (record, source, *sorted(Path(__file__).parents[1].rglob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _made_from(report_path: Path) -> str | None:
    if not report_path.exists():
        return None
    try:
        content = read_json(report_path)
    except StageError:
        return None  # a broken report is made again
    made: str | None = content.get("metadata", {}).get("tenet", {}).get("made_from")
    return made
