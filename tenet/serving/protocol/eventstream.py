"""Frames of `application/vnd.amazon.eventstream`. botocore can only read them, and no package writes them, so this page
does.

    total length | headers length | CRC-32 of these 8 bytes | headers | payload | CRC-32 of everything before
    a header: u8 length of the name | name | u8 type (7: string) | u16 length of the value | value

All other numbers are u32, everything big endian.
"""

from __future__ import annotations

import functools
import struct
import zlib
from typing import Any

from tenet.serving.protocol.json_bytes import dumps

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_STRING = 7
_PRELUDE, _CRC = struct.Struct("!II"), struct.Struct("!I")


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One message with string headers."""
    return _framed(_head(headers), payload)


def event(name: str, payload: dict[str, Any]) -> bytes:
    """One event with a JSON payload."""
    return _framed(_event_head(name), dumps(payload))


def exception(name: str, message: str) -> bytes:
    """An error after the stream has begun; it ends the stream."""
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return frame(headers, dumps({"message": message}))


def _head(headers: dict[str, str]) -> bytes:
    return b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", _STRING, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )


@functools.lru_cache(maxsize=32)
def _event_head(name: str) -> bytes:
    """Headers of one kind of event; there is a dozen kinds, and one event for each token."""
    return _head({":event-type": name, ":content-type": "application/json", ":message-type": "event"})


def _framed(head: bytes, payload: bytes) -> bytes:
    prelude = _PRELUDE.pack(16 + len(head) + len(payload), len(head))
    body = b"".join((prelude, _CRC.pack(zlib.crc32(prelude)), head, payload))
    return body + _CRC.pack(zlib.crc32(body))
