"""What a process does to itself before it runs a program: it gives up every privilege, keeps no descriptor but its own,
sets its limits, and goes under Landlock's rules and the filter of system calls. Nothing of it can be undone.

Where the kernel cannot do that, `missing` says what is missing and why.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from tenet.sandbox import landlock, seccomp
from tenet.sandbox.limits import Limits

_PDEATHSIG, _DUMPABLE, _NO_NEW_PRIVILEGES, _GET_SECCOMP = 1, 4, 38, 21
#: Of capset(2): the version of the interface, for the calling process; and three empty sets.
_CAPABILITIES_V3, _NONE = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
#: As many descriptors as tests need; together with the size of a file this bounds what lies in files that were unlinked.
OPEN_FILES = 64


def libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def missing() -> str:
    """What this machine lacks for isolation, in words; "" where it has all."""
    if sys.platform != "linux":
        return f"Landlock and seccomp are parts of Linux, this is {platform.system()}"
    if platform.machine() not in seccomp.MACHINES:
        return f"the numbers of system calls are known for {' and '.join(seccomp.MACHINES)}, not for {platform.machine()}"
    found = landlock.version(libc())
    if found == 0:
        return f"Landlock: kernel {platform.release()} does not have it (it came with 5.13)"
    if found < 0:
        off = -found == errno.EOPNOTSUPP
        why = "it is switched off (add it to `lsm=` of the kernel's command line)" if off else os.strerror(-found)
        return f"Landlock: {why}; in a container its own filter of system calls may forbid it"
    if libc().prctl(_GET_SECCOMP, 0, 0, 0, 0) < 0:
        return "seccomp: this kernel was built without it"
    return ""


class Confinement:
    """Made once, before the first program; `apply` is for the process that runs one.

    Args:
        folder: of the programs, the one place where they can write.
        isolated: False sets the limits alone.
    """

    def __init__(self, folder: Path, isolated: bool = True) -> None:
        self.isolated, self.parent = isolated, os.getpid()
        self.libc = libc()
        self.machine = platform.machine()
        self.rules = landlock.ruleset(self.libc, folder) if isolated else -1
        if isolated:
            # Looked up and made now, so that each child finds them.
            seccomp.program(self.machine, 0)
            _ = self.libc.prctl, self.libc.capset, self.libc.syscall

    def apply(self, limits: Limits, keep: Iterable[int] = ()) -> None:
        """Confine the calling process, which must have one thread.

        Args:
            keep: descriptors that stay open beside 0, 1 and 2.

        Raises:
            OSError: something was refused; the program must not be run then.
        """
        close_others({0, 1, 2, *keep, self.rules})
        signal.set_wakeup_fd(-1)
        _limit(limits, self.isolated)
        if not self.isolated:
            return
        self._checked("no new privileges", _NO_NEW_PRIVILEGES, 1)
        _drop_capabilities(self.libc)
        self._checked("not dumpable", _DUMPABLE, 0)
        self._checked("end with the parent", _PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self.parent:
            os._exit(1)
        landlock.restrict(self.libc, self.rules)
        seccomp.install(self.libc, seccomp.program(self.machine, os.getpid()))

    def _checked(self, what: str, option: int, value: int) -> None:
        if self.libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), f"prctl ({what}) was refused")


def _limit(limits: Limits, isolated: bool) -> None:
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: max(limits.file, limits.output),
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_AS: limits.memory,
    }
    for kind, value in wanted.items():
        _set(kind, value, value, isolated)
    # At the first second the program is told (SIGXCPU, which ends it), one later it is ended whatever it does.
    _set(resource.RLIMIT_CPU, limits.cpu_seconds, limits.cpu_seconds + 1, isolated)


def _set(kind: int, soft: int, hard: int, isolated: bool) -> None:
    """Never above what this process may have anyway; where isolation was waived, a limit that the system lacks is waived too."""
    _, most = resource.getrlimit(kind)
    hard = hard if most == resource.RLIM_INFINITY else min(hard, most)
    try:
        resource.setrlimit(kind, (min(soft, hard), hard))
    except (OSError, ValueError):
        if isolated:
            raise


def _drop_capabilities(library: ctypes.CDLL) -> None:
    """All of them: root without capabilities is an owner of files and nothing more."""
    if library.capset(_CAPABILITIES_V3, _NONE):
        raise OSError(ctypes.get_errno(), "capabilities could not be given up")


def close_others(keep: set[int]) -> None:
    """Close every descriptor that is not kept."""
    start = 0
    for descriptor in [*sorted(fd for fd in keep if fd >= 0), 65536]:
        if start < descriptor:  # an empty range would close everything
            os.closerange(start, descriptor)
        start = descriptor + 1


def open_doors(folder: Path) -> list[str]:
    """What the calling process, which should be confined, can still do: the attempts that did not fail."""
    attempts: dict[str, Callable[[], object]] = {
        "read /etc/passwd": lambda: os.open("/etc/passwd", os.O_RDONLY),
        "list /": lambda: os.listdir("/"),
        "read another process": lambda: os.open(f"/proc/{os.getppid()}/environ", os.O_RDONLY),
        "write beside its folder": lambda: os.open(folder.parent / f"{folder.name}.out", os.O_CREAT | os.O_WRONLY, 0o600),
        "change modes": lambda: os.chmod(folder, 0o700),
        "send signals": lambda: os.kill(os.getppid(), 0),
        "start a process": lambda: os.fork() or os._exit(0),
        "start a program": lambda: os.execv("/bin/true", ["true"]),
        "open a socket": _socket,
        "raise its limits": lambda: resource.setrlimit(resource.RLIMIT_AS, resource.getrlimit(resource.RLIMIT_AS)),
    }
    return [name for name, attempt in attempts.items() if _succeeds(attempt)]


def _socket() -> None:
    import socket

    socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()


def _succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, ValueError):  # a limit that may not be raised is a ValueError
        return False
    return True
