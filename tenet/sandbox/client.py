"""The caller's side: one bare Python (the zygote) for each thread that runs programs, started when it is first needed, kept,
and ended with the caller.

    outcome = run_python("print(input())", stdin="hello")
    judgement = judge("def twice(x): return 2 * x", asserts=["assert twice(2) == 4"])
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from tenet.errors import ConfigError, StageError
from tenet.sandbox.folder import remove
from tenet.sandbox.limits import Limits, Outcome, Status
from tenet.sandbox.tester import open_names

#: Set to "none", programs run with limits of time and memory and without isolation, as the person who set it. Nothing sets it.
SETTING = "TENET_SANDBOX"
#: A place in memory, where the system has one: nothing that programs write reaches a disk, and tidying up takes no time.
_MEMORY = "/dev/shm"
#: Seconds beyond a program's own in which the zygote must have answered, on a machine that is busy.
_GRACE = 60.0
_START = """
import sys
sys.path.insert(0, sys.argv.pop())
from tenet.sandbox.zygote import main
del sys.path[0]
main()
"""


class SandboxError(StageError):
    """The process that runs programs did not do its part; no program can bring this about."""


@dataclass(frozen=True)
class Judgement:
    """What tests said of an answer.

    Args:
        passed, of: tests that passed, of how many.
        runs: the answer could be run at all, before the first test.
        reason: why not all passed, in words.
        outcome: of the process that held the answer.
    """

    passed: int
    of: int
    runs: bool
    reason: str
    outcome: Outcome

    @property
    def right(self) -> bool:
        return self.passed == self.of


def run_python(program: str, *, stdin: str = "", limits: Limits | None = None) -> Outcome:
    """Run a program where it can do no harm.

    Raises:
        ConfigError: this machine cannot isolate, and nobody allowed running without.
        SandboxError: see there.
    """
    limits = limits or Limits()
    with _idle() as zygote, _Files(("program", "stdin", "stdout", "stderr")) as files:
        files.write("program", program)
        files.write("stdin", stdin)
        return _outcome(zygote.run(limits, files), files, limits, zygote.isolated)


def judge(
    program: str,
    *,
    asserts: Sequence[str] = (),
    test: str = "",
    entry_point: str = "",
    setup: str = "",
    prefix: str = "",
    names: Sequence[str] = (),
    limits: Limits | None = None,
) -> Judgement:
    """Run an answer, and tests of it in a process apart.

    Args:
        asserts: source of one test each; or
        test: source that defines `check(candidate)`, called with the answer's `entry_point`; without that, run as it is.
        setup: source that runs before the tests, among them.
        prefix: source that stands before the answer and can be trusted; the tests use what it defines.
        names: what certainly is the answer's, even where Python has the same name.

    Raises:
        SyntaxError: the tests are no Python.
        ConfigError, SandboxError: as `run_python`.
    """
    limits = limits or Limits()
    sources = list(asserts) or [f"{test}\n\ncheck({entry_point})\n" if entry_point else test]
    open_, modules = open_names("\n".join([setup, *sources]))
    names = sorted({*names, *([entry_point] if entry_point else [])})
    wanted = {
        "sources": sources,
        "setup": setup,
        "prefix": prefix,
        "names": names,
        "open": sorted(open_),
        "modules": sorted(modules),
    }
    with _idle() as zygote, _Files(("program", "stdin", "stdout", "stderr", "tests", "verdict")) as files:
        files.write("program", program)
        files.write("tests", json.dumps(wanted))
        report = zygote.run(limits, files)
        outcome = _outcome(report, files, limits, zygote.isolated)
        return _judgement(report, files.read("verdict", limits.output), outcome, len(sources))


def _judgement(report: dict[str, Any], verdict: str, outcome: Outcome, total: int) -> Judgement:
    if not verdict or report["cause"]:
        reason = outcome.reason if report["cause"] else f"the tests gave no verdict (exit code {report['tests_exit']})"
        return Judgement(0, total, True, reason, outcome)
    said = json.loads(verdict)
    # Where it ended while it was asked, the way it ended says more.
    reason = (said["left"] and outcome.reason) or said["reason"]
    return Judgement(said["passed"], said["of"], said["runs"], reason, outcome)


def _outcome(report: dict[str, Any], files: _Files, limits: Limits, isolated: bool) -> Outcome:
    stdout, stderr = files.read("stdout", limits.output), files.read("stderr", limits.output)
    spent = (report["seconds"], report["cpu_seconds"])
    return Outcome(_status(report, stderr), report["exit"], stdout, stderr, *spent, isolated)


def _status(report: dict[str, Any], stderr: str) -> Status:
    if report["cause"]:
        status: Status = report["cause"]
        return status
    if report["exit"] == 0:
        return "passed"
    if report["exit"] == -24:  # SIGXCPU
        return "timeout"
    last = stderr.rstrip().rpartition("\n")[2]
    return "killed" if report["exit"] < 0 else "memory" if last.startswith("MemoryError") else "failed"


class _Files:
    """Files without a name, by which programs and what they write come and go past the zygote."""

    def __init__(self, names: Sequence[str]) -> None:
        self.files: dict[str, IO[bytes]] = {name: _nameless(name) for name in names}

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files.values():
            file.close()

    def write(self, name: str, text: str) -> None:
        file = self.files[name]
        file.write(text.encode("utf-8", "surrogatepass"))
        file.seek(0)

    def read(self, name: str, most: int) -> str:
        return os.pread(self.files[name].fileno(), most, 0).decode("utf-8", "replace")


def _nameless(name: str) -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create(name), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


class _Zygote:
    """The process, and the socket to it.

    Raises:
        ConfigError: this machine cannot isolate, or what it promises does not hold.
    """

    def __init__(self) -> None:
        self.isolated = _isolated()
        if not self.isolated:
            print(f"{SETTING}=none: code that a model wrote runs without isolation, as yourself", file=sys.stderr)
        self.control, theirs = socket.socketpair()
        self.folder = Path(
            tempfile.mkdtemp(prefix="tenet-sandbox-", dir=_MEMORY if os.access(_MEMORY, os.W_OK | os.X_OK) else None)
        )
        root = Path(__file__).resolve().parents[2]
        words = [str(theirs.fileno()), str(self.folder), "isolated" if self.isolated else "none", str(root)]
        self.errors = _nameless("errors")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-S", "-s", "-B", "-c", _START, *words],
            env={"PYTHONHASHSEED": "0", "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"},
            cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.errors,
            pass_fds=(theirs.fileno(),), start_new_session=True,
        )  # fmt: skip
        theirs.close()
        try:
            ready = self._receive(_GRACE)
        except BaseException:
            self.close()
            raise
        if lacking := ready.get("missing") or ", ".join(ready["open"]):
            self.close()
            what = f"this machine lacks {lacking}" if "missing" in ready else f"a confined process could still {lacking}"
            raise ConfigError(
                f"code that a model wrote cannot be run safely here: {what}. Run on Linux 5.13 or later with Landlock, on x86_64 or "
                f"aarch64; or set {SETTING}=none in the environment to run it without isolation, as yourself, on your own responsibility"
            )

    def run(self, limits: Limits, files: _Files) -> dict[str, Any]:
        """One program.

        Raises:
            SandboxError: the zygote ended, or could not confine.
        """
        request = {"limits": asdict(limits), "files": list(files.files)}
        try:
            socket.send_fds(self.control, [json.dumps(request).encode()], [file.fileno() for file in files.files.values()])
            report = self._receive(limits.seconds + _GRACE)
        except OSError as error:
            raise self._lost(str(error)) from None
        if report["not_confined"]:
            raise SandboxError(f"a program was not run since it could not be confined: {files.read('stderr', 2000).strip()}")
        return report

    def _receive(self, seconds: float) -> dict[str, Any]:
        self.control.settimeout(seconds)
        said = b""
        while not said.endswith(b"\n"):
            part = self.control.recv(1 << 16)
            if not part:
                raise self._lost("it ended")
            said += part
        message: dict[str, Any] = json.loads(said)
        return message

    def _lost(self, why: str) -> SandboxError:
        self.errors.seek(0)
        last = self.errors.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
        return SandboxError(f"the sandbox's own process: {why}{': ' if last else ''}{last}; run the same command again")

    def close(self) -> None:
        """End it, and whatever it runs."""
        self.control.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.errors.close()
        remove(self.folder)


def _isolated() -> bool:
    said = os.environ.get(SETTING, "")
    if said not in ("", "none"):
        raise ConfigError(f"{SETTING} is {said!r}; leave it out for isolation, or set it to none to run without")
    return not said


# --- those that are kept ---------------------------------------------------------------------------------------------

_kept: list[_Zygote] = []
_owner = os.getpid()
_lock = threading.Lock()


@contextlib.contextmanager
def _idle() -> Iterator[_Zygote]:
    """A zygote that nobody else uses meanwhile; one that was left in the middle of something is not kept."""
    zygote = _taken() or _Zygote()
    try:
        yield zygote
    except BaseException:
        zygote.close()
        raise
    with _lock:
        _kept.append(zygote)


def _taken() -> _Zygote | None:
    """One that is kept and as isolated as is now asked for; those of a process that this one was forked from are not ours."""
    global _owner
    isolated = _isolated()
    with _lock:
        if _owner != os.getpid():
            _kept.clear()
            _owner = os.getpid()
        while _kept:
            zygote = _kept.pop()
            if zygote.process.poll() is None and zygote.isolated == isolated:
                return zygote
            zygote.close()
    return None


def require() -> None:
    """See to it that programs can be run, before anything else is started.

    Raises:
        ConfigError: as `run_python`.
    """
    with _idle():
        pass


@atexit.register
def shut() -> None:
    """End all that is kept; the next program starts anew."""
    if _owner == os.getpid():
        with _lock:
            while _kept:
                _kept.pop().close()
