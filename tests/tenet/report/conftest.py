"""Run folders that the tests of the reports share: made up, finished, small."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tenet.report import index, report
from tests.tenet.made_up_run import make_run


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One finished made-up run; tests that change it take a copy."""
    return make_run(tmp_path_factory.mktemp("report") / "demo")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may doctor."""
    return Path(shutil.copytree(made, tmp_path / "demo"))


@pytest.fixture(scope="session")
def reported(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with all notebooks executed and its pages written."""
    folder = Path(shutil.copytree(made, tmp_path_factory.mktemp("reported") / "demo"))
    report(folder)
    index(folder)
    return folder
