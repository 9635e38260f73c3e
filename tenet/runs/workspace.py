"""The folder that a stage works in, its way to say how far it is, and to ask whether it should stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tenet.errors import Interrupted, StageError

Progress = Callable[[float, float, str], None]


class Workspace:
    """The folder a stage writes in, and its way to ask whether it should stop."""

    def __init__(
        self, directory: Path, run: Path, stage: str, reads: tuple[str, ...], seed: int, preset: Any, progress: Progress
    ) -> None:
        self.dir, self.run, self.stage, self.seed, self.preset = directory, run, stage, seed, preset
        self._reads, self._progress = reads, progress
        self.stop = threading.Event()

    def input(self, stage: str) -> Path:
        """Folder of an earlier, finished stage that this one declares to read."""
        if stage not in self._reads:
            raise StageError(f"stage {self.stage} reads {stage} but does not declare it in STAGES")
        return self.run / stage

    def progress(self, done: float, total: float, text: str = "") -> None:
        """Tell how far the stage is, in units of its own choice."""
        self._progress(done, total, text)

    def check(self) -> None:
        """Raise `Interrupted` if the process was asked to stop. Call it between items of long work."""
        if self.stop.is_set():
            raise Interrupted(f"{self.stage}: interrupted; what is done is kept, run the same command to go on")


@contextlib.contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and Ctrl-C set a flag; the stage saves and stops at its next check."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def handle(number: int, frame: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt  # a second Ctrl-C: at once
        stop.set()

    for number in previous:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
