"""Progress that fits where it is shown: a live bar in a terminal, plain lines in a log. Never both."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# A log has no width; tables need one that a screen can show.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 118)


class StageProgress:
    """Shows one stage: what runs, how far, how long still.

    Args:
        title: e.g. "4 pretrain".
        every: seconds between two lines where there is no terminal.
    """

    def __init__(self, title: str, every: float = 10.0) -> None:
        self.title, self.every = title, every
        self._start = self._last = time.monotonic()
        self._bar: Progress | None = None
        if console.is_terminal:
            columns = (TextColumn("{task.description:<18}"), BarColumn(30), TextColumn("{task.percentage:>3.0f}%"))
            self._bar = Progress(
                *columns,
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[text]}"),
                console=console,
                transient=True,
            )
            self._task = self._bar.add_task(title, total=1.0, text="")

    def __enter__(self) -> StageProgress:
        if self._bar:
            self._bar.start()
        else:
            print(f"[{self.title}] started", flush=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()
        sys.stdout.flush()

    def __call__(self, done: float, total: float, text: str = "") -> None:
        if self._bar:
            self._bar.update(self._task, completed=done, total=max(total, 1e-9), text=text)
            return
        now = time.monotonic()
        if now - self._last >= self.every:
            self._last = now
            share = done / total if total else 0.0
            left = f", about {(now - self._start) * (1 - share) / share:.0f} s left" if 0.01 < share < 1 else ""
            print(f"[{self.title}] {share:4.0%} {text}{left}", flush=True)
