"""The page at /chat: four files beside this one, and headers that let it load nothing else and speak to this endpoint
alone."""

from __future__ import annotations

import functools
from importlib import resources

#: Path -> file and its content type.
FILES = {
    "/chat": ("chat.html", "text/html; charset=utf-8"),
    "/chat.js": ("chat.js", "text/javascript; charset=utf-8"),
    "/chat.css": ("chat.css", "text/css; charset=utf-8"),
    "/chat.svg": ("chat.svg", "image/svg+xml"),
}
#: Nothing from elsewhere, nothing inline, no frame around it, no base or form that leads away.
POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@functools.cache
def content(path: str) -> bytes:
    """A file of the page."""
    return resources.files("tenet.serving.clients").joinpath("page", FILES[path][0]).read_bytes()


def headers(path: str) -> dict[str, str]:
    """Headers of a file of the page."""
    return {
        "content-type": FILES[path][1],
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
