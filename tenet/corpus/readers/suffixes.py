"""Which reader a file gets, by its name."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from tenet.corpus.readers.decoding import NotRead
from tenet.corpus.readers.formats.archives import PACKED, TARS, ZIPS, is_archive

#: Kind of an archive, which is a folder inside.
ARCHIVE = "archive"
#: Kind of a web archive, whose reader unpacks it record by record.
RECORDS = "warc"
#: Kind of file -> suffixes, in lower case.
SUFFIXES = {
    "text": (".txt", ".text", ".md", ".markdown", ".rst"),
    "html": (".html", ".htm", ".xhtml"),
    "notebook": (".ipynb",),
    "python": (".py",),
    "json": (".jsonl", ".ndjson", ".json"),
    "parquet": (".parquet",),
    "csv": (".csv", ".tsv"),
    "arrow": (".arrow", ".feather"),
    RECORDS: (".warc", ".wet"),
    "epub": (".epub",),
    "pdf": (".pdf",),
    "docx": (".docx",),
    "latex": (".tex", ".latex"),
    "xml": (".xml", ".nxml", ".jats", ".tei", ".cnxml"),
    "source": (
        *(".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".hh", ".cu", ".cuh", ".go", ".rs", ".java", ".kt", ".kts", ".scala"),
        *(".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx", ".rb", ".php", ".pl", ".pm", ".lua", ".r", ".jl", ".swift", ".m", ".mm"),
        *(".cs", ".fs", ".vb", ".hs", ".ml", ".mli", ".erl", ".ex", ".exs", ".clj", ".lisp", ".el", ".scm", ".f90", ".f", ".f95"),
        *(".sh", ".bash", ".zsh", ".fish", ".ps1", ".sql", ".pyx", ".pxd", ".pyi", ".dart", ".zig", ".nim", ".v", ".vhd", ".sv"),
        *(".s", ".asm", ".tcl", ".awk", ".groovy", ".gradle", ".proto", ".cmake", ".nix", ".tf"),
    ),
    ARCHIVE: (*ZIPS, *TARS),
}
_KIND_OF = {suffix: kind for kind, suffixes in SUFFIXES.items() for suffix in suffixes}


def suffix_of(path: Path | PurePosixPath) -> str:
    """The suffix in lower case, behind those of packers."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def kind_of(path: Path | PurePosixPath, named: bool) -> str:
    """How a file is read, by its name.

    Args:
        path: the file.
        named: the settings name this very file: then text without a known suffix is read too.

    Raises:
        NotRead: there is no reader.
    """
    if is_archive([suffix.lower() for suffix in path.suffixes]):
        return ARCHIVE
    suffix = suffix_of(path)
    if suffix in _KIND_OF:
        return _KIND_OF[suffix]
    if named and not suffix:
        return "text"
    raise NotRead(f"no reader for {suffix}" if suffix else "no suffix that says what it is")


def readable() -> str:
    """The suffixes that a message names; those of programs are summed up."""
    shown = ", ".join(suffix for kind, suffixes in SUFFIXES.items() if kind != "source" for suffix in suffixes)
    return (
        f"{shown}, source code ({', '.join(SUFFIXES['source'][:6])}, ...), each also as {', '.join(PACKED[:-1])} or {PACKED[-1]}"
    )
