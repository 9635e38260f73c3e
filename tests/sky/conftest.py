"""SkyPilot is told where it may write, and not to report usage, before anything imports it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from types import ModuleType

import pytest

from tenet.cli.main import flags_of
from tenet.launch import words


@pytest.fixture(scope="session")
def sky() -> Iterator[ModuleType]:
    """SkyPilot with a HOME of its own; imported once, it takes seconds."""
    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", home)
        patch.setenv("SKY_RUNTIME_DIR", home)
        patch.setenv("SKYPILOT_DISABLE_USAGE_COLLECTION", "1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        module = pytest.importorskip("sky")
        assert os.environ["HOME"] == home
        yield module


@pytest.fixture(autouse=True)
def known_flags() -> None:
    """The launch room is told what the command line takes, as `tenet sky check` tells it."""
    words.know(flags_of)
