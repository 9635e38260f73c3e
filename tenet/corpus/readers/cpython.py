"""The source kind `cpython`: what this environment's Python documents about itself."""

from __future__ import annotations

import ast
import itertools
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path

from tenet.corpus.documents import Document, document
from tenet.settings.corpus import SourceConfig


def check_source(source: SourceConfig) -> None:
    """It is always there."""


def documents(source: SourceConfig, rank: int = 0, world: int = 1) -> Iterator[Document]:
    """The language reference's help topics and the docstrings of the standard library's modules, read without importing
    them."""
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
        doc = _docstring(path)
        if doc and len(doc) > 200:
            yield f"module/{name}", f"# {name} (Python standard library)\n\n{doc}"


def _docstring(path: Path) -> str | None:
    """The docstring of a module, from its first statement alone: to parse the whole of it takes fifty times as long."""
    try:
        with tokenize.open(path) as file:
            for token in tokenize.generate_tokens(file.readline):
                if token.type == tokenize.NEWLINE:
                    break
                if token.type not in (tokenize.STRING, tokenize.COMMENT, tokenize.NL):
                    return None
            else:
                return None
            file.seek(0)
            return ast.get_docstring(ast.parse("".join(itertools.islice(file, token.end[0]))))
    except (SyntaxError, tokenize.TokenError):  # templates and test data that only look like modules
        return None
