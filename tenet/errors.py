"""The three ways a stage ends badly, each with its exit code.

A message names the key or file, the value found and the way out, so that nobody has to read a traceback.
"""

from __future__ import annotations

DONE, FAILED, BAD_CONFIG, INTERRUPTED = 0, 1, 2, 75


class TenetError(Exception):
    """Base of every error that is meant for the person at the keyboard: shown without a traceback."""

    exit_code = FAILED


class ConfigError(TenetError):
    """A setting is wrong; nothing was started."""

    exit_code = BAD_CONFIG


class StageError(TenetError):
    """A stage could not finish; what it had written so far is kept and the next start goes on from there."""

    exit_code = FAILED


class Interrupted(TenetError):
    """SIGTERM or Ctrl-C arrived, the state was saved; the same command goes on (EX_TEMPFAIL of sysexits.h)."""

    exit_code = INTERRUPTED
