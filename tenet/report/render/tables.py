"""Any JSON that a stage wrote, as tables for people: for everything whose shape belongs to another room."""

from __future__ import annotations

from typing import Any

from tenet.report.data import Stage, flat
from tenet.report.pages.cells import absent, columns_of, shown
from tenet.report.render.html import Html, details, join, tag
from tenet.report.render.html import table as html_table
from tenet.units import NOT_MEASURED

#: Rows above which a table is folded, and those that are shown at most; the file itself is linked.
FOLD, MOST = 24, 200


def facts(stage: Stage, name: str, *path: str) -> Html:
    """A JSON file of the stage, or a member of it, as tables; `summary.json` is the stage's own details."""
    value = stage.json(name)
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    where = " → ".join((name, *path))
    if value is None:
        return absent(f"{where} is not there")
    return join([as_tables(value, where), tag("p", tag("a", name, href=name), cls="soft")])


def as_tables(value: Any, title: str) -> Html:
    """Records become rows, nested parts become tables of their own."""
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        columns = columns_of(value)
        whole = html_table(
            [c.replace("_", " ").replace(".", ", ") for c in columns],
            [[shown(row.get(c)) for c in columns] for row in value[:MOST]],
            title,
        )
        return details(f"{title}: {len(value)} rows, at most {MOST} shown", whole) if len(value) > FOLD else whole
    if isinstance(value, dict) and value and all(isinstance(row, dict) for row in value.values()):
        return as_tables([{"": key, **dict(flat(row))} for key, row in value.items()], title)
    if isinstance(value, dict):
        plain = [(key.replace("_", " "), _line(v)) for key, v in value.items() if not _nested(v)]
        alike = _alike({key: v for key, v in value.items() if isinstance(v, dict) and v})
        parts = [html_table(("", "value"), plain, title)] if plain else []
        parts += [as_tables(alike, title)] if alike else []
        return join([*parts, *(as_tables(v, f"{title} → {key}") for key, v in value.items() if _nested(v) and key not in alike)])
    return tag("p", f"{title}: {_line(value)}")


def _alike(parts: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mappings with members in common (before and after, one measure and the next) are read against each other: rows of
    one table."""
    first = set(next(iter(parts.values()), {}))
    found = {key: part for key, part in parts.items() if len(first & set(part)) > 1}
    return found if len(found) > 1 else {}


def _nested(value: Any) -> bool:
    return bool(value) and (isinstance(value, dict) or (isinstance(value, list) and all(isinstance(row, dict) for row in value)))


def _line(value: Any) -> Any:
    if isinstance(value, list):
        more = f" and {len(value) - 40} more" if len(value) > 40 else ""
        return ", ".join(map(str, value[:40])) + more if value else "none"
    return NOT_MEASURED if value is None else shown(value)
