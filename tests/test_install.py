"""The first command on other people's machines: pins, Pythons, builds of torch, and what is left of an installation
that was killed.

pip is the real one, on packages of a few bytes; nothing is loaded from anywhere.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pty
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pip
import pytest
from packaging.specifiers import SpecifierSet

import install
from tests.distributions import ROOT, closure, installed, pins, project, requirements

#: Pins of `make install-smol`, which not every environment has.
ELSEWHERE = {"accelerate", "gguf"}
CUDA = ("nvidia-cudnn-cu13; platform_system == 'Linux'",)


# --- pins ------------------------------------------------------------------------------------------------------------


def promised() -> list[str]:
    """First and last patch of each minor version that pyproject.toml promises."""
    versions = [f"3.{minor}.{patch}" for minor in range(30) for patch in (0, 99)]
    return list(SpecifierSet(project()["requires-python"]).filter(versions))


def test_every_pin_takes_every_promised_python() -> None:
    assert promised() == [f"3.{minor}.{patch}" for minor in (11, 12, 13) for patch in (0, 99)]
    here, refused, absent, read = installed(), {}, set(), 0
    for name, version in pins().items():
        if name not in here:
            absent.add(name)
            continue
        assert here[name].version.partition("+")[0] == version, f"{name} is not installed as pinned; run make install-test"
        takes = SpecifierSet(here[name].metadata.get("Requires-Python", ""))
        if not all(takes.contains(python) for python in promised()):
            refused[name] = f"{version} wants Python {takes}"
        read += 1
    assert not refused
    assert absent <= ELSEWHERE, f"pinned, but not here to be read: {sorted(absent - ELSEWHERE)}"
    assert read > 200


def test_what_is_installed_is_pinned() -> None:
    """But for torch's own CUDA libraries, which another index may bring in other versions."""
    brought = closure(requirements("train", "test", "cloud"))
    assert len(brought) > 200
    assert {name for name in brought if not re.match("nvidia-|cuda-|triton", name)} <= {*pins(), "pip"}


def test_the_makefile_and_the_readme_say_the_same_pythons() -> None:
    minors = sorted({version.rpartition(".")[0] for version in promised()}, key=lambda text: int(text[2:]))
    spoken = f"{', '.join(minors[:-1])} and {minors[-1]}"
    makefile = (ROOT / "Makefile").read_text()
    low, high = (f"(3, {minor[2:]})" for minor in (minors[0], minors[-1]))
    assert f"{low} <= sys.version_info[:2] <= {high}" in makefile and f"Python {spoken}" in makefile
    assert f"Python {spoken.replace(' and ', ' or ')}" in (ROOT / "README.md").read_text()
    for variable in ("PYTHON", "TORCH", "TORCH_INDEX"):
        assert re.search(rf"^{variable} \?=", makefile, re.M) and f"{variable}=" in (ROOT / "README.md").read_text()


