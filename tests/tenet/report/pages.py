"""A page as a browser reads it, and what every page must keep to."""

from __future__ import annotations

import re
from html.parser import HTMLParser


class Tags(HTMLParser):
    """Tags and attributes as a browser sees them: text that only looks like markup is not one."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(page)

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((name, {key: value or "" for key, value in attributes}))

    def values(self, *keys: str) -> list[str]:
        return [given[key] for _, given in self.found for key in keys if key in given]


def assert_opens_from_disk(page: str) -> None:
    """No script, nothing remote, nothing that a style sheet would load."""
    tags = Tags(page)
    assert not {name for name, _ in tags.found} & {"script", "iframe", "object", "embed", "base", "form"}
    assert [v for v in tags.values("src", "href", "srcset", "action") if re.match(r"\s*(\w+:)?//|\s*(?!data:)\w+:", v)] == []
    assert not [key for _, given in tags.found for key in given if key.startswith("on")]
    assert not re.search(r"@import|url\(", page.split("</style>")[0])
