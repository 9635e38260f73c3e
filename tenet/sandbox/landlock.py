"""Landlock: what of the file system the calling process can still open, for good and without being root.

A ruleset is made once and taken on by each process that runs a program. Source: Documentation/userspace-api/landlock.rst of
the kernel, include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import struct
import sysconfig
from collections.abc import Iterator
from pathlib import Path

#: The same on every machine.
_CREATE, _ADD, _RESTRICT = 444, 445, 446
WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
_READ = READ_FILE | READ_DIR
#: Everything of files that each version of the interface knows: 13 rights at first, then linking, truncating, device control.
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
#: In the folder of a program: files, folders and links may be made, moved and removed; no device, socket or pipe.
_OWN = _READ | WRITE_FILE | TRUNCATE | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 13
#: From version 4 on it also keeps TCP ports, from 6 on abstract sockets and signals to others; seccomp refuses both anyway.
_TCP, _SCOPES = 0b11, 0b11
#: Shared libraries, and single files that the C library and Python read.
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo")
_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/dev/urandom", "/dev/zero")


def version(libc: ctypes.CDLL) -> int:
    """Of the interface, 1 or more; 0 where the kernel has none, minus the error where it is switched off."""
    found = libc.syscall(ctypes.c_long(_CREATE), None, ctypes.c_size_t(0), ctypes.c_uint(1))
    if found > 0:
        return int(found)
    return 0 if ctypes.get_errno() == errno.ENOSYS else -ctypes.get_errno()


def ruleset(libc: ctypes.CDLL, folder: Path) -> int:
    """A descriptor of the rules: Python's library and shared libraries to read, `folder` to use.

    Raises:
        OSError: the kernel does not take them.
    """
    found = version(libc)
    rights = max(value for since, value in _RIGHTS.items() if since <= found)
    attributes = struct.pack("=QQQ", rights, _TCP if found >= 4 else 0, _SCOPES if found >= 6 else 0)
    size = 24 if found >= 6 else 16 if found >= 4 else 8
    rules = libc.syscall(ctypes.c_long(_CREATE), attributes, ctypes.c_size_t(size), ctypes.c_uint(0))
    if rules < 0:
        raise OSError(ctypes.get_errno(), "Landlock: the rules were refused")
    for path, allowed in _readable():
        _add(libc, rules, path, allowed & rights)
    _add(libc, rules, "/dev/null", (READ_FILE | WRITE_FILE | TRUNCATE) & rights)
    _add(libc, rules, str(folder), _OWN & rights)
    return int(rules)


def _readable() -> Iterator[tuple[str, int]]:
    """Of Python's own folder the library can be read but what was installed beside it cannot; its names can be listed."""
    yield from ((path, _READ) for path in _LIBRARIES)
    yield from ((path, READ_FILE) for path in _FILES)
    for folder in {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}:
        yield folder, READ_DIR
        for entry in os.scandir(folder):
            if entry.name not in ("site-packages", "dist-packages"):
                yield entry.path, _READ if entry.is_dir() else READ_FILE
    for path in Path(sysconfig.get_path("stdlib")).parent.glob("*.so*"):
        yield str(path), READ_FILE


def _add(libc: ctypes.CDLL, rules: int, path: str, allowed: int) -> None:
    """A rule for a path; one that is not there needs none."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rule = struct.pack("=Qi", allowed, descriptor)  # packed, 12 bytes
        if libc.syscall(ctypes.c_long(_ADD), ctypes.c_int(rules), ctypes.c_int(1), rule, ctypes.c_uint(0)):
            raise OSError(ctypes.get_errno(), f"Landlock: the rule for {path} was refused")
    finally:
        os.close(descriptor)


def restrict(libc: ctypes.CDLL, rules: int) -> None:
    """Put the calling process under the rules for good; it must have given up gaining privileges before.

    Raises:
        OSError: the kernel does not take it.
    """
    if libc.syscall(ctypes.c_long(_RESTRICT), ctypes.c_int(rules), ctypes.c_uint(0)):
        raise OSError(ctypes.get_errno(), "Landlock: the process could not be restricted")
    with contextlib.suppress(OSError):
        os.close(rules)
