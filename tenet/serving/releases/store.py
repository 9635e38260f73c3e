"""Where weights lie for a server to take: versions, and one small file that says which is served.

    current                 {"current": "9f2c...", "versions": ["41aa...", "9f2c..."]}      oldest first
    9f2c.../manifest.json   every file with its bytes and SHA-256; the version is the hash of this list
    9f2c.../model.safetensors, config.json, ...

A folder or an S3 prefix. Everything is written before `current` is, and `current` is replaced in one piece: a crash at
any point leaves the old weights served. Readers need no lock; of writers there must be one at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tenet.errors import ConfigError, StageError
from tenet.files import read_json, sha256, write_bytes

MANIFEST, CURRENT = "manifest.json", "current"
_TEMPORARY = ".new-"
VERSION = re.compile(r"[0-9a-f]{12}\Z")


@dataclass(frozen=True)
class Pointer:
    """Which version is served, and all that are kept, oldest first."""

    current: str
    versions: tuple[str, ...]

    def encode(self) -> bytes:
        """The pointer file."""
        return (json.dumps({"current": self.current, "versions": list(self.versions)}) + "\n").encode()

    @classmethod
    def decode(cls, content: bytes, where: str) -> Pointer:
        """Read the pointer file.

        Raises:
            StageError: it is not one.
        """
        try:
            value = json.loads(content)
            return cls(value["current"], tuple(value["versions"]))
        except (ValueError, KeyError, TypeError):
            raise StageError(f"{where}: not a pointer file; write one by hand or publish again into an empty store") from None


@dataclass(frozen=True)
class Manifest:
    """Files of one version: name -> (bytes, SHA-256)."""

    files: dict[str, tuple[int, str]]

    @property
    def version(self) -> str:
        """Twelve hex digits of the hash over names and hashes: the same files are the same version."""
        lines = "".join(f"{digest}  {name}\n" for name, (_, digest) in sorted(self.files.items()))
        return hashlib.sha256(lines.encode()).hexdigest()[:12]

    def encode(self) -> bytes:
        """manifest.json."""
        files = [{"path": name, "bytes": size, "sha256": digest} for name, (size, digest) in sorted(self.files.items())]
        return (json.dumps({"version": self.version, "files": files}, indent=2) + "\n").encode()

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Of a version's folder."""
        content = read_json(folder / MANIFEST)
        return cls({entry["path"]: (entry["bytes"], entry["sha256"]) for entry in content["files"]})

    @classmethod
    def of(cls, folder: Path) -> Manifest:
        """Hash a model folder. Nested folders and hidden files are no part of a model."""
        names = sorted(
            path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".") and path.name != MANIFEST
        )
        return cls({name: ((folder / name).stat().st_size, sha256(folder / name)) for name in names})

    def check(self, folder: Path) -> int:
        """Compare every file with its hash; returns how many there are.

        Raises:
            StageError: names the first file that is missing or differs.
        """
        for name, (size, digest) in self.files.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != size or sha256(path) != digest:
                raise StageError(
                    f"{path}: missing or not the file that was published; the version is not served, publish it again"
                )
        return len(self.files)


class Store(ABC):
    """Versions and a pointer."""

    where: str

    @abstractmethod
    def add(self, folder: Path, manifest: Manifest) -> None:
        """Copy a model folder in, whole or not at all. Does nothing when the version is complete already."""

    @abstractmethod
    def fetch(self, version: str, cache: Path) -> Path:
        """The version as a local folder, not yet verified."""

    @abstractmethod
    def pointer(self) -> Pointer | None:
        """What is served; None in an empty store."""

    @abstractmethod
    def point(self, pointer: Pointer) -> None:
        """Replace the pointer in one piece."""

    @abstractmethod
    def sweep(self, pointer: Pointer) -> None:
        """Delete versions that are no longer kept, those that a killed publish had left to delete included."""

    def need_pointer(self) -> Pointer:
        """What is served.

        Raises:
            ConfigError: nothing was ever published.
        """
        pointer = self.pointer()
        if pointer is None:
            raise ConfigError(f"{self.where}: no weights were published there; run `tenet deploy` first")
        return pointer


class FolderStore(Store):
    """A store on a file system."""

    def __init__(self, root: Path) -> None:
        self.root, self.where = root, str(root)

    def add(self, folder: Path, manifest: Manifest) -> None:
        target = self.root / manifest.version
        if target.exists():
            with suppress(StageError):
                manifest.check(target)
                return
        self._clear_temporary()
        work = self.root / f"{_TEMPORARY}{manifest.version}"
        work.mkdir(parents=True)
        for name in manifest.files:
            _copy(folder / name, work / name)
        write_bytes(work / MANIFEST, manifest.encode())
        manifest.check(work)
        _sync(work)
        if target.exists():  # a damaged copy, set aside only now that its replacement is whole
            os.replace(target, self.root / f"{_TEMPORARY}damaged")
        os.replace(work, target)
        _sync(self.root)
        self._clear_temporary()

    def _clear_temporary(self) -> None:
        """What a killed publish left behind."""
        for left in self.root.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(left)

    def fetch(self, version: str, cache: Path) -> Path:
        if not (self.root / version / MANIFEST).is_file():
            raise StageError(
                f"{self.root / version}: no such version in the store; `{self.root / CURRENT}` lists those that are kept"
            )
        return self.root / version

    def pointer(self) -> Pointer | None:
        path = self.root / CURRENT
        return Pointer.decode(path.read_bytes(), str(path)) if path.is_file() else None

    def point(self, pointer: Pointer) -> None:
        write_bytes(self.root / CURRENT, pointer.encode())
        _sync(self.root)

    def sweep(self, pointer: Pointer) -> None:
        for path in self.root.glob(f"*/{MANIFEST}"):
            if VERSION.match(path.parent.name) and path.parent.name not in pointer.versions:
                # Renamed first, so that a half-deleted folder never has the name of a version.
                os.replace(path.parent, self.root / f"{_TEMPORARY}{path.parent.name}")
        self._clear_temporary()


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    with open(target, "rb+") as file:
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """A rename is certain to outlive a power cut only when its folder has been flushed."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
