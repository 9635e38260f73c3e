"""On PYTHONPATH of SkyPilot's API server. Before a lost job is started again, SkyPilot asks two public addresses
whether the network is up, and waits as long as they do not answer. Here there is no network but this machine, so its
own server is asked.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
from typing import Any

MODULE = "sky.backends.backend_utils"
ASKED = f"http://127.0.0.1:{os.environ.get('SKYPILOT_API_SERVER_LOCAL_PORT', '46580')}/api/health"


class Finder(importlib.abc.MetaPathFinder):
    """Changes one list of one module after it was imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """Only of that module."""
        spec = importlib.machinery.PathFinder.find_spec(name, path) if name == MODULE else None
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def changed(module: Any) -> None:
            execute(module)
            assert isinstance(module._TEST_IP_LIST, list)
            module._TEST_IP_LIST = [ASKED]

        spec.loader.exec_module = changed  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Finder())
