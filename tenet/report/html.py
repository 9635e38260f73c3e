"""HTML pieces shared by the reports and the index page: escaping, tables, the page around them.

Pages must work from a disk without network, so there is one inline style sheet and no script, and a content security policy
keeps anything that slips in (a model's own output is shown here) from loading or running.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

from tenet.report.words import NOT_MEASURED, number


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
    given = {("class" if key == "cls" else key.replace("_", "-")): value for key, value in attributes.items() if value is not None}
    opening = "".join(f' {key}="{html.escape(str(value))}"' for key, value in given.items())
    return Html(f"<{name}{opening}>{''.join(text(child) for child in children)}</{name}>")


def join(parts: Iterable[Any], between: str = "\n") -> Html:
    """Several pieces one after another."""
    return Html(between.join(text(part) for part in parts))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> Html:
    """A table whose numbers are right-aligned and whose box scrolls sideways on a phone instead of breaking the page."""
    body = []
    for row in rows:
        cells = []
        for i, value in enumerate(row):
            numeric = isinstance(value, (int, float)) or value in (None, NOT_MEASURED)
            cells.append(tag("th" if i == 0 else "td", value, cls="n" if numeric else None, scope="row" if i == 0 else None))
        body.append(tag("tr", *cells))
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in columns)))
    title = [tag("caption", caption)] if caption else []
    # tabindex: a box that scrolls must be reachable from the keyboard
    return tag("div", tag("table", *title, head, tag("tbody", *body)), cls="scroll", tabindex="0", role="region", aria_label=caption or "table")


def details(summary: str, *content: Any) -> Html:
    """Folded content: there for who asks, out of the way for who reads."""
    return tag("details", tag("summary", summary), *content)


def bullets(items: Iterable[Any], cls: str | None = None) -> Html:
    """A list."""
    return tag("ul", *(tag("li", item) for item in items), cls=cls)


def page(title: str, body: str, style: str = "") -> str:
    """A whole document: no remote reference, light and dark, readable at any width."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{html.escape(title)}</title>\n<style>{STYLE}{style}</style></head>\n'
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --paper: #fbfbf9; --card: #ffffff; --line: #d9dde3;
  --accent: #0b5fa5; --good: #1b6e3c; --bad: #a3341d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #a3adba; --paper: #14181e; --card: #1c222b; --line: #343d4a;
  --accent: #7db8ee; --good: #7fcf9b; --bad: #f0937c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere; }
main { max-width: 980px; margin: 0 auto; padding: 20px 16px 56px; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .4em 0 .3em; } h2 { font-size: 1.2rem; margin: 1.8em 0 .5em; }
h3 { font-size: 1rem; margin: 1.2em 0 .4em; } p { margin: .5em 0; max-width: 75ch; }
a { color: var(--accent); } a:focus-visible, .scroll:focus-visible, summary:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.soft { color: var(--soft); font-size: .9rem; } .good { color: var(--good); } .bad { color: var(--bad); }
.finding { font-size: 1.15rem; font-weight: 600; border-left: 4px solid var(--accent); padding-left: 12px; max-width: 70ch; }
.scroll { overflow-x: auto; margin: .8em 0; } table { border-collapse: collapse; font-size: .9rem; min-width: 60%; }
caption { text-align: left; color: var(--soft); padding-bottom: 4px; }
th, td { text-align: left; vertical-align: top; padding: 5px 12px 5px 0; border-bottom: 1px solid var(--line); overflow-wrap: break-word; }
thead th { border-bottom: 2px solid var(--line); white-space: nowrap; } tbody th { font-weight: 500; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code, pre { font: .86rem/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
pre { white-space: pre-wrap; background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 10px; margin: .4em 0; }
figure { margin: 1em 0; } figure img { width: 100%; max-width: 680px; height: auto; border-radius: 6px; background: #ffffff; display: block; }
figcaption { color: var(--soft); font-size: .85rem; max-width: 75ch; } details { margin: .6em 0; } summary { cursor: pointer; color: var(--accent); }
"""
