"""Every test runs offline: a socket to anything but this machine is an error, so a hidden download cannot pass
unnoticed."""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("SKYPILOT_DISABLE_USAGE_COLLECTION", "1")
os.environ.setdefault("MPLBACKEND", "agg")

#: Seconds after the beginning of `make test` from which on the longest tests are left out: CI has to end within 25 minutes.
LATE = 1080

_connect = socket.socket.connect


def _guarded(self: socket.socket, address: object) -> None:
    if isinstance(address, tuple) and address:
        host = str(address[0])
        loopback = host == "localhost" or (host.replace(".", "").replace(":", "").isalnum() and _is_loopback(host))
        if not loopback:
            raise OSError(f"tests must stay on this machine; refused a connection to {host}")
    _connect(self, address)  # type: ignore[arg-type]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections beyond loopback."""
    monkeypatch.setattr(socket.socket, "connect", _guarded)


@pytest.fixture(scope="module")
def in_time() -> None:
    """For files and tests of a minute and more: they come last, and are left out, each by name, where those before took
    long. Called by hand they always run."""
    _leave_out_where_late()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests last, those under the engine after the others; those of a file stay in their order."""

    def place(item: pytest.Item) -> int:
        longest = "in_time" in getattr(item, "fixturenames", ())
        return longest + (longest and "tests/infra/" in item.nodeid)

    items.sort(key=place)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A file that has begun stops where it is late."""
    if "in_time" in getattr(item, "fixturenames", ()):
        _leave_out_where_late()


def _leave_out_where_late() -> None:
    taken = time.time() - float(os.environ.get("TENET_TESTS_BEGAN") or time.time())
    if taken > LATE:
        pytest.skip(f"{taken:.0f} s of `make test` have gone by, and CI ends after 25 minutes; pytest on this file runs it")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data beside the checkout; a test that wants it is skipped, by name, where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not (folder / "manifest.json").is_file():
        pytest.skip("shared/data is not beside this checkout; the test's own small data covers the code")
    return folder
