"""HTML pieces shared by the reports and the index page: escaping, tables, the page around them.

Pages must work from a disk without network, so there is one inline style sheet and no script, and a content security
policy keeps anything that slips in (a model's own output is shown here) from loading or running.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tenet.report.render.words import number
from tenet.units import NOT_MEASURED

STYLES = Path(__file__).parent


class Html(str):
    """Markup that is already escaped; a notebook shows it as the value of a cell."""

    def _repr_html_(self) -> str:
        return str(self)

    def __repr__(self) -> str:
        return "<Html>"  # the plain-text twin of a cell's output says nothing that the markup does not


def text(value: Any) -> Html:
    """Any value as escaped text; markup stays as it is."""
    if isinstance(value, Html):
        return value
    if isinstance(value, (int, float)) or value is None:
        return Html(html.escape(number(value)))
    return Html(html.escape(str(value)))


def tag(name: str, *children: Any, **attributes: Any) -> Html:
    """One element; `cls` is `class`, attributes that are None are left out, underscores become hyphens."""
    given = {
        ("class" if key == "cls" else key.replace("_", "-")): value for key, value in attributes.items() if value is not None
    }
    opening = "".join(f' {key}="{html.escape(str(value))}"' for key, value in given.items())
    return Html(f"<{name}{opening}>{''.join(text(child) for child in children)}</{name}>")


def join(parts: Iterable[Any], between: str = "\n") -> Html:
    """Several pieces one after another."""
    return Html(between.join(text(part) for part in parts))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> Html:
    """A table whose numbers are right-aligned and whose box scrolls sideways on a phone instead of breaking the
    page."""
    content = [list(row) for row in rows]
    right = [_numeric([row[i] for row in content if i < len(row)]) for i in range(len(columns))]
    body = []
    for row in content:
        cells = [tag("th", row[0], scope="row")]
        cells += [tag("td", value, cls="n" if right[i] else _width(value)) for i, value in enumerate(row[1:], 1)]
        body.append(tag("tr", *cells))
    names = (tag("th", name, scope="col", cls="n" if right[i] and i else None) for i, name in enumerate(columns))
    head = tag("thead", tag("tr", *names))
    title = [tag("caption", caption)] if caption else []
    # tabindex: a box that scrolls must be reachable from the keyboard
    return tag(
        "div",
        tag("table", *title, head, tag("tbody", *body)),
        cls="scroll",
        tabindex="0",
        role="region",
        aria_label=caption or "table",
    )


def _width(value: Any) -> str | None:
    """Prose needs room, or a wide table squeezes it to one word a line; a value and its unit belong on one line."""
    if not isinstance(value, str) or isinstance(value, Html):
        return None
    return "prose" if len(value) > 40 else "short" if len(value) < 18 else None


def _numeric(values: Sequence[Any]) -> bool:
    """A column of numbers, of which some may be absent."""
    numbers = [isinstance(v, (int, float)) and not isinstance(v, bool) for v in values]
    return any(numbers) and all(is_one or v in (None, NOT_MEASURED) for is_one, v in zip(numbers, values, strict=True))


def details(summary: str, *content: Any) -> Html:
    """Folded content: there for who asks, out of the way for who reads."""
    return tag("details", tag("summary", summary), *content)


def bullets(items: Iterable[Any], cls: str | None = None) -> Html:
    """A list."""
    return tag("ul", *(tag("li", item) for item in items), cls=cls)


def page(title: str, body: str, *styles: str) -> str:
    """A whole document: no remote reference, light and dark, readable at any width; `styles` are further style sheets
    beside this file."""
    css = "".join((STYLES / name).read_text(encoding="utf-8") for name in ("page.css", *styles))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{html.escape(title)}</title>\n<style>\n{css}</style></head>\n'
        f"<body><main>\n{body}\n</main></body></html>\n"
    )
