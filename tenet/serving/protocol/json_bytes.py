"""JSON that goes out: fast where it can be, complete where it must be."""

from __future__ import annotations

import json
from typing import Any

import orjson


def dumps(value: Any) -> bytes:
    """UTF-8 JSON. orjson knows no integers above 64 bits; a model may write one into a tool call."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, ensure_ascii=False).encode()