# --- Pythons ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def path_with(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """An environment whose PATH has some Pythons that say they are of a version, and nothing else that make does not
    need."""

    def make(**versions: str) -> dict[str, str]:
        folder = tmp_path / "path"
        folder.mkdir()
        for tool in ("make", "sh", "cksum", "touch"):
            (folder / tool).symlink_to(shutil.which(tool) or pytest.skip(f"no {tool} here"))
        for name, version in versions.items():
            numbers = ", ".join(version.split("."))
            stub = folder / name.replace("_", ".")
            stub.write_text(
                f'#!/bin/sh\n[ "$1" = --version ] && echo "Python {version}" && exit\n[ "$1" = -c ] || exit 9\n'
                f'exec {sys.executable} -c "import sys; sys.version_info = ({numbers})\n$2"\n'
            )
            stub.chmod(0o755)
        return {"PATH": str(folder), "HOME": str(tmp_path)}

    return make


@pytest.mark.parametrize("version", ["2.7.18", "3.10.13", "3.14.0", "4.0.1"])
def test_another_python_is_refused(path_with: Callable[..., dict[str, str]], version: str, tmp_path: Path) -> None:
    for name in ("Makefile", "install.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    done = make("demo", "PRESET=smol", folder=tmp_path, environment=path_with(python3=version, python3_12="3.12.1"))
    said = done.stderr.splitlines()
    assert done.returncode == 2 and said[0] == f"Tenet runs on Python 3.11, 3.12 and 3.13, and python3 is Python {version}."
    assert said[1] == "python3.12 is here: make demo PRESET=smol PYTHON=python3.12" and said[2].startswith("make: ***")
    assert not (tmp_path / ".venv").exists()


def test_no_python_is_said_too(path_with: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    for name in ("Makefile", "install.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    done = make("install", folder=tmp_path, environment=path_with(python3_11="3.14.1"))
    said = done.stderr.splitlines()
    assert done.returncode == 2 and said[0].endswith("and python3 is not to be found.")
    assert said[1] == "Install one of them and name it: make install PYTHON=python3.13"


@pytest.mark.parametrize("version", ["3.11.0", "3.12.1", "3.13.7"])
def test_a_promised_python_is_taken(path_with: Callable[..., dict[str, str]], version: str, tmp_path: Path) -> None:
    """As far as install.py, which the stub does not run."""
    for name in ("Makefile", "install.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    done = make("install", folder=tmp_path, environment=path_with(python3=version))
    assert "Tenet runs on" not in done.stderr and "Error 9" in done.stderr


def test_another_build_of_torch_is_not_passed_over(path_with: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    """Not even where everything is installed; said once more, it costs nothing."""
    environment = path_with(python3="3.12.1")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to("/bin/true")
    (tmp_path / ".venv" / ".base").touch()
    stub = tmp_path / "path" / "python3"
    stub.write_text(f'#!/bin/sh\n[ "$1" = -c ] || echo "$@" >> {tmp_path}/called\n')
    done = [
        make("install", *words, folder=tmp_path, environment=environment) for words in ((), ("TORCH=cpu",), ("TORCH=cpu",), ())
    ]
    assert [one.returncode for one in done] == [0] * 4
    assert (tmp_path / "called").read_text().splitlines() == ["install.py base --goal make install --torch cpu --torch-index "]


def make(*words: str, folder: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [f"{environment['PATH'].partition(os.pathsep)[0]}/make", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


# --- environments and builds -----------------------------------------------------------------------------------------


def wheel(folder: Path, name: str, version: str, needs: tuple[str, ...] = ()) -> Path:
    """A package of one module."""
    folder.mkdir(exist_ok=True)
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    meta = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(f"Requires-Dist: {need}\n" for need in needs)
    files = {
        f"{info}/METADATA": meta,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{module}.py": f"VERSION = {version!r}\n",
    }
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"]))
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a whole environment, whose pip is this one's and finds only what lies in wheels/."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    wheels = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels")}
    for name, value in {**wheels, "PIP_CACHE_DIR": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], check=True)
    (site,) = install.packages(Path(".venv"))
    (tmp_path / "tool").mkdir()
    (tmp_path / "tool" / "pip").symlink_to(Path(pip.__file__).parent)
    Path(site, "pip.pth").write_text(f"{tmp_path / 'tool'}\n")
    Path(".venv", install.MADE).write_text("3.12.99")
    wheel(Path("wheels"), "thing", "1.0")
    wheel(Path("wheels"), "other", "1.0")
    monkeypatch.setitem(install.STEPS, "base", install.Step("nothing more", (), torch=True))
    monkeypatch.setitem(install.STEPS, "test", install.Step("two things", (("thing", "other"),)))
    monkeypatch.setattr(install, "has_driver", lambda: False)
    return tmp_path


def has(module: str) -> str:
    """The version of one of our modules in the environment, or nothing."""
    done = subprocess.run([".venv/bin/python", "-c", f"import {module}; print({module}.VERSION)"], capture_output=True, text=True)
    return done.stdout.strip()


def cuda_wheels() -> None:
    wheel(Path("wheels"), "torch", "2.13.0", CUDA)
    wheel(Path("wheels"), "nvidia-cudnn-cu13", "9.1")


def test_the_cpu_build_is_told_with_its_size(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    large = wheel(Path("wheels"), "torch", "2.13.0+cpu")
    with zipfile.ZipFile(large, "a") as archive:
        archive.writestr("filling", os.urandom(3_000_000))
    assert install.main(["base"]) == 0
    said = capfd.readouterr().out
    told = f"torch 2.13.0+cpu, CPU build, from {large.resolve()}: 3 MB to load"
    assert told in said and said.index(told) < said.index("Processing ./wheels/torch"), "said before, and pip is not silent"
    assert re.search(rf"GB free in {here}/\.venv, \d+ GB free in ", said) and "no NVIDIA driver" not in said
    assert "goes on with its own Python 3.12.99" in said
    assert has("torch") == "2.13.0+cpu"
    assert install.main(["base"]) == 0 and "CPU build" not in capfd.readouterr().out, "torch is there"


def test_cuda_without_a_driver_is_told_and_how_to_do_without(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cuda_wheels()
    assert install.main(["base", "--goal", "make demo"]) == 0
    said = capfd.readouterr().out
    assert "torch 2.13.0, CUDA build" in said and "about 2.7 GB to load" in said and "4.6 GB on disk" in said
    assert "this machine has no NVIDIA driver" in said and "make demo TORCH_INDEX=ADDRESS" in said
    assert has("torch") == "2.13.0" and has("nvidia_cudnn_cu13") == "9.1", "nobody was there to answer"


@pytest.mark.parametrize(("words", "driver"), [(["--torch", "cuda"], False), ([], True)])
def test_cuda_that_is_wanted_is_not_asked_about(
    here: Path, words: list[str], driver: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cuda_wheels()
    monkeypatch.setattr(install, "has_driver", lambda: driver)
    assert install.main(["base", *words]) == 0
    said = capfd.readouterr().out
    assert "CUDA build" in said and "NVIDIA driver" not in said and has("torch") == "2.13.0"


@pytest.fixture
def index(here: Path) -> Iterator[str]:
    """A package index with a CPU build, on this machine."""
    (here / "index").mkdir()
    file = wheel(here / "index" / "torch", "torch", "2.13.0+cpu")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    page = f'<a href="{file.name.replace("+", "%2B")}#sha256={digest}">{file.name}</a>'
    (here / "index" / "torch" / "index.html").write_text(page)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(here / "index"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_index_brings_the_cpu_build(
    here: Path, index: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cuda_wheels()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{index}/empty")
    assert install.main(["base", "--torch", "cpu", "--torch-index", index]) == 0
    said = capfd.readouterr().out
    assert "torch 2.13.0+cpu, CPU build, from 127.0.0.1: about 0.2 GB to load" in said and "NVIDIA driver" not in said
    assert has("torch") == "2.13.0+cpu" and not has("nvidia_cudnn_cu13")


def test_somebody_at_a_terminal_can_answer(
    here: Path, index: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cuda_wheels()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{index}/empty")
    keyboard, terminal = pty.openpty()
    os.write(keyboard, f"{index}\n".encode())
    with os.fdopen(terminal) as stdin, os.fdopen(keyboard):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert install.main(["base"]) == 0
    assert "An address now, or Enter" in capfd.readouterr().out and has("torch") == "2.13.0+cpu"


def test_silence_at_a_terminal_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    cuda_wheels()
    monkeypatch.setattr(install, "ANSWER_SECONDS", 0)
    keyboard, terminal = pty.openpty()
    with os.fdopen(terminal) as stdin, os.fdopen(keyboard):
        monkeypatch.setattr(sys, "stdin", stdin)
        assert install.main(["base"]) == 0
    assert "going on" in capfd.readouterr().out and has("torch") == "2.13.0"


def test_a_build_that_is_not_to_be_had_is_an_error(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cuda_wheels()
    assert install.main(["base", "--torch", "cpu", "--goal", "make demo"]) == 2
    assert capfd.readouterr().err.splitlines()[-1].endswith("make demo TORCH=cpu TORCH_INDEX=ADDRESS") and not has("torch")
    shutil.rmtree("wheels")
    wheel(Path("wheels"), "torch", "2.13.0+cpu")
    assert install.main(["base", "--torch", "cuda"]) == 2
    assert "pip would load the CPU build" in capfd.readouterr().err and not has("torch")


def test_another_build_than_the_one_that_is_there_is_an_error(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cuda_wheels()
    assert install.main(["base"]) == 0
    assert install.main(["base", "--torch", "cpu"]) == 2
    assert ".venv holds torch 2.13.0, the CUDA build; `make clean` first, then TORCH=cpu" in capfd.readouterr().err
    assert install.main(["base", "--torch", "cuda"]) == 0


# --- killed and taken up again ---------------------------------------------------------------------------------------


def test_what_pip_was_killed_over_is_loaded_again(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert install.main(["test"]) == 0
    site = Path(install.packages(Path(".venv"))[0])
    (site / "thing.py").write_text("VERSION = ")  # half of a file, and pip had not come to RECORD
    (site / "thing-1.0.dist-info" / "RECORD").unlink()
    (site / "other.py").unlink()  # moved away before its successor came
    (site / "~ther-0.9.dist-info").mkdir()
    assert install.main(["test"]) == 0
    assert "cut short the last time, loaded again: other, thing\n" in capfd.readouterr().out
    assert has("thing") == has("other") == "1.0" and not list(site.glob("~*"))


def test_a_half_made_environment_is_made_anew(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """python is there, pip is not, nor is the last file."""
    monkeypatch.setattr(install, "FIRST", ("thing",))
    (Path(install.packages(Path(".venv"))[0]) / "pip.pth").unlink()
    Path(".venv", install.MADE).unlink()
    Path(".venv", "rest").touch()
    assert install.main(["test"]) == 0
    assert has("other") == "1.0" and not Path(".venv", "rest").exists() and Path(".venv", install.MADE).exists()


@pytest.mark.parametrize(("kind", "code"), [("fails", 1), ("killed", 1), ("interrupted", 75)])
def test_the_last_line_says_what_to_do(here: Path, kind: str, code: int, capfd: pytest.CaptureFixture[str]) -> None:
    if kind == "fails":
        Path("wheels", "thing-1.0-py3-none-any.whl").unlink()
    else:
        python = Path(".venv/bin/python")
        real = python.resolve()
        python.unlink()
        signal = "kill -9 $$" if kind == "killed" else f"kill -INT {os.getpid()}; exit 130"
        python.write_text(f'#!/bin/sh\ncase "$*" in *install*thing*) {signal};; esac\nexec {real} "$@"\n')
        python.chmod(0o755)
    assert install.main(["test"]) == code
    assert install.AGAIN in capfd.readouterr().err.splitlines()[-1]
    assert not has("thing")
