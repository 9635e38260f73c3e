"""`tenet new my_assistant --documents DIR`: write a domain and say what was found."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tenet.domains.new import Written


def new_command(words: list[str]) -> int:
    """Write the folder, show three rows and the next command."""
    parser = argparse.ArgumentParser(
        "tenet new",
        description="A subject of your own from documents: rows, principles, goals and tasks, all readable and editable.",
    )
    parser.add_argument("folder", type=Path, metavar="NAME", help="folder to write; its last part is the domain's name")
    parser.add_argument(
        "--documents", required=True, type=Path, metavar="DIR", help="folder (or one file) of text, Markdown, pages, ..."
    )
    parser.add_argument("--name", default="", help="what the assistant calls itself (default: NAME in words)")
    parser.add_argument("--about", default="", help='what it says it knows, e.g. "the handbook of the pump station"')
    parser.add_argument("--licence", default="", metavar="SPDX", help="licence of documents that do not say their own")
    parser.add_argument("--seed", type=int, default=0, help="of every choice (default 0)")
    parser.add_argument("--force", action="store_true", help="replace files that are there; they are moved to NAME/.old")
    chosen = parser.parse_args(words)
    from tenet.domains.new import new_domain

    written = new_domain(
        chosen.folder,
        chosen.documents,
        name=chosen.name,
        about=chosen.about,
        licence=chosen.licence,
        seed=chosen.seed,
        force=chosen.force,
    )
    print(_text(written, chosen.folder))
    return 0


def _text(written: Written, folder: Path) -> str:
    library, made = written.library, written.made
    lines = [
        f"{folder}: {len(library.books):,} documents, {len(library.entries):,} sections, {library.bytes / 1000:,.0f} kB of text",
        *(f"  {kind}: {sum(counts.values()):,}" + _kinds(counts) for kind, counts in made.found.items()),
        f"  files: {', '.join(sorted(made.files))}",
        *(f"  replaced, moved to {folder / '.old'}: {name}" for name in written.replaced),
        *(f"  note: {note}" for note in made.notes),
    ]
    for row in made.examples:
        asked, answer = row["messages"][0]["content"], row["messages"][-1]["content"]
        lines += ["", f"  {row['kind']} ({row['group']})", f"    > {asked}", f"    {answer}"]
    run = Path("runs") / folder.resolve().name
    lines += ["", f"next: tenet run --domain {shlex.quote(str(folder))} --preset tiny --run {shlex.quote(str(run))}"]
    return "\n".join(lines)


def _kinds(counts: dict[str, int]) -> str:
    return f" ({', '.join(f'{count:,} {kind}' for kind, count in counts.items())})" if counts else ""
