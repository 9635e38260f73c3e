"""Put this folder on PYTHONPATH, name modules in TENET_REFUSED, and no Python process below finds them, as if they were
not installed."""

from __future__ import annotations

import os
import sys
from typing import Any

REFUSED = frozenset(os.environ.get("TENET_REFUSED", "").split())


class Blind:
    """One of Python's finders, which finds none of the modules that are refused."""

    def __init__(self, finder: Any) -> None:
        self._finder = finder

    def find_spec(self, name: str, *arguments: Any) -> Any:
        return None if name.partition(".")[0] in REFUSED else self._finder.find_spec(name, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)


sys.meta_path[:] = [Blind(finder) for finder in sys.meta_path]
