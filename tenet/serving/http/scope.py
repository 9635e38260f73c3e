"""What ASGI says of a request, and the look through the fields of one over HTTP/2 that llhttp has for HTTP/1.1."""

from __future__ import annotations

import functools
import re
from typing import Any
from urllib.parse import unquote

from tenet.serving.http.connection import Connection

Field = tuple[bytes, bytes]
_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path"))
#: What says how HTTP/1.1 is framed means nothing here, and would to whoever hands it on (RFC 9113 8.2.2).
_OF_HTTP1 = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
_NAMES = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z -]*")


def scope_of(connection: Connection, version: str, method: str, target: bytes, headers: list[Field]) -> dict[str, Any]:
    """ASGI's scope; `raw_path` is the path as it came, because that is what signatures cover.

    Args:
        target: path and query.
    """
    raw_path, _, query = target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": version,
        "method": method,
        "scheme": "https" if connection.secure else "http",
        "path": _path(raw_path),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": connection.client,
        "server": connection.server,
    }


@functools.lru_cache(maxsize=64)
def _path(raw: bytes) -> str:
    """Decoded; the paths of an endpoint are few."""
    return unquote(raw.decode("latin-1"))


def fields_of(headers: list[Field]) -> tuple[dict[bytes, bytes], list[Field]] | None:
    """The pseudo-header fields and the others, of which `host` is the first, taken from `:authority`. None where the
    request is malformed (RFC 9113 8.2, 8.3)."""
    known: dict[bytes, bytes] = {}
    rest: list[Field] = []
    for name, value in headers:
        if name[:1] == b":":
            if rest or name in known or name not in _PSEUDO:
                return None
            known[name] = value
        elif name == b"host":
            if known.setdefault(b":authority", value) != value:
                return None
        elif name in _OF_HTTP1 or (name == b"te" and value != b"trailers"):
            return None
        else:
            rest.append((name, value))
    values = b"".join([value for _, value in headers])
    if len(known) != len(_PSEUDO) or not known[b":path"] or b"\n" in values or b"\r" in values or b"\0" in values:
        return None
    if not _NAMES.fullmatch(b" ".join([name for name, _ in rest])):
        return None
    return known, [(b"host", known[b":authority"]), *rest]
