"""Where text comes from: this environment's own packages, folders, and Hugging Face data sets, all as the same plain document.

    {"text": ..., "id": ..., "metadata": {"source", "licence", "url", "service", "kind", "group"}}

`group` is what is held out together (a family of services, a file); a document without one is training text only. Every
reader takes `rank` and `world` and yields its share, so that the same corpus comes out of one process or of a thousand.
"""

from __future__ import annotations

import ast
import gzip
import json
import os
import re
import sysconfig
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from tenet.domains.aws_api import pages, service_models
from tenet.errors import ConfigError, StageError
from tenet.settings.corpus import SourceConfig

Document = dict[str, Any]
#: Longest document made of a text file, in characters: quality is judged and duplicates are found by the chapter, not by the book (Gopher
#: refuses texts above 100,000 words), and a held-out file stays one group.
PIECE = 20_000
SUFFIXES = (".txt", ".md", ".txt.gz", ".md.gz", ".jsonl", ".jsonl.gz")


def document(text: str, name: str, source: str, licence: str, **more: str) -> Document:
    """A document with all of its metadata."""
    metadata = {"source": source, "licence": licence, "url": "", "service": "", "kind": "", "group": "", **more}
    return {"text": text, "id": name, "metadata": metadata}


def check_source(source: SourceConfig) -> None:
    """Refuse a source that cannot be read, before anything starts.

    Raises:
        ConfigError: names the key, the value and the way out.
    """
    if source.kind == "folder":
        _files(source)
    elif source.kind == "botocore":
        unknown = set(_services(source)) - set(service_models.services())
        if unknown:
            raise ConfigError(
                f"corpus.sources name {source.name!r}: botocore {service_models.version()} has no service {', '.join(sorted(unknown))}"
            )
    elif source.kind == "huggingface":
        _datasets(source)


def read(source: SourceConfig, rank: int = 0, world: int = 1) -> Iterator[Document]:
    """The share of a source that belongs to one of `world` tasks.

    A source with `max_bytes` is read by the first task alone: a limit that was divided would stop early in uneven shares.
    """
    if source.max_bytes:
        yield from _limited(_READERS[source.kind](source, 0, 1), source.max_bytes) if rank == 0 else ()
    else:
        yield from _READERS[source.kind](source, rank, world)


def _limited(documents: Iterable[Document], most: int) -> Iterator[Document]:
    for item in documents:
        most -= len(item["text"].encode())
        if most < 0:
            return
        yield item


# --- this environment ------------------------------------------------------------------------------------------------


def _services(source: SourceConfig) -> list[str]:
    return sorted(name.strip() for name in source.name.split(",")) if source.name else service_models.services()


def services_of(wanted: Iterable[SourceConfig]) -> list[str] | None:
    """Services that the sources name; None (all of them) where a source takes all or none is botocore."""
    named = [source for source in wanted if source.kind == "botocore"]
    if not named or any(not source.name for source in named):
        return None
    return sorted({service for source in named for service in _services(source)})


def botocore_documents(source: SourceConfig, rank: int = 0, world: int = 1) -> Iterator[Document]:
    """One page for each operation; `name` may list services, separated by commas."""
    origin = f"botocore {service_models.version()}"
    for operation, text in pages.pages(_services(source)[rank::world]):
        yield document(
            text,
            f"botocore/{operation.id}",
            origin,
            service_models.LICENCE,
            url=f"https://docs.aws.amazon.com/cli/latest/reference/{operation.cli_service}/{operation.cli_command}.html",
            service=operation.service,
            kind="reference",
            group=service_models.family(operation.service),
        )


def cpython_documents(source: SourceConfig, rank: int = 0, world: int = 1) -> Iterator[Document]:
    """The language reference's help topics and the docstrings of the standard library's modules, read without importing them."""
    del source
    import platform

    pieces: list[tuple[str, str]] = []
    if rank == 0:  # the topics are one table: no use in opening it everywhere
        from pydoc_data.topics import topics

        pieces += [(f"topic/{name}", text) for name, text in sorted(topics.items())]
    pieces += _module_docstrings(rank, world)
    for name, text in pieces:
        yield document(
            text.strip() + "\n",
            f"cpython/{name}",
            f"cpython {platform.python_version()}",
            "PSF-2.0",
            url=f"https://docs.python.org/3/library/{name.rpartition('/')[2]}.html",
            kind="reference",
        )


def _module_docstrings(rank: int, world: int) -> Iterator[tuple[str, str]]:
    root = Path(sysconfig.get_paths()["stdlib"])
    files = sorted([*root.glob("*.py"), *root.glob("[a-z]*/__init__.py")])
    for path in files[rank::world]:
        name = path.parent.name if path.name == "__init__.py" else path.stem
        if name in ("site-packages", "test", "idlelib", "lib2to3") or name.startswith("_"):
            continue
        try:
            doc = ast.get_docstring(ast.parse(path.read_bytes()))
        except SyntaxError:  # templates and test data that only look like modules
            continue
        if doc and len(doc) > 200:
            yield f"module/{name}", f"# {name} (Python standard library)\n\n{doc}"


