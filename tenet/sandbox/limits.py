"""What a program may use, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: passed: it ended with 0. failed: with another code. timeout: of wall or processor time. memory: it ended for want of it.
#: output, disk, threads: it was ended for writing or starting more than it may. killed: by a signal (a segmentation fault).
Status = Literal["passed", "failed", "timeout", "memory", "output", "disk", "threads", "killed"]
MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What a program may use.

    Args:
        seconds: of wall time, from its start to its end.
        cpu_seconds: of processor time, its threads together; in whole seconds, as the kernel counts.
        memory: bytes of address space, the interpreter's own (about 40 MiB) among them.
        threads: at once, the main one among them. It is always one process.
        output: bytes of each of stdout and stderr.
        file: bytes of one file. disk: bytes, and files: number, of all files in its folder; looked at every 20 ms.
    """

    seconds: float = 10.0
    cpu_seconds: int = 10
    memory: int = 512 * MIB
    threads: int = 32
    output: int = MIB
    file: int = 8 * MIB
    disk: int = 32 * MIB
    files: int = 1000

    def __post_init__(self) -> None:
        least = {
            "seconds": 0.01,
            "cpu_seconds": 1,
            "memory": 128 * MIB,
            "threads": 1,
            "output": 1,
            "file": 1,
            "disk": 1,
            "files": 1,
        }
        for name, low in least.items():
            if not getattr(self, name) >= low:
                raise ValueError(f"sandbox: {name} is {getattr(self, name)!r}; it must be {low:g} or more")


@dataclass(frozen=True)
class Outcome:
    """What became of a program.

    Args:
        exit_code: as a shell gives it; minus the signal where one ended it.
        stdout, stderr: no longer than the limit.
        seconds, cpu_seconds: wall and processor time that it took.
        isolated: False where the person who started this allowed running without isolation.
    """

    status: Status
    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    cpu_seconds: float
    isolated: bool = True

    @property
    def reason(self) -> str:
        """Why it did not pass, in words; "" where it did."""
        last = self.stderr.strip().rpartition("\n")[2]
        return {
            "passed": "",
            "failed": last or f"it ended with exit code {self.exit_code}",
            "timeout": f"it took more time than it may ({self.seconds:.1f} s, {self.cpu_seconds:.1f} s of processor time)",
            "memory": "it wanted more memory than it may have",
            "output": "it wrote more to stdout or stderr than it may",
            "disk": "it wrote more, or more files, than it may",
            "threads": "it started more threads than it may",
            "killed": f"it was ended by signal {-self.exit_code}",
        }[self.status]
