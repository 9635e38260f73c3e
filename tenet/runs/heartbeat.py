"""Signs of life of a stage at work, for whoever looks at the run folder: `run_stage` leaves them, `tenet watch` reads
them."""

from __future__ import annotations

import math
import time
from pathlib import Path

from tenet.files import write_json
from tenet.runs.workspace import Progress

FILE = "progress.json"
#: Seconds between two writes.
EVERY = 2.0


class Heartbeat:
    """Passes progress on and leaves it in the run folder, at most every `EVERY` seconds.

    Args:
        run: run folder.
        stage: the one that runs.
        tell: where progress goes beside the file.
    """

    def __init__(self, run: Path, stage: str, tell: Progress | None = None) -> None:
        self.path, self.stage, self.tell = run / FILE, stage, tell
        self._last, self._first = -math.inf, (0.0, 0.0)

    def __call__(self, done: float, total: float, text: str = "") -> None:
        """`Progress`."""
        if self.tell:
            self.tell(done, total, text)
        now = time.time()
        if self._last == -math.inf:
            self._first = (now, done)
        if now - self._last >= EVERY:
            self._last = now
            (since, first) = self._first
            content = {
                "stage": self.stage,
                "done": done,
                "total": total,
                "text": text,
                "time": now,
                "since": since,
                "first": first,
            }
            write_json(self.path, content)