# --- files -----------------------------------------------------------------------------------------------------------


def folder_documents(source: SourceConfig, rank: int = 0, world: int = 1) -> Iterator[Document]:
    """Text and Markdown files in pieces of chapter size, JSON lines by their text column; plain or gzipped, in order of their paths."""
    root, files = _files(source)
    for path in files[rank::world]:
        name = path.relative_to(root).as_posix() if path != root else path.name
        with _open(path) as file:
            if ".jsonl" in path.suffixes:
                yield from _rows(file, path, name, source)
            else:
                for number, text in enumerate(pieces(file.read()), 1):
                    piece = f"{root.name}/{name}" + (f"#{number}" if number > 1 else "")
                    yield document(text, piece, root.name, source.licence or "unknown", kind="prose", group=name)


def pieces(text: str, size: int = PIECE) -> Iterator[str]:
    """A text in pieces of at most about `size` characters, cut between paragraphs; a paragraph is never cut."""
    piece: list[str] = []
    length = 0
    for paragraph in re.split(r"(?<=\n)\s*\n", text):
        if piece and length + len(paragraph) > size:
            yield "\n".join(piece)
            piece, length = [], 0
        if paragraph.strip():
            piece.append(paragraph)
            length += len(paragraph) + 1
    if piece:
        yield "\n".join(piece)


def _files(source: SourceConfig) -> tuple[Path, list[Path]]:
    root = Path(source.name).expanduser()
    if not source.name or not root.exists():
        raise ConfigError(
            f"corpus.sources name {source.name!r}: no such file or folder; give the path of one, or take the source out"
        )
    files = (
        [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.name.endswith(SUFFIXES) and path.is_file())
    )
    if not files:
        raise ConfigError(
            f"corpus.sources name {source.name!r}: no files to read there; kinds that can be read are {', '.join(SUFFIXES)}"
        )
    return root, files


def _open(path: Path) -> IO[str]:
    opener: Any = gzip.open if path.suffix == ".gz" else open
    file: IO[str] = opener(path, "rt", encoding="utf-8", errors="replace")
    return file


def _rows(file: IO[str], path: Path, name: str, source: SourceConfig) -> Iterator[Document]:
    for number, line in enumerate(file, 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise StageError(f"{path}:{number}: not valid JSON ({error}); mend or remove the file") from None
        if not isinstance(row, dict) or source.column not in row:
            raise StageError(
                f"{path}:{number}: has no {source.column!r}; set the source's `column` to one of {', '.join(map(str, row))}"
            )
        metadata = row.get("metadata") or {}
        licence = source.licence or row.get("licence") or row.get("license") or metadata.get("licence") or metadata.get("license")
        yield document(
            row[source.column],
            f"{Path(source.name).name}/{name}/{row.get('id', number)}",
            str(metadata.get("source") or Path(source.name).name),
            str(licence or "unknown"),
            url=str(metadata.get("url") or row.get("url") or ""),
            kind="prose",
            group=f"{name}/{row.get('id', number)}",
        )


# --- Hugging Face ----------------------------------------------------------------------------------------------------


def _datasets(source: SourceConfig) -> Any:
    where = f"corpus.sources huggingface {source.name!r}"
    if os.environ.get("HF_HUB_OFFLINE") == "1" or os.environ.get("HF_DATASETS_OFFLINE") == "1":
        raise ConfigError(
            f"{where}: HF_HUB_OFFLINE or HF_DATASETS_OFFLINE is 1; unset it, or download the set and use kind: folder"
        )
    try:
        import datasets
    except ImportError:
        raise ConfigError(
            f"{where}: the package `datasets` is not installed; `pip install datasets`, or use kind: folder"
        ) from None
    return datasets


def huggingface_documents(source: SourceConfig, rank: int = 0, world: int = 1) -> Iterator[Document]:
    """Stream a data set by name; nothing is stored but what the filters keep."""
    datasets = _datasets(source)
    try:
        stream = datasets.load_dataset(source.name, source.subset or None, split=source.split, streaming=True)
        rows = islice(enumerate(stream), rank, None, world)
        yield from (_hub_row(row, number, source) for number, row in rows)
    except (OSError, ValueError) as error:  # ConnectionError and the hub's not-found errors are OSErrors
        raise ConfigError(
            f"corpus.sources huggingface {source.name!r} (subset {source.subset!r}, split {source.split!r}) cannot be read: "
            f"{error}; check the name and the network, or download it and use kind: folder"
        ) from error


def _hub_row(row: dict[str, Any], number: int, source: SourceConfig) -> Document:
    if source.column not in row:
        raise ConfigError(f"corpus.sources huggingface {source.name!r}: no column {source.column!r}; there are {', '.join(row)}")
    name = f"{source.name}/{row.get('id', number)}"
    licence = source.licence or row.get("license") or "unknown"
    return document(row[source.column], name, source.name, str(licence), url=str(row.get("url") or ""), kind="prose", group=name)


_READERS = {
    "botocore": botocore_documents,
    "cpython": cpython_documents,
    "folder": folder_documents,
    "huggingface": huggingface_documents,
}
