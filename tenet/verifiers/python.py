"""A verifier of one's own: a Python function, by file or by module.

    {"kind": "python", "function": "my_rewards.py:haiku"}      the file lies beside the data
    {"kind": "python", "function": "my_package.rewards:haiku"}

    def haiku(row: dict, text: str, tool_calls: list) -> float | bool | dict:
        return text.count("\\n") == 2          # a dict is {"score": ..., "and": ..., "parts": ...}

It runs as the person who started the command does, without a fence; so it is taken from files on this machine alone, never from rows of a hub.
What goes wrong in it is the answer's error, with its file and line, and a score of 0; it never ends a training.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import math
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tenet.verifiers.verifier import Calls, Row, Verdict, options

Function = Callable[..., Any]


class Python:
    """Spec: `function`, "file.py:name" or "module:name"."""

    def read(self, spec: Row, row: Row, folder: Path | None) -> Row:
        options(spec, {"function": str, "folder": str})
        if folder is None:
            raise ValueError("python: rows of a data set on the hub may not name code; save them as a file and look at it first")
        spec = {**spec, "folder": str(folder)}
        if not isinstance(spec.get("function"), str) or ":" not in spec["function"]:
            raise ValueError(f"python: function is {spec.get('function')!r}; write file.py:name or module:name")
        load_function(spec["function"], spec["folder"])
        return spec

    def verify(self, spec: Row, row: Row, text: str, calls: Calls) -> Verdict:
        return judged(load_function(spec["function"], spec["folder"]), spec["function"], row, text, calls)


class Own:
    """A plain function as a verifier: what a domain's rows.py offers in VERIFIERS. It reads the row itself; the spec is
    its kind alone."""

    def __init__(self, function: Function) -> None:
        self.function = function

    def read(self, spec: Row, row: Row, folder: Path | None) -> Row:
        return spec

    def verify(self, spec: Row, row: Row, text: str, calls: Calls) -> Verdict:
        return judged(self.function, spec["kind"], row, text, calls)


def judged(function: Function, name: str, row: Row, text: str, calls: Calls) -> Verdict:
    """What a function says of an answer; its exceptions and its impossible scores are the answer's error."""
    try:
        result = function(row, text, list(calls))
        parts = dict(result) if isinstance(result, dict) else {"score": result}
        given = {str(part): float(value) for part, value in parts.items()}
    except Exception as error:
        return Verdict(0.0, {}, [_told(name, error)], failed=True)
    wrong = [part for part, value in given.items() if not (math.isfinite(value) and 0 <= value <= 1)]
    if wrong or "score" not in given:
        what = f"{wrong[0]} is {given[wrong[0]]!r}, not from 0 to 1" if wrong else "there is no `score`"
        return Verdict(0.0, {}, [f"{name} gave {result!r}: {what}"], failed=True)
    return Verdict(given.pop("score"), given)


@functools.cache
def load_function(name: str, folder: str) -> Function:
    """The function that `file.py:name` (in a folder) or `module:name` names; read once.

    Raises:
        ValueError: it cannot be imported, or there is none of that name.
    """
    place, _, function = name.rpartition(":")
    try:
        if place.endswith(".py"):
            path = Path(folder) / place
            if not path.is_file():
                raise ValueError(f"python: {path} does not exist")
            spec = importlib.util.spec_from_file_location(f"tenet_verifier_{path.stem}", path)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(place)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"python: {_told(place, error)}") from None
    found = getattr(module, function, None)
    if not callable(found):
        raise ValueError(f"python: {place} has no function {function!r}")
    called: Function = found
    return called


def _told(name: str, error: Exception) -> str:
    """`my_rewards.py:12: ZeroDivisionError: division by zero`, the line in the code of the verifier's author."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else name
    if isinstance(error, SyntaxError) and error.lineno:
        place = f"{Path(error.filename or name).name}:{error.lineno}"
    return f"{place}: {type(error).__name__}: {error}"
