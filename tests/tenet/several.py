"""One of several processes that execute a stage without learning anything: `python -m tests.tenet.several RUN HOW`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from lightning_modules.distributed import ranks
from tenet.errors import ConfigError, Interrupted, StageError, TenetError
from tenet.files import write_text
from tenet.runs.execute import execute
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace


@dataclass(frozen=True)
class Config:
    how: str = ""


def body(config: Config, ws: Workspace) -> Summary:
    """Notes who was here, meets the others, and ends as it was told."""
    (ws.run / f"here-{ws.stage}-{ranks.rank()}").touch()
    write_text(ws.dir / "out.txt", f"written by {ranks.rank()}")
    last = ranks.rank() == ranks.world() - 1
    if config.how == "first fails" and ranks.is_first():
        raise StageError("the first one's error")
    if config.how == "last fails" and last:
        raise ConfigError("the last one's error")
    if config.how == "last interrupted" and last:
        raise Interrupted("the last one's word")
    if config.how == "last killed" and last:
        os.kill(os.getpid(), signal.SIGKILL)
    if ws.stage != "alone":
        ranks.gather(None)
    return Summary("made", [Figure("answer", 42)])


def main() -> int:
    """As `tenet.cli.main` ends."""
    run, how = Path(sys.argv[1]), sys.argv[2]
    try:
        for stage in ("together", "together", "alone") if not how else ("together",):
            start = time.monotonic()
            record = execute(run, stage, (), Config(how), body, seed=0, distributed=stage == "together")
            print(json.dumps([stage, record["fingerprint"], record["processes"], time.monotonic() - start]), flush=True)
    except TenetError as error:
        print(("relayed: " if getattr(error, "relayed", False) else "") + str(error), file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
