"""The house as docs/architecture.md draws it: imports run downwards, rooms have walls, names mean one thing."""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Rooms from the ground up; a file imports from its own room and from rooms below it, never from one above.
FLOORS = (
    ("lightning_modules.config", "lightning_modules.start"),
    ("lightning_modules.model",),
    ("lightning_modules.distributed",),
    ("lightning_modules.data",),
    ("lightning_modules.objectives",),
    ("lightning_modules.generation",),
    ("lightning_modules.training",),
    ("lightning_modules.modules",),
    ("tenet.errors", "tenet.stats", "tenet.units"),
    ("tenet.files", "tenet.flags", "tenet.hardware", "tenet.sandbox", "tenet.torchrun"),
    ("tenet.settings", "tenet.verifiers", "tenet.smollm2"),
    ("tenet.rows",),
    ("tenet.runs", "tenet.assistant", "tenet.model_folders"),
    (
        "tenet.planning",
        "tenet.corpus",
        "tenet.constitution",
        "tenet.evaluate",
        "tenet.posttrain",
        "tenet.serving",
    ),
    ("tenet.redteam", "tenet.domains", "tenet.feedback"),
    ("tenet.pipeline",),
    ("tenet.stages",),
    ("tenet.report",),
    ("tenet.launch.sky",),
    ("tenet.launch",),
    ("tenet.cli",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
#: Rooms whose modules are named as the stages are.
SAME = ("tenet.stages", "tenet.settings")
#: Most modules side by side, without __init__.py.
WIDEST = 12


def modules() -> dict[str, Path]:
    files = [*(ROOT / "lightning_modules").rglob("*.py"), *(ROOT / "tenet").rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def imports(path: Path) -> set[str]:
    """Modules of ours that a file imports anywhere, type checking aside."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checking = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in checking:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.startswith(("tenet.", "lightning_modules."))}


def test_imports_run_downwards() -> None:
    known = modules()
    upward = set()
    for name, path in known.items():
        for target in imports(path) & known.keys():
            if room(target) != room(name) and FLOOR[room(target)] >= FLOOR[room(name)]:
                upward.add(f"{name} -> {target}")
    assert not upward, "\n".join(sorted(upward))


def test_every_room_has_its_floor() -> None:
    rooms = {room(name) for name in modules() if name.count(".")}
    assert rooms <= FLOOR.keys(), sorted(rooms - FLOOR.keys())


def test_no_circle_between_modules() -> None:
    known = modules()
    graph = {name: {target for target in imports(path) & known.keys() if target != name} for name, path in known.items()}
    # A package's own __init__ is imported with each of its modules and imports none of them at start.
    state: dict[str, int] = {}
    circles: list[str] = []

    def visit(name: str, trail: list[str]) -> None:
        state[name] = 1
        for target in graph[name]:
            if state.get(target) == 1 and target in trail:
                circles.append(" > ".join(dict.fromkeys([*trail[trail.index(target) :], name, target])))
            if target not in state:
                visit(target, [*trail, name])
        state[name] = 2

    for name in graph:
        if name not in state:
            visit(name, [])
    assert not circles


def test_no_room_is_a_crowd() -> None:
    files = [*modules().values(), *(ROOT / "infra").rglob("*.py")]
    count = Counter(path.parent for path in files if path.name not in ("__init__.py", "__main__.py"))
    wide = {str(folder.relative_to(ROOT)): number for folder, number in count.items() if number > WIDEST}
    assert not wide


@pytest.mark.parametrize("package", ["tenet", "lightning_modules"])
def test_a_name_means_one_thing(package: str) -> None:
    names: dict[str, list[str]] = defaultdict(list)
    for name, path in modules().items():
        # A stage and its settings share the stage's name on purpose.
        if name.startswith(package) and path.name not in ("__init__.py", "__main__.py") and room(name) not in SAME:
            names[path.name].append(name)
    assert not {name: places for name, places in names.items() if len(places) > 2}


def test_the_tree_of_the_readme_is_the_tree() -> None:
    """What it names is there, and no package and no tracked file at the top is missing from it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Where things are")[2].partition("\n## ")[0]
    named, folder = set(), ""
    for line in (line for line in text.splitlines() if line.strip()):
        depth = (len(line) - len(line.lstrip())) // 2 - 2
        words = re.split(r" {2,}", line.strip())[0].split()
        folder = folder if depth else words[0]
        named |= {f"{folder if depth else ''}{word}" for word in words}
    assert not {name for name in named if not (ROOT / name).exists()}
    packages = [path for room in ("lightning_modules", "tenet") for path in (ROOT / room).iterdir() if path.name[0] not in "._"]
    assert not {str(p.relative_to(ROOT)) + "/" * p.is_dir() for p in packages} - named
