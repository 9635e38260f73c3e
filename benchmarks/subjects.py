"""Four subjects for `tenet new`, as folders of documents: what a team's own documents may look like.

    .venv/bin/python benchmarks/subjects.py cpython /tmp/subjects/cpython .venv/bin/python benchmarks/subjects.py
    openstax /tmp/subjects/physics ../shared/data/openstax/physics.cnxml.jsonl.gz tenet new my_physics --documents
    /tmp/subjects/physics --licence CC-BY-4.0

    tenet run --domain my_physics --preset tiny --run runs/physics
    .venv/bin/python benchmarks/subjects.py ask runs/physics     # five questions on held-out sections, through the endpoint

`cpython` is the documentation inside the running Python (help topics, docstrings of the standard library) as
reStructuredText; `openstax` a textbook in CNXML, one Markdown file a module. This repository's docs/ and a folder of
novels need no script.
"""

from __future__ import annotations

import ast
import gzip
import json
import sys
import sysconfig
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

SKIPPED = ("site-packages", "test", "tests", "idlelib", "lib2to3")
_CNX = "{http://cnx.rice.edu/cnxml}"


def cpython(folder: Path) -> int:
    """Help topics and module documentation of this Python; returns the number of files."""
    from pydoc_data.topics import topics

    pages = {f"topics/{name}": text.strip() + "\n" for name, text in topics.items()}
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted([*root.glob("*.py"), *root.glob("[a-z]*/*.py")]):
        if path.parent.name not in SKIPPED and not path.name.startswith("_") and (text := _module(path, root)):
            pages[f"library/{path.stem if path.parent == root else f'{path.parent.name}.{path.stem}'}"] = text
    return _write(folder, {f"{name}.rst": text for name, text in pages.items()})


def _module(path: Path, root: Path) -> str:
    try:
        module = ast.parse(path.read_bytes())
    except SyntaxError:  # templates that only look like modules
        return ""
    name = path.stem if path.parent == root else f"{path.parent.name}.{path.stem}"
    doc = ast.get_docstring(module)
    if not doc or len(doc) < 200:
        return ""
    parts = [f"{name}\n{'=' * len(name)}\n\n{doc}"]
    for item in module.body:
        if isinstance(item, (ast.ClassDef, ast.FunctionDef)) and (inner := ast.get_docstring(item)):
            parts.append(f"{item.name}\n{'-' * max(3, len(item.name))}\n\n{inner}")
    return "\n\n".join(parts) + "\n"


def openstax(folder: Path, book: Path) -> int:
    """Modules of a textbook as Markdown; formulas as their letters, figures and exercises left out."""
    pages = {}
    with gzip.open(book, "rt", encoding="utf-8") as lines:
        for line in lines:
            module = json.loads(line)
            content = ElementTree.fromstring(module["cnxml"]).find(f"{_CNX}content")
            if content is not None:
                pages[f"{module['module']}.md"] = f"# {module['title']}\n\n" + "".join(_markdown(content, 2))
    return _write(folder, pages)


def _markdown(node: ElementTree.Element, level: int) -> list[str]:
    found: list[str] = []
    for child in node:
        name = child.tag.rpartition("}")[2]
        title = child.find(f"{_CNX}title")
        if "teacher" in child.get("class", ""):  # remarks for who teaches
            continue
        if name == "section" or (name == "note" and title is not None):
            if title is not None and title.text:
                found.append(f"{'#' * level} {' '.join(''.join(title.itertext()).split())}\n\n")
            found += _markdown(child, level + 1)
        elif name == "para":
            for link in child.iter(f"{_CNX}link"):
                link.text = link.text or "the figure"
            found.append(" ".join("".join(child.itertext()).split()) + "\n\n")
        elif name == "list":
            found += [f"- {' '.join(''.join(item.itertext()).split())}\n" for item in child.iter(f"{_CNX}item")] + ["\n"]
    return found


def ask(run: Path, most: int = 5) -> int:
    """The endpoint's answers to questions about what training has not seen, one of each kind in turn, as they are."""
    from tenet.serving.server.server import LocalServer
    from tenet.stages.serve import served_model, stream_answer

    by_kind: dict[str, list[dict[str, Any]]] = {}
    for line in (run / "corpus" / "instructions" / "test.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if len(row["messages"]) == 2 and row.get("kind") != "identity":
            by_kind.setdefault(row.get("kind", ""), []).append(row)
    rows = [rows[place] for place in range(most) for rows in by_kind.values() if place < len(rows)][:most]
    model = "tenet.assistant-v1:0"
    with LocalServer(served_model(run), model_id=model) as server:
        for row in rows:
            question, right = (turn["content"] for turn in row["messages"])
            print(f"> {question}\n{''.join(stream_answer(server.endpoint, server.keys, model, question))}\n  ({right})\n")
    return len(rows)


def _write(folder: Path, pages: dict[str, str]) -> int:
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return len(pages)


if __name__ == "__main__":
    kind, target, *rest = sys.argv[1:]
    if kind == "ask":
        print(ask(Path(target)), "questions about what was held out in", target)
    else:
        print({"cpython": cpython, "openstax": openstax}[kind](Path(target), *map(Path, rest)), "files in", target)
