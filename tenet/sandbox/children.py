"""What a forked process does: take its files, confine itself, and run a program, the tested code, or the tests."""

from __future__ import annotations

import atexit
import contextlib
import json
import linecache
import os
import sys
import traceback
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tenet.sandbox.dialogue import Left
from tenet.sandbox.limits import Limits
from tenet.sandbox.tested import Tested
from tenet.sandbox.tester import Tests

Apply = Callable[[Limits, Iterable[int]], None]
FILE = "<program>"
#: How deep Python may recurse: its usual figure, and the frames of ours below a program.
RECURSION = 1000 + 20


def settle(folder: Path) -> None:
    """What is the same for every program, done once before the first is forked: every page that a child need not write saves
    it a hundredth of a millisecond."""
    os.chdir(folder)
    os.environ.update(HOME=str(folder), TMPDIR=str(folder))
    sys.argv = ["program.py"]
    sys.stdin = os.fdopen(0, encoding="utf-8", errors="replace", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]
    sys.setrecursionlimit(RECURSION)
    # The modules of ours, and what they wanted done at the end, are no part of a program.
    atexit._clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "tenet"]:
        del sys.modules[name]
    sys.modules["__main__"] = types.ModuleType("__main__")


def run_program(apply: Apply, limits: Limits, files: Mapping[str, int]) -> int:
    """A whole program, as `python program.py` runs it; gives its exit code."""
    program = _read(files["program"])
    _stand(files["stdin"], files["stdout"], files["stderr"])
    apply(limits, ())
    linecache.cache[FILE] = (len(program), None, program.splitlines(keepends=True), FILE)
    return _exit_code(lambda: exec(compile(program, FILE, "exec", dont_inherit=True), sys.modules["__main__"].__dict__))


def run_tested(apply: Apply, limits: Limits, files: Mapping[str, int], channel: int) -> int:
    """The code that is tested; it answers on the channel until the tests have ended."""
    program = _read(files["program"])
    _stand(files["stdin"], files["stdout"], files["stderr"])
    apply(limits, (channel,))
    tested = Tested(channel)

    def until_nobody_asks() -> None:
        with contextlib.suppress(Left):
            tested.run(program)

    return _exit_code(until_nobody_asks)


def run_tests(apply: Apply, limits: Limits, files: Mapping[str, int], channel: int) -> int:
    """The tests; what came of them goes into the client's file."""
    wanted, verdict = json.loads(_read(files["tests"])), os.dup(files["verdict"])
    nowhere = os.open(os.devnull, os.O_RDWR)
    _stand(nowhere, nowhere, nowhere)
    apply(limits, (channel, verdict))
    found = Tests(channel, wanted).run()
    os.pwrite(verdict, json.dumps(found).encode(), 0)
    return 0


def _read(descriptor: int) -> str:
    """The whole of a file, read past Python's own buffers."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode("utf-8", "surrogatepass")


def _stand(*descriptors: int) -> None:
    """Make these 0, 1 and 2."""
    for place, descriptor in enumerate(descriptors):
        os.dup2(descriptor, place)


def _exit_code(work: Callable[[], Any]) -> int:
    """Do it, and end as Python would: an uncaught exception is printed, threads are waited for, `atexit` is called."""
    code = 0
    try:
        work()
    except SystemExit as leaving:
        code = _code(leaving.code)
    except BaseException as error:
        code = 1
        trace = error.__traceback__
        while trace and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        traceback.print_exception(type(error), error, trace)
    try:
        if threading := sys.modules.get("threading"):
            threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        code = code or 120  # as Python has it where its output could not be written
    return code


def _code(given: Any) -> int:
    """Of `sys.exit`: nothing is 0, a number is itself, words are printed and make 1."""
    if given is None or isinstance(given, int):
        return (given or 0) & 0xFF
    print(given, file=sys.stderr)
    return 1
