"""The page at /chat: files in `page/` beside this one, and headers that let it load nothing else and speak to this endpoint
alone.

One of them is a library: `marked.esm.js` takes Markdown apart. It is marked 18.2.1 as its makers publish it (npm, MIT,
`marked.license.txt`); `test_chat.py` knows its hash.
"""

from __future__ import annotations

import functools
from importlib import resources
from urllib.parse import quote

_SCRIPT = "text/javascript; charset=utf-8"
#: Path -> file and its content type.
FILES = {
    "/chat": ("chat.html", "text/html; charset=utf-8"),
    "/chat.css": ("chat.css", "text/css; charset=utf-8"),
    "/chat.svg": ("chat.svg", "image/svg+xml"),
    "/marked.license.txt": ("marked.license.txt", "text/plain; charset=utf-8"),
    **{
        f"/{name}": (name, _SCRIPT)
        for name in ("chat.js", "chat-kept.js", "chat-markdown.js", "chat-turns.js", "chat-wire.js", "marked.esm.js")
    },
}
#: Nothing from elsewhere, nothing inline, no text made into markup, no frame around it, no base or form that leads away.
POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


def link(address: str, key: str) -> str:
    """What one click opens: the page with an API key behind the #, which browsers keep to themselves; the page takes it
    out of the address.

    Args:
        address: the endpoint's.
        key: empty where none is known; then the page asks.
    """
    return f"{address}/chat#key={quote(key, safe='')}" if key else f"{address}/chat (it asks for an API key)"


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
