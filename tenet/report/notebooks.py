"""Executes the notebooks: `runs/NAME/STAGE/report.ipynb` and a `report.html` that opens from disk.

Papermill accepts unknown parameters with a warning and any value for any type; `check_parameters` refuses both. What changes from
one execution to the next (times, paths, random cell ids) is removed, so that the same run gives the same bytes. All notebooks run
in one process, one kernel after another: started one by one from a shell each would cost three more seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tenet import runs
from tenet.errors import ConfigError, StageError
from tenet.report.data import STAGES, step_of
from tenet.report.paper import exporter, normalise, render

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
#: A cell that only reads files and draws has failed long before this; cells that run a stage have no limit.
CELL_SECONDS = 240
TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}


def report(
    run: Path,
    stage: str | None = None,
    progress: runs.Progress | None = None,
    *,
    preset: str = "",
    parameters: Mapping[str, Any] | None = None,
    again: bool = False,
) -> list[Path]:
    """Execute the notebooks of a run's finished stages.

    Args:
        run: run folder.
        stage: only this one; None takes all that are finished, or all there are when a preset is given.
        progress: told after every notebook.
        preset: run each stage at this preset first if it is not finished.
        parameters: further notebook parameters.
        again: execute even if nothing changed since the last time.

    Returns:
        the HTML pages, in the order of the steps.

    Raises:
        ConfigError: no such stage, unknown or mistyped parameter, or the stage is not finished.
        StageError: a notebook failed; the message names the cell, and what was executed is kept beside the stage.
    """
    names = _chosen(run, stage, preset)
    pages = []
    export = exporter()
    for done, name in enumerate(names):
        if progress:
            progress(done, len(names), f"{name}: report")
        pages.append(_one(run, name, {**(parameters or {}), "run": str(run), "preset": preset}, export, again))
    if progress:
        progress(len(names), len(names), f"{len(pages)} reports")
    return pages


def _chosen(run: Path, stage: str | None, preset: str) -> list[str]:
    if preset:
        from tenet.config import load_preset

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


def _one(run: Path, stage: str, parameters: dict[str, Any], export: Any, again: bool) -> Path:
    import nbformat

    source = NOTEBOOKS / f"{stage}.ipynb"
    check_parameters(source, parameters)
    notebook_path, html_path = run / stage / "report.ipynb", run / stage / "report.html"
    if not again and html_path.exists() and _made_from(notebook_path) == _inputs_hash(run, stage, source):
        return html_path
    executed = execute(source, parameters, run, export)
    normalise(executed, _inputs_hash(run, stage, source))
    runs.write_text(notebook_path, nbformat.writes(executed) + "\n")
    runs.write_text(html_path, render(executed, stage, export))
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


def execute(source: Path, parameters: Mapping[str, Any], run: Path, export: Any) -> Any:
    """Run one notebook in a kernel of its own.

    Raises:
        StageError: names the cell that failed and where the executed notebook was kept.
    """
    import nbformat
    from nbclient.exceptions import CellControlSignal, CellTimeoutError, DeadKernelError
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

    limit = None if parameters.get("preset") else CELL_SECONDS
    with tempfile.TemporaryDirectory() as scratch, _kernel_environment(scratch):
        output = Path(scratch) / "report.ipynb"
        try:
            execute_notebook(
                str(source), str(output), dict(parameters), progress_bar=False, request_save_on_cell_execute=False,
                execution_timeout=limit, **_kernel_settings(),
            )  # fmt: skip
            return nbformat.read(output, as_version=4)
        except (PapermillExecutionError, CellTimeoutError, CellControlSignal, DeadKernelError) as error:
            kept = _keep_failed(output, run, source.stem, export)
            raise StageError(f"notebooks/{source.name}, {_where(error)}. What ran is kept in {kept}") from None


def _kernel_settings() -> dict[str, Any]:
    """Over a Unix socket (no port is opened), quiet unless it dies, ended at once: a kernel that only drew has nothing to save."""
    from traitlets.config import Config

    return {
        "kernel_name": "python3",
        "config": Config({"KernelManager": {"transport": "ipc"}}),
        "extra_arguments": ["--IPKernelApp.log_level=50"],
        "shutdown_kernel": "immediate",
    }


def _where(error: Exception) -> str:
    """The failing cell in words: its number, its first line, the error."""
    ename = getattr(error, "ename", "")
    if hasattr(error, "cell_index"):
        lines = str(getattr(error, "source", "")).strip().splitlines() or [""]
        return f"code cell {getattr(error, 'exec_count', '?')} ({lines[-1]!r}): {ename}: {getattr(error, 'evalue', '')}"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _keep_failed(output: Path, run: Path, stage: str, export: Any) -> Path:
    import nbformat

    kept = _failed_path(run, stage, ".ipynb")
    if output.exists():
        notebook = nbformat.read(output, as_version=4)
        runs.write_text(kept, nbformat.writes(notebook) + "\n")
        runs.write_text(_failed_path(run, stage, ".html"), render(notebook, stage, export, "index.html"))
    return kept


def _failed_path(run: Path, stage: str, suffix: str) -> Path:
    """Beside the stage's folder: the folder belongs to the stage and may not even exist yet."""
    return run / f"{stage}.report-failed{suffix}"


@contextlib.contextmanager
def _kernel_environment(scratch: str) -> Iterator[None]:
    """Kernels find this package wherever the command was started, and no start-up file of the user's changes a report."""
    changes = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "IPYTHONDIR": scratch,
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _inputs_hash(run: Path, stage: str, source: Path) -> str:
    """Identity of everything a report depends on: the stage's record, the notebook and the code that draws."""
    record = run / stage / "run.json"
    if not record.exists():
        return "not finished"
    digest = hashlib.sha256()
    for path in (record, source, *sorted(Path(__file__).parent.glob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _made_from(report_path: Path) -> str | None:
    if not report_path.exists():
        return None
    try:
        content = runs.read_json(report_path)
    except StageError:
        return None  # a broken report is made again
    made: str | None = content.get("metadata", {}).get("tenet", {}).get("made_from")
    return made
