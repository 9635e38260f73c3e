"""The folder that a stage works in, its way to say how far it is, and to ask whether it should stop."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tenet.errors import Interrupted, StageError

Progress = Callable[[float, float, str], None]


class Workspace:
    """The folder a stage writes in, what it may read, and its way to ask whether it should stop.

    Args:
        directory: write here; it becomes the stage's folder by one rename at the end.
        run, stage, seed: which run, which stage, and the number that all randomness comes from.
        reads: stages whose finished folders may be read.
        foreign: settings of other sections that the stage declares to read, by dotted name.
        parallel: how a model is sharded over devices; where, not what, and so in no fingerprint.
        domain: what the assistant is about, or None.
        start: folder of the model that training starts from; None where there is none.
        policies: policy stages of this run in order, for stages that compare them.
        counts: of principles and attacks, and stages that the run leaves out, for its plan.
    """

    def __init__(
        self,
        directory: Path,
        run: Path,
        stage: str,
        reads: tuple[str, ...],
        seed: int,
        progress: Progress,
        *,
        foreign: Mapping[str, Any] | None = None,
        preset: Any = None,
        parallel: Any = None,
        domain: Any = None,
        start: Path | None = None,
        policies: tuple[str, ...] = (),
        counts: Any = None,
    ) -> None:
        self.dir, self.run, self.stage, self.seed = directory, run, stage, seed
        self._reads, self._progress, self._foreign = reads, progress, foreign or {}
        self.preset, self.parallel, self.domain, self._start, self.policies = preset, parallel, domain, start, policies
        self.counts = counts
        self.stop = threading.Event()

    def setting(self, name: str) -> Any:
        """A setting of another section, by dotted name; the stage declares it in STAGES, so that it is part of the
        fingerprint."""
        if name not in self._foreign:
            raise StageError(f"stage {self.stage} reads the setting {name} but does not declare it in STAGES")
        return self._foreign[name]

    @property
    def start(self) -> Path:
        """Folder of the model that this stage starts from."""
        if self._start is None:
            raise StageError(f"stage {self.stage} starts from no model; its row in STAGES says so")
        return self._start

    def has(self, stage: str) -> bool:
        """Is an earlier stage part of this run's pipeline, and read by this one?"""
        return stage in self._reads

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
