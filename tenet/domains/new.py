"""`tenet new`: a domain's folder from a folder of documents, complete enough for a whole run."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tenet.corpus import sources
from tenet.corpus.readers.local_files import FileNote
from tenet.domains.documents.library import Library, read_library
from tenet.domains.documents.recipes import Persona
from tenet.domains.documents.write import Made, make
from tenet.domains.loading import FILE
from tenet.errors import ConfigError
from tenet.files import write_text
from tenet.settings.corpus import SourceConfig

#: Where files go that `--force` replaces.
OLD = ".old"


@dataclass(frozen=True)
class Written:
    """What `new_domain` did.

    Args:
        folder: of the domain. replaced: files that were there before; they lie in `.old` now.
    """

    folder: Path
    library: Library
    made: Made
    replaced: tuple[str, ...]


def new_domain(
    folder: Path, documents: Path, *, name: str = "", about: str = "", licence: str = "", seed: int = 0, force: bool = False
) -> Written:
    """Write the files of a domain.

    Args:
        folder: to write into; its last part is the domain's name.
        documents: folder or file that the corpus can read.
        name: what the assistant calls itself; the folder's name in words when left out.
        about: what the assistant says it knows ("I am Pat, an assistant for ...").
        licence: SPDX name, of documents that do not say their own.
        seed: of every choice: the same documents and seed give the same bytes.
        force: replace files that are there; they are moved to `.old`.

    Raises:
        ConfigError: nothing to read, nothing to ask about, or files in the way.
    """
    short = folder.resolve().name
    if not re.fullmatch(r"[\w-]+", short):
        raise ConfigError(f"tenet new {folder}: {short!r} cannot be a domain's name; use letters, digits, _ and - only")
    source = SourceConfig("folder", name=str(documents), licence=licence)
    library, notes = _read(source, documents)
    spoken = name or re.sub(r"[_-]+", " ", short).strip().title()
    persona = Persona(spoken, about or _about(library, documents))
    entry = {"kind": "folder", "name": _relative(documents, folder), **({"licence": licence} if licence else {})}
    made = make(library, name=short, persona=persona, seed=seed, licence=licence, source=entry, notes=notes)
    return Written(folder, library, made, _write(folder, made, force))


def _read(source: SourceConfig, documents: Path) -> tuple[Library, list[str]]:
    try:
        sources.check_source(source)
    except ConfigError as error:
        raise ConfigError(f"--documents {documents}: {str(error).partition(': ')[2] or error}") from None
    items = list(sources.opened([source])[0].items())
    files = [item for item in items if isinstance(item, FileNote)]
    library = read_library(item for item in items if not isinstance(item, FileNote))
    if not library.books:
        raise ConfigError(f"--documents {documents}: the files there hold no text; give a folder with documents")
    if not any(entry.sentences for entry in library.entries):
        raise ConfigError(
            f"--documents {documents}: {len(library.books)} documents, but no whole sentence in them that can be an answer (25 to 280 letters, with a "
            "full stop); give documents in prose"
        )
    kinds = Counter(book.metadata.get("licence", "unknown") for book in library.books)
    unknown = kinds["unknown"] + kinds[""]
    notes = [f"{unknown} documents say no licence; give one with --licence"] if unknown else []
    skipped = Counter(note.reason for note in files if note.reason)
    if skipped:
        why = "; ".join(f"{count} x {reason}" for reason, count in skipped.most_common(5))
        notes.append(f"{sum(skipped.values())} of {len(files)} files and folders are not read: {why}")
    return library, notes


def _about(library: Library, documents: Path) -> str:
    if len(library.books) == 1:
        return library.books[0].title
    return f"the documents in {documents.resolve().name}"


def _relative(documents: Path, folder: Path) -> str:
    """The path in domain.yaml: from the folder, where both lie in one project (below the working directory); else as it
    is on this machine."""
    here, target = Path.cwd().resolve(), documents.resolve()
    root = folder.resolve()
    together = root in (target, *target.parents) or (here in target.parents and here in root.parents)
    return Path(os.path.relpath(target, root)).as_posix() if together else str(target)


def _write(folder: Path, made: Made, force: bool) -> tuple[str, ...]:
    """All files, domain.yaml last: a folder without one is no domain yet."""
    there = [name for name in made.files if (folder / name).exists()]
    if there and not force:
        raise ConfigError(
            f"{folder}: {', '.join(there[:3])}{' and more' if len(there) > 3 else ''} would be replaced; choose another name, or add --force to "
            f"move what is there to {folder / OLD}"
        )
    stale = [path.relative_to(folder).as_posix() for path in folder.glob("tasks/*.yaml")] if force else []
    replaced = sorted({*there, *stale})
    for name in replaced:
        old = folder / OLD / name
        old.parent.mkdir(parents=True, exist_ok=True)
        os.replace(folder / name, old)
    for name in sorted(made.files, key=lambda name: name == FILE):
        write_text(folder / name, made.files[name])
    return tuple(replaced)
