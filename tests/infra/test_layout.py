"""What the engine starts, and from what: names of files, what is installed for them, and what of Tenet they need."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from .conftest import ROOT
from .documented import blocks, needs, runnable

PROGRAM = sorted((ROOT / "infra").rglob("*.py"))
#: From the ground up; a module in a room imports from its own and from those before it. The pack stands outside.
ROOMS = ("repository", "configuration", "identity", "ground", "training", "endpoint", "watching")


def plain(folder: Path) -> set[str]:
    """What is imported by a plain name where a folder is first on the path: its modules and its rooms."""
    return {path.stem for path in folder.iterdir() if path.name[0] not in "._" and (path.is_dir() or path.suffix == ".py")}


@pytest.mark.parametrize("path", PROGRAM, ids=lambda path: path.relative_to(ROOT / "infra").as_posix())
def test_no_file_has_the_name_of_a_standard_module(path: Path) -> None:
    """The engine puts a pack's own folder, and a program's, first on the path: such a file is imported in the module's
    place."""
    assert path.stem.startswith("__") or path.stem not in sys.stdlib_module_names


def test_no_plain_name_is_taken() -> None:
    """A room, or a file beside the rooms, hides the installed package of its name, or is hidden by it."""
    names = plain(ROOT / "infra") | plain(ROOT / "infra" / "policy")
    assert not names & (sys.stdlib_module_names | importlib.metadata.packages_distributions().keys())


@pytest.mark.parametrize("room", sorted({path.parent.name for path in PROGRAM} - {"infra", "policy"}))
def test_rooms_import_downwards(room: str) -> None:
    found = {name for path in (ROOT / "infra" / room).glob("*.py") for name in imported(path)} & plain(ROOT / "infra")
    assert found <= set(ROOMS[: ROOMS.index(room) + 1])


def imported(path: Path) -> set[str]:
    """Top-level modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_pulumi_install_installs_what_is_imported_and_nothing_heavy() -> None:
    lines = (ROOT / "infra" / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith(("#", "-"))]
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["cloud"]
    assert set(wanted) <= set(extra), "infra/requirements.txt and pyproject.toml say the same versions"
    (constraints,) = [line.split()[1] for line in lines if line.startswith("--constraint")]
    assert (ROOT / "infra" / constraints).is_file()
    own = plain(ROOT / "infra")
    brought = {re.split("[><=]", line)[0].replace("-", "_") for line in wanted} | {"yaml"}  # PyYAML comes with pulumi
    others = {name for path in PROGRAM for name in imported(path)} - own - sys.stdlib_module_names - brought
    assert others == {"tenet"}
    assert [path.name for path in PROGRAM if "tenet" in imported(path)] == ["repository.py"]


def test_the_program_finds_the_table_of_machines_in_its_clone(tmp_path: Path) -> None:
    """Whether Tenet is installed, or another one is: and nothing of it is loaded that `pulumi install` does not
    bring."""
    pytest.importorskip("pulumi_aws")
    for part in ("infra", "tenet"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    script = (
        "import sys; sys.path.insert(0, 'infra'); import configuration.loading, policy.engine; "
        "print([m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'tenet']); "
        "print({'torch', 'numpy', 'lightning'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    files, heavy = done.stdout.splitlines() or [done.stderr, ""]
    found = ast.literal_eval(files)
    assert found and all(name.startswith(str(tmp_path)) for name in found) and heavy == "set()"


def test_every_command_block_of_the_page_is_run_or_says_what_it_needs() -> None:
    """Those that need nothing are run by test_under_engine.py and below; the rest names AWS, a cluster or machines."""
    here = {heading: len(runnable(heading)) for heading in blocks() if runnable(heading)}
    assert here == {"First time": 1, "From stack to launch": 1, "Taking it down": 2}
    assert sum(bool(needs(block)) for rows in blocks().values() for block in rows) >= 5
