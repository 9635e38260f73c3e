"""Whether the author of a page has said that it is not to be trained on: the TDM Reservation Protocol (W3C community group
report, 2024) and the `noai` words of robots headers and tags."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from tenet.corpus.readers.decoding import NotRead

#: The reason under which such records are counted.
OPTED_OUT = "opted out (TDM reservation)"
_TAGS = ", ".join(f'meta[name="{name}" i]' for name in ("tdm-reservation", "robots", "noai", "noimageai"))
_NO_AI = re.compile(r"\bno(?:image)?ai\b", re.IGNORECASE)


def host_of(address: str) -> str:
    """The host of an address without `www.`; empty where it has none."""
    try:
        host = urlsplit(address.strip()).hostname or ""
    except ValueError:
        return ""
    return host.removeprefix("www.")


def reserved(name: str, value: str) -> bool:
    """Whether one header (or `meta` tag) of this name and value reserves the rights."""
    lower = name.lower()
    if lower == "tdm-reservation":
        return value.strip() == "1"
    return lower in ("x-robots-tag", "robots", "noai", "noimageai") and (
        _NO_AI.search(value) is not None or (lower.startswith("no") and value.strip() != "0")
    )


def refuse_reserved(headers: Iterable[tuple[str, str]]) -> None:
    """Refuse a response by its headers.

    Raises:
        NotRead: it is opted out.
    """
    if any(reserved(name, value) for name, value in headers):
        raise NotRead(OPTED_OUT)


def refuse_reserved_page(tree: Any) -> None:
    """Refuse a page by its `meta` tags.

    Args:
        tree: the parsed page (selectolax).

    Raises:
        NotRead: it is opted out.
    """
    tags = (tag.attributes for tag in tree.css(_TAGS))
    refuse_reserved((tag.get("name") or "", tag.get("content") or "") for tag in tags)
