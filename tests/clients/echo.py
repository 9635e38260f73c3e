"""`tenet` with an echo engine that takes its time, so that a client can leave in the middle of an answer."""

from __future__ import annotations

import sys
from functools import partial

from tenet.cli.main import main
from tenet.serving.engines import echo

#: 2,000 tokens take eight seconds: longer than any client needs until it has asked and left.
STEP_SECONDS = 0.004

if __name__ == "__main__":
    echo.EchoEngine = partial(echo.EchoEngine, step_seconds=STEP_SECONDS)  # type: ignore[assignment, misc]
    sys.exit(main())
