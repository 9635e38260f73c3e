"""The process from which every program is forked: a bare Python that has loaded what programs import and holds nothing that
a program should not see.

It is started by tenet/sandbox/client.py with an empty environment and sees neither programs nor tests nor outputs: those lie
in files that the client made and that the forked processes alone read and write. Otherwise an answer could look through what
is left in memory of the tests, or of another answer to the same question. All that it does is fork, watch the limits, end
what is left and tidy up.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tenet.sandbox import children, folder
from tenet.sandbox.confinement import Confinement, missing, open_doors
from tenet.sandbox.limits import Limits

#: Imported before the first fork, so that a program does not pay for it. Not `threading` and `random`, nor what imports them
#: (`queue`, `statistics`): each has work to do after every fork, a millisecond together, and few programs want them.
LOADED = (
    "_ctypes", "_decimal", "_hashlib", "_random", "array", "ast", "bisect", "calendar", "cmath", "collections", "contextlib", "copy",
    "ctypes", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools", "hashlib", "heapq", "inspect", "io",
    "itertools", "json", "linecache", "math", "numbers", "operator", "re", "string", "struct", "textwrap", "time",
    "traceback", "types", "typing", "unicodedata",
)  # fmt: skip
#: Seconds between two looks at limits that the kernel does not keep.
TICK = 0.02


@dataclass
class Child:
    """A forked process and what is known of it.

    Args:
        status: as `os.wait4` gives it, once it has ended.
        descriptor: readable when it has ended; -1 where the system has no such thing.
        confined: pipe into which it writes when it is confined, before it runs anything that is not ours.
    """

    pid: int
    status: int | None = None
    cpu_seconds: float = 0.0
    descriptor: int = -1
    confined: int = -1


@dataclass
class Run:
    """What is being watched: the main process, and the tests' where there are some; the last one decides when it is over."""

    limits: Limits
    main: Child
    tests: Child | None = None
    outputs: tuple[int, ...] = ()
    began: float = field(default_factory=time.monotonic)
    cause: str = ""
    waited: bool = False

    @property
    def all(self) -> list[Child]:
        return [child for child in (self.main, self.tests) if child]

    @property
    def over(self) -> bool:
        return all(child.status is not None for child in self.all) if self.tests is None else self.tests.status is not None


