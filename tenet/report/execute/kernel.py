"""Runs notebooks one after another in one kernel, with a limit for each cell and one for the whole notebook.

Starting a kernel and importing matplotlib takes longer than most reports do, so the kernel is kept and emptied between
two notebooks: what one of them defines, the next one does not see. A kernel that died, or that a cell still holds, is
replaced.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
#: Seconds in which a new kernel must answer; it takes five of processor time, and other work may stand beside it.
START = 120


@dataclass(frozen=True)
class Limits:
    """Seconds after which a notebook is given up. A cell that runs a stage has no limit and does not count.

    Args:
        cell: one cell that only reads files and draws; it has failed long before this.
        whole: all of these cells of one notebook together.
    """

    cell: int = 240
    whole: int = 900

    def __post_init__(self) -> None:
        for name in ("cell", "whole"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name}-seconds is {getattr(self, name)}; it must be at least 1")


class Failed(Exception):
    """A notebook did not reach its end; the message says where and why."""


class Kernel:
    """`with Kernel() as kernel: kernel.execute(...)`: started with the first notebook, ended with the block."""

    def __init__(self) -> None:
        self._manager: Any = None
        self._clients: list[Any] = []
        self._started = 0
        self._rest = contextlib.ExitStack()

    def __enter__(self) -> Kernel:
        self._scratch = Path(self._rest.enter_context(tempfile.TemporaryDirectory()))
        self._rest.enter_context(_environment(self._scratch))
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        self._rest.close()

    def execute(self, source: Path, parameters: Mapping[str, Any], limits: Limits) -> tuple[Any, str]:
        """Run a notebook.

        Returns:
            what was executed, as far as it came, and why it failed (empty when it did not).
        """
        import nbformat
        from nbclient.exceptions import DeadKernelError
        from papermill.exceptions import PapermillExecutionError

        output, why = self._scratch / "report.ipynb", ""
        output.unlink(missing_ok=True)
        try:
            try:
                self._run(source, output, parameters, limits)
            except RuntimeError as error:
                if "ernel" not in str(error):
                    raise
                # It never answered, or died while it started: another one does, unless the machine is at its end.
                self._end()
                self._run(source, output, parameters, limits)
        except PapermillExecutionError as error:
            why = f"{error.ename}: {error.evalue}"
        except (TimeoutError, DeadKernelError) as error:
            told = str(error).partition("\nThe message was")[0]  # then nbclient repeats the cell
            why = f"{type(error).__name__}: {' '.join(told.split())}"
            self._end()
        finally:
            self._leave()
        executed = nbformat.read(output, as_version=4)
        return executed, f"{_last(executed)}: {why}" if why else ""

    def _run(self, source: Path, output: Path, parameters: Mapping[str, Any], limits: Limits) -> None:
        from papermill import execute_notebook

        execute_notebook(
            str(source), str(output), dict(parameters), progress_bar=False, kernel_name="python3", start_timeout=START,
            extra_arguments=["--IPKernelApp.log_level=50"], km=self._ready(), timeout_func=_clock(limits),
        )  # fmt: skip

    def _ready(self) -> Any:
        """The kernel's manager; the kernel is new or empty. Unix sockets, because no port needs to be opened, in a folder of
        this object's own: by default they lie where the process was started, and two that start at once there are given
        the same ones."""
        from jupyter_client.manager import AsyncKernelManager
        from nbclient import NotebookClient
        from nbformat.v4 import new_code_cell, new_notebook
        from traitlets.config import Config

        class Manager(AsyncKernelManager):
            """Remembers the client that a notebook made, which nbclient leaves open together with the kernel."""

            def client(self, **options: Any) -> Any:
                clients.append(made := super().client(**options))
                return made

        clients = self._clients
        if self._manager is None:
            self._started += 1
            sockets = {"transport": "ipc", "ip": str(self._scratch / f"kernel{self._started}")}
            self._manager = Manager(kernel_name="python3", config=Config({"KernelManager": sockets}))
        else:
            NotebookClient(new_notebook(cells=[new_code_cell("%reset -f")]), km=self._manager, timeout=60).execute()
            self._leave()
        return self._manager

    def _leave(self) -> None:
        while self._clients:
            self._clients.pop().stop_channels()

    def _end(self) -> None:
        from jupyter_core.utils import run_sync

        if self._manager is not None and self._manager.has_kernel:
            # At once: a kernel that only drew has nothing to save.
            run_sync(self._manager.shutdown_kernel)(now=True)
        self._manager = None


def _last(notebook: Any) -> str:
    """The code cell that was reached last, by its number and its last line; cells that papermill adds are not
    counted."""
    code = [
        cell for cell in notebook.cells if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])
    ]
    reached = [i for i, cell in enumerate(code, 1) if cell.metadata.get("papermill", {}).get("start_time")] or [1]
    lines = code[reached[-1] - 1].source.strip().splitlines() or [""]
    return f"code cell {reached[-1]} ({lines[-1]!r})"


def _clock(limits: Limits) -> Callable[[Any], float | None]:
    """What nbclient asks before each cell: how many seconds it may take; None is no limit."""
    left, since, counts = float(limits.whole), time.monotonic(), False

    def seconds(cell: Any) -> float | None:
        nonlocal left, since, counts
        now = time.monotonic()
        left, since = left - (now - since if counts else 0.0), now
        counts = "stage" not in cell.metadata.get("tags", [])
        if left <= 0:
            raise TimeoutError(f"the notebook took longer than {limits.whole} s in all (--whole-seconds)")
        return min(limits.cell, left) if counts else None

    return seconds


@contextlib.contextmanager
def _environment(scratch: Path) -> Iterator[None]:
    """Kernels find this package wherever the command was started, no start-up file of the user's changes a report, and
    sets keep one order."""
    changes = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "PYTHONHASHSEED": "0",
        "IPYTHONDIR": str(scratch),
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
