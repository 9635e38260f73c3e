"""`rows.html`: every judged row of a stage in full, each with an address of its own, so that a figure leads to what it
rests on."""

from __future__ import annotations

import json
from typing import Any

from tenet.files import write_text
from tenet.report.data import Stage
from tenet.report.render.html import join, page, tag

#: Rows beyond which a browser takes seconds to open the page; the file holds all of them.
MOST = 5000


def anchor(position: int) -> str:
    """Address of the row at a position among all judged rows, counted from 0."""
    return f"rows.html#row-{position + 1}"


def write_rows(stage: Stage) -> None:
    """Write the page of a stage that judged rows; a stage without rows gets none."""
    judged = stage.judged()
    if not judged:
        return
    rows = [row for _, row in judged]
    files = [tag("a", name, href=name) for name in dict.fromkeys(name for name, _ in judged)]
    parts = [
        tag("p", tag("a", f"← {stage.title}: report", href="report.html"), cls="soft"),
        tag("h1", f"{stage.title}: {len(rows)} rows"),
        tag("p", f"{'All' if len(rows) <= MOST else f'The first {MOST}'} of ", join(files, ", "), "."),
    ]
    for position, row in enumerate(rows[:MOST]):
        name = " · ".join(str(row[key]) for key in ("stage", "task", "id") if row.get(key))
        lines = "\n".join(f"{key}: {_line(value)}" for key, value in row.items())
        parts.append(tag("section", tag("h3", f"{position + 1} · {name}"), tag("pre", lines), id=f"row-{position + 1}"))
    write_text(stage.dir / "rows.html", page(f"{stage.title}: rows", join(parts)))


def _line(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
