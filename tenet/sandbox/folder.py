"""The one folder in which a program can write: how full it is, and emptying it, whatever was made in it.

A program may nest folders deeper than any path can say and make links to anywhere; so nothing here follows a link, and
nothing recurses.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

#: Folders within folders; deeper is taken for an attack on whoever tidies up.
DEEPEST = 50


def holds_more(folder: Path, size: int, count: int) -> bool:
    """Are there more bytes on disk, or more files and folders, than these, or are they nested too deep?"""
    used = seen = 0
    waiting = [(str(folder), 0)]
    while waiting:
        path, depth = waiting.pop()
        try:
            for entry in os.scandir(path):
                seen, used = seen + 1, used + entry.stat(follow_symlinks=False).st_blocks * 512
                if used > size or seen > count or depth > DEEPEST:
                    return True
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, depth + 1))
        except FileNotFoundError:
            continue
        except OSError:
            return True
    return False


def empty(folder: Path) -> None:
    """Remove all that is in a folder, in which nobody works any more.

    It goes down and up again by descriptors, one at a time, so that no depth is too much.
    """
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    inner = _files_removed(here)
    way: list[tuple[str, list[str]]] = []
    while inner or way:
        if inner:
            name = inner.pop()
            way.append((name, inner))
            here = _changed(here, name)
            inner = _files_removed(here)
        else:
            name, inner = way.pop()
            here = _changed(here, "..")
            os.rmdir(name, dir_fd=here)
    os.close(here)


def _files_removed(here: int) -> list[str]:
    """Remove what is no folder; gives the names of the folders, which can be opened afterwards."""
    folders = []
    with os.scandir(here) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                os.chmod(entry.name, 0o700, dir_fd=here)
                folders.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=here)
    return folders


def _changed(here: int, name: str) -> int:
    """Another folder in the place of this one."""
    there = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
    os.close(here)
    return there


def remove(folder: Path) -> None:
    """Remove a folder of ours with all that is in it; one that is gone already is fine."""
    with contextlib.suppress(OSError):
        empty(folder)
        os.rmdir(folder)