class Zygote:
    """Serves one client, one program at a time.

    Args:
        control: socket to the client.
        place: the folder of the programs; the client made it.
        isolated: False where the client was allowed to do without.
    """

    def __init__(self, control: socket.socket, place: Path, isolated: bool) -> None:
        self.control, self.folder = control, place
        self.confinement = Confinement(self.folder, isolated)
        self.parent = os.getppid()
        for name in LOADED:
            importlib.import_module(name)
        children.settle(self.folder)
        gc.collect()
        gc.freeze()

    def serve(self) -> None:
        """Answer requests until the client has ended."""
        try:
            self._say({"open": self._probe()})
            while True:
                message, descriptors, *_ = socket.recv_fds(self.control, 1 << 16, 8)
                if not message:
                    return
                self._say(self._run(json.loads(message), descriptors))
        finally:
            folder.remove(self.folder)

    def _say(self, message: dict[str, Any]) -> None:
        self.control.sendall(json.dumps(message).encode() + b"\n")

    def _probe(self) -> list[str]:
        """What a confined process can still do that it should not: nothing, else no program is run."""
        if not self.confinement.isolated:
            return []
        reader, writer = os.pipe()

        def look(apply: children.Apply) -> int:
            apply(Limits(), (writer,))
            os.write(writer, json.dumps(open_doors(self.folder)).encode())
            return 0

        child = self._fork(look)
        os.close(writer)
        said = os.read(reader, 1 << 16)
        os.close(reader)
        _wait(child)
        found: list[str] = (
            json.loads(said)
            if said and child.status == 0
            else [f"do what nobody could look at: the trial ended with status {child.status}"]
        )
        return found

    def _run(self, request: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        """One program, from its start to a folder that is empty again."""
        limits = Limits(**request["limits"])
        files = dict(zip(request["files"], descriptors, strict=True))
        try:
            run = self._start(limits, files)
            self._watch(run)
            seconds = time.monotonic() - run.began
            unconfined = not all([_was_confined(child) for child in run.all])
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
            folder.empty(self.folder)
        return {
            "cause": run.cause,
            "not_confined": unconfined,
            "exit": 0 if run.waited else os.waitstatus_to_exitcode(run.main.status or 0),
            "tests_exit": None if run.tests is None else os.waitstatus_to_exitcode(run.tests.status or 0),
            "seconds": seconds,
            "cpu_seconds": sum(child.cpu_seconds for child in run.all),
        }

    def _start(self, limits: Limits, files: dict[str, int]) -> Run:
        """Fork what is needed. Each process is given its own files, and closes all others before it runs anything."""
        outputs = (files["stdout"], files["stderr"])
        if "tests" not in files:
            main = self._fork(lambda apply: children.run_program(apply, limits, files))
            return Run(limits, main, outputs=outputs)
        answer, tests = socket.socketpair()
        with answer, tests:
            main = self._fork(lambda apply: children.run_tested(apply, limits, files, answer.fileno()))
            judge = self._fork(lambda apply: children.run_tests(apply, limits, files, tests.fileno()))
        return Run(limits, main, judge, outputs)

    def _fork(self, work: Callable[[children.Apply], int]) -> Child:
        """A process that does some work and ends with the code that it gives; the work confines it by what it is handed."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writer)
            return Child(pid, descriptor=_end_descriptor(pid), confined=reader)

        def apply(limits: Limits, keep: Iterable[int]) -> None:
            self.confinement.apply(limits, (*keep, writer))
            os.write(writer, b"1")
            os.close(writer)

        code = 1
        try:
            os.setsid()
            code = work(apply)
        except BaseException as error:
            # Only what is ours can fail here; a program's own errors are caught where it runs.
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)

    # --- watching ----------------------------------------------------------------------------------------------------

    def _watch(self, run: Run) -> None:
        """Wait for the end, and bring it about where a limit is passed or the client is gone."""
        pause = TICK if run.main.descriptor >= 0 else TICK / 5
        waiting = selectors.DefaultSelector()
        waiting.register(self.control, selectors.EVENT_READ, None)
        for child in run.all:
            if child.descriptor >= 0:
                waiting.register(child.descriptor, selectors.EVENT_READ, child)
        try:
            while not run.over and not run.cause:
                left = run.limits.seconds - (time.monotonic() - run.began)
                for key, _ in waiting.select(max(0.0, min(pause, left))):
                    if key.data is None:  # nothing is asked while a program runs: the client has ended
                        run.cause = "client"
                    elif _wait(key.data, os.WNOHANG):
                        waiting.unregister(key.fd)
                run.cause = run.cause or self._passed_limit(run)
        finally:
            waiting.close()
            seen = run.main.status
            for child in run.all:
                _end(child, self.confinement.isolated)
            # Tests that are through leave the answer waiting for the next question: that is no end of its own. One that was
            # ending already keeps the status that it had given itself.
            run.waited = seen is None and run.main.status == signal.SIGKILL and not run.cause

    def _passed_limit(self, run: Run) -> str:
        """The limit that was passed, or ""."""
        for child in run.all:
            if child.descriptor < 0:
                _wait(child, os.WNOHANG)
        if run.over:
            return ""
        if time.monotonic() - run.began >= run.limits.seconds:
            return "timeout"
        if any(os.fstat(descriptor).st_size > run.limits.output for descriptor in run.outputs):
            return "output"
        if folder.holds_more(self.folder, run.limits.disk, run.limits.files):
            return "disk"
        return "threads" if any(_threads(child) > run.limits.threads for child in run.all) else ""


def _threads(child: Child) -> int:
    """How many a process has; 0 where it has ended, or nobody says."""
    try:
        return len(os.listdir(f"/proc/{child.pid}/task"))
    except OSError:
        return 0


def _end_descriptor(pid: int) -> int:
    """One that is readable when a process has ended; -1 where the system, or a container's filter, does not give any."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def _was_confined(child: Child) -> bool:
    """Did an ended process say so? What could not be confined has run nothing."""
    said = os.read(child.confined, 1)
    os.close(child.confined)
    return said == b"1"


def _wait(child: Child, options: int = 0) -> bool:
    """Has it ended? Then what it used is noted."""
    if child.status is not None:
        return True
    pid, status, used = os.wait4(child.pid, options)
    if pid:
        child.status, child.cpu_seconds = status, used.ru_utime + used.ru_stime
        if child.descriptor >= 0:
            os.close(child.descriptor)
    return bool(pid)


def _end(child: Child, isolated: bool) -> None:
    """Nothing of it is there afterwards. Without isolation it may have started others; those of its group end with it."""
    if child.status is None:
        os.kill(child.pid, signal.SIGKILL)
    if not isolated:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    _wait(child)


def main() -> None:
    """Serve on the descriptor that the command line names."""
    descriptor, place, isolated = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "isolated"
    lacking = missing() if isolated else ""
    control = socket.socket(fileno=descriptor)
    if lacking:
        control.sendall(json.dumps({"missing": lacking}).encode() + b"\n")
        return
    Zygote(control, place, isolated).serve()
