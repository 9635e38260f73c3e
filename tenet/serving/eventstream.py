"""Frames of `application/vnd.amazon.eventstream`. botocore can only read them, and no package writes them, so this page does.

    total length | headers length | CRC-32 of these 8 bytes | headers | payload | CRC-32 of everything before
    a header: u8 length of the name | name | u8 type (7: string) | u16 length of the value | value

All other numbers are u32, everything big endian.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

CONTENT_TYPE = "application/vnd.amazon.eventstream"
_STRING = 7


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One message with string headers."""
    head = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", _STRING, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(head) + len(payload), len(head))
    body = prelude + struct.pack("!I", zlib.crc32(prelude)) + head + payload
    return body + struct.pack("!I", zlib.crc32(body))


def event(name: str, payload: dict[str, Any]) -> bytes:
    """One event with a JSON payload."""
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return frame(headers, json.dumps(payload, ensure_ascii=False).encode())


def exception(name: str, message: str) -> bytes:
    """An error after the stream has begun; it ends the stream."""
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return frame(headers, json.dumps({"message": message}, ensure_ascii=False).encode())
