"""What each command takes, read from its own help: for whoever checks commands that files and pages tell people to type."""

from __future__ import annotations

import contextlib
import io
import re
from functools import cache


@cache
def flags_of(command: str) -> frozenset[str] | None:
    """Flags that a command's own help shows; None where there is no such command."""
    from tenet.cli.main import main

    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(io.StringIO()):
            if main([*command.split(), "--help"]) != 0:
                return None
    except SystemExit as ended:  # argparse: 0 after its help, 2 after a word that it does not know
        if ended.code:
            return None
    return frozenset(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*(?:\.[\w-]+)*", shown.getvalue()))
