"""The filter of system calls: a program for the kernel's small machine (classic BPF), put together here and installed with
`prctl`; from then on it holds for the process and all its threads, and cannot be taken off.

Everything is refused that is not named: whatever starts a process or another program, opens a socket, changes modes, owners or
times of files, sets limits, traces, mounts, or loads into the kernel; `memfd_create` and System V memory, which no limit of
ours counts; `io_uring`, which goes around filters. Source: Documentation/userspace-api/seccomp_filter.rst of the kernel, and
`seccomp(2)`.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import struct
from dataclasses import dataclass

# --- which calls: (number on x86_64, on aarch64), None where the machine has none; from unistd_64.h and asm-generic/unistd.h ---------

Numbers = dict[str, tuple[int, int | None]]

# fmt: off
FILES: Numbers = {
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67), "pwrite64": (18, 68),
    "preadv": (295, 69), "pwritev": (296, 70), "close": (3, 57), "close_range": (436, 436), "fstat": (5, 80), "stat": (4, None),
    "lstat": (6, None), "newfstatat": (262, 79), "statx": (332, 291), "access": (21, None), "faccessat": (269, 48),
    "faccessat2": (439, 439), "creat": (85, None), "lseek": (8, 62), "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50),
    "getdents": (78, None), "getdents64": (217, 61), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None),
    "unlink": (87, None), "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "symlink": (88, None), "symlinkat": (266, 36), "readlink": (89, None), "readlinkat": (267, 78), "ftruncate": (77, 46),
    "fsync": (74, 82), "fdatasync": (75, 83), "flock": (73, 32), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24),
    "pipe": (22, None), "pipe2": (293, 59), "statfs": (137, 43), "fstatfs": (138, 44), "sendfile": (40, 71),
    "copy_file_range": (326, 285), "fadvise64": (221, 223), "umask": (95, 166),
}
MEMORY: Numbers = {
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "madvise": (28, 233), "brk": (12, 214),
}
TIME_AND_SIGNALS: Numbers = {
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133), "sigaltstack": (131, 132), "pause": (34, None), "alarm": (37, None),
    "setitimer": (38, 103), "getitimer": (36, 102), "nanosleep": (35, 101), "clock_nanosleep": (230, 115),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153),
    "restart_syscall": (219, 128),
}
THREADS_AND_SELF: Numbers = {
    "getrusage": (98, 165), "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "getcpu": (309, 168), "futex": (202, 98),
    "set_robust_list": (273, 99), "set_tid_address": (218, 96), "rseq": (334, 293), "exit": (60, 93), "exit_group": (231, 94),
    "wait4": (61, 260), "waitid": (247, 95), "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173),
    "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "getgroups": (115, 158),
    "getresuid": (118, 148), "getresgid": (120, 150), "getpgrp": (111, None), "getpgid": (121, 155), "getsid": (124, 156),
    "uname": (63, 160), "sysinfo": (99, 179), "getrandom": (318, 278), "arch_prctl": (158, None), "getrlimit": (97, 163),
}
#: On pairs of sockets that are connected to each other alone; nothing here makes another.
WAITING: Numbers = {
    "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72), "epoll_create": (213, None),
    "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None), "epoll_pwait": (281, 22),
    "eventfd2": (290, 19), "sendto": (44, 206), "recvfrom": (45, 207), "sendmsg": (46, 211), "recvmsg": (47, 212),
    "shutdown": (48, 210), "getsockopt": (55, 209), "getsockname": (51, 204), "getpeername": (52, 205),
}
#: Allowed with some arguments and refused with others (`checks` says which).
JUDGED: Numbers = {
    "open": (2, None), "openat": (257, 56), "clone": (56, 220), "kill": (62, 129), "tgkill": (234, 131), "fcntl": (72, 25),
    "ioctl": (16, 29), "prctl": (157, 167), "prlimit64": (302, 261), "socketpair": (53, 199),
}
#: The C library knows another way where these are said not to exist; their arguments lie in memory, where a filter cannot look.
ABSENT: Numbers = {"clone3": (435, 435), "openat2": (437, 437)}
# fmt: on

ALLOWED: Numbers = {**FILES, **MEMORY, **THREADS_AND_SELF, **TIME_AND_SIGNALS, **WAITING}

# --- the filter ------------------------------------------------------------------------------------------------------

#: What the kernel calls a machine (linux/audit.h), and which column of the tables is its.
MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_LOAD, _AND, _EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
_UNKNOWN = 0x00050000 | errno.ENOSYS
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16

#: A thread shares all with its process; none of these makes a namespace (sched.h: CLONE_THREAD, and every CLONE_NEW*).
_THREAD, _NAMESPACES = 0x00010000, 0x7E020080
_O_TRUNC, _O_ACCMODE = 0o1000, 0o3
#: fcntl: copies, flags, locks, the size of a pipe. Not F_SETOWN and F_SETSIG, by which any process can be sent any signal.
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030, 1032)
#: ioctl: is it a terminal, its size, bytes that wait, blocking or not, closed on exec or not.
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
#: prctl: a thread's name, and the names of memory areas (a hint of the C library's).
_PRCTL = (15, 16, 0x53564D41)


@dataclass(frozen=True)
class Check:
    """The low 32 bits of an argument, masked, are among some values (or are none of them)."""

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    among: bool = True
    high: bool = False

    def code(self) -> list[tuple[int, int, int, int]]:
        """Instructions that go on behind themselves where the check holds, else refuse."""
        place, last = _ARGUMENTS + 8 * self.argument + 4 * self.high, len(self.values) - 1
        # A jump is counted from the next instruction: over the comparisons that are left, and over the refusal or not.
        compare = [
            (_EQUAL, last - i + self.among, int(i == last and not self.among), value) for i, value in enumerate(self.values)
        ]
        return [(_LOAD, 0, 0, place), (_AND, 0, 0, self.mask), *compare, (_RETURN, 0, 0, _REFUSE)]


def checks(pid: int) -> dict[str, tuple[Check, ...]]:
    """Which arguments are allowed, for the process with this number."""
    nothing = (Check(0, (0,)), Check(2, (0,)), Check(2, (0,), high=True))
    return {
        # Reading with O_TRUNC empties a file, and Landlock minds that from kernel 6.2 on alone.
        "open": (Check(1, (_O_TRUNC,), _O_TRUNC | _O_ACCMODE, among=False),),
        "openat": (Check(2, (_O_TRUNC,), _O_TRUNC | _O_ACCMODE, among=False),),
        "clone": (Check(0, (_THREAD,), _THREAD | _NAMESPACES),),
        "kill": (Check(0, (pid,)),),
        "tgkill": (Check(0, (pid,)),),
        "fcntl": (Check(1, _FCNTL),),
        "ioctl": (Check(1, _IOCTL),),
        "prctl": (Check(0, _PRCTL),),
        "prlimit64": nothing,  # limits may be read, its own alone
        "socketpair": (Check(0, (1,)), Check(1, (1,), 0xF)),  # AF_UNIX, SOCK_STREAM: it cannot send to anybody else
    }


#: Stands for the number of the process in a filter that was made before there was one.
_PLACE = 0x7EADBEEF


@functools.cache
def _made(machine: str) -> bytes:
    audit, column = MACHINES[machine]
    code = [(_LOAD, 0, 0, _MACHINE), (_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]
    for table, verdict in ((ALLOWED, _ALLOW), (ABSENT, _UNKNOWN)):
        for numbers in table.values():
            if (number := numbers[column]) is not None:
                code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, verdict)]
    for name, wanted in checks(_PLACE).items():
        if (number := JUDGED[name][column]) is not None:
            block = [instruction for check in wanted for instruction in check.code()] + [(_RETURN, 0, 0, _ALLOW)]
            code += [(_EQUAL, 0, len(block), number), *block]
    code.append((_RETURN, 0, 0, _REFUSE))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def program(machine: str, pid: int) -> bytes:
    """The filter for a process on a machine; made once, since a process that was just forked had better touch little.

    Raises:
        KeyError: a machine for which there are no numbers.
    """
    return _made(machine).replace(struct.pack("=I", _PLACE), struct.pack("=I", pid))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def install(libc: ctypes.CDLL, code: bytes) -> None:
    """Put the calling process under a filter for good; it must have given up gaining privileges before.

    Raises:
        OSError: the kernel does not take it.
    """
    text = ctypes.create_string_buffer(code, len(code))
    filter_ = _Program(len(code) // 8, ctypes.cast(text, ctypes.c_void_p))
    if libc.prctl(22, 2, ctypes.byref(filter_), 0, 0):  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise OSError(ctypes.get_errno(), "the filter of system calls was refused")
