"""What a program's end is called, and what a machine that cannot isolate says."""

from __future__ import annotations

import os
import platform
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tenet.errors import ConfigError
from tenet.sandbox import client, seccomp
from tenet.sandbox.client import SandboxError, judge, require, run_python, shut
from tenet.sandbox.confinement import missing
from tenet.sandbox.folder import empty, holds_more
from tenet.sandbox.limits import Limits


@pytest.fixture(autouse=True)
def able() -> None:
    if lacking := missing():
        pytest.skip(lacking)


@pytest.mark.parametrize(
    ("program", "status", "code", "stdout", "reason"),
    [
        ("print(input() * 2)", "passed", 0, "abab\n", ""),
        ("import sys; sys.exit(3)", "failed", 3, "", "it ended with exit code 3"),
        ("import sys; sys.exit('no')", "failed", 1, "", "no"),
        ("x = 1 / 0", "failed", 1, "", "ZeroDivisionError: division by zero"),
        ("x = (", "failed", 1, "", "SyntaxError: '(' was never closed"),
        ("import os; os._exit(5)", "failed", 5, "", "it ended with exit code 5"),
        ("x = bytes(1 << 32)", "memory", 1, "", "it wanted more memory than it may have"),
        ("import atexit; atexit.register(print, 'bye')", "passed", 0, "bye\n", ""),
        ("import threading; threading.Thread(target=print, args=('late',)).start()", "passed", 0, "late\n", ""),
        ("print(__name__, len(__import__('sys').argv))", "passed", 0, "__main__ 1\n", ""),
        ("import tenet", "failed", 1, "", "ModuleNotFoundError: No module named 'tenet'"),
        ("import dataclasses, pickle, asyncio\nasync def main(): print(await asyncio.sleep(0, 7))\nasyncio.run(main())", "passed", 0, "7\n", ""),
        ("import tempfile\nwith tempfile.TemporaryFile() as f: print(f.write(b'xyz'))", "passed", 0, "3\n", ""),
        ("print('\\ud800')", "passed", 0, "\\ud800\n", ""),
    ],
)  # fmt: skip
def test_how_a_program_ends(program: str, status: str, code: int, stdout: str, reason: str) -> None:
    outcome = run_python(program, stdin="ab")
    assert (outcome.status, outcome.exit_code, outcome.stdout, outcome.reason) == (status, code, stdout, reason)


def test_a_traceback_shows_the_program_alone() -> None:
    lines = run_python("def f():\n    raise ValueError('here')\nf()\n").stderr.splitlines()
    assert [line.strip() for line in lines] == [
        "Traceback (most recent call last):",
        'File "<program>", line 3, in <module>', "f()",
        'File "<program>", line 2, in f', "raise ValueError('here')",
        "ValueError: here",
    ]  # fmt: skip


def test_time_is_kept() -> None:
    began = time.monotonic()
    outcome = run_python("while True: pass", limits=Limits(seconds=0.2))
    assert outcome.status == "timeout"
    assert 0.2 <= outcome.seconds < 1 and time.monotonic() - began < 1
    assert "more time" in outcome.reason


def test_limits_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="memory is 1; it must be"):
        Limits(memory=1)


def test_values_cross_as_what_they_are() -> None:
    """An answer's values arrive in the tests as they were, of every kind that tests compare."""
    program = """
import collections, datetime, decimal, enum, fractions
class Colour(enum.IntEnum): RED = 3
Point = collections.namedtuple("Point", "x y")
def echo(x): return x
def grown(x): x.append(4)
def values():
    return [1, -2.5, 1 << 200, True, None, "ü\\ud800", (1,), {1: (2,)}, {1, 2}, frozenset([3]), b"x", bytearray(b"y"), 1 + 2j, range(3),
        collections.deque([1]), decimal.Decimal("1.10"), fractions.Fraction(1, 3), datetime.date(2020, 1, 2),
        datetime.datetime(2020, 1, 2, 3), datetime.timedelta(3), Colour.RED, Point(1, 2), collections.Counter("aab")]
def counted(): yield from range(3)
class Node:
    def __init__(self, value): self.value, self.next = value, None
def total(node): return node.value + (total(node.next) if node.next else 0)
def apply(function, x): return function(x)
class Own(ValueError): pass
def bad(): raise Own("words")
"""
    asserts = [
        "import collections, datetime, decimal, fractions\nassert values() == [1, -2.5, 1 << 200, True, None, 'ü\\ud800', (1,), {1: (2,)}, "
        "{1, 2}, frozenset([3]), b'x', bytearray(b'y'), 1 + 2j, range(3), collections.deque([1]), decimal.Decimal('1.10'), "
        "fractions.Fraction(1, 3), datetime.date(2020, 1, 2), datetime.datetime(2020, 1, 2, 3), datetime.timedelta(3), 3, (1, 2), "
        "{'a': 2, 'b': 1}]\nassert type(values()[3]) is bool",
        "assert echo(float('nan')) != echo(float('nan')) and echo(float('inf')) > 1e308",
        "assert list(counted()) == [0, 1, 2]",
        "kept = [1, [2]]\nalias = kept\ngrown(kept)\nassert alias == [1, [2], 4]",
        "head = Node(1)\nhead.next = Node(2)\nassert total(head) == 3 and head.next.value == 2",
        "assert apply(lambda x: x + 1, 2) == 3",
        "try:\n    bad()\nexcept ValueError as error:\n    assert 'words' in str(error)\nelse:\n    assert False",
        "assert echo([[]] * 2) == [[], []]",
        "assert echo(int) is int and echo([str, ValueError]) == [str, ValueError] and echo(Node) is not Node",
    ]
    said = judge(program, asserts=asserts)
    assert (said.passed, said.of, said.reason) == (9, 9, "")


def test_the_zygote_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    require()
    zygote = client._kept[-1]
    os.kill(zygote.process.pid, signal.SIGKILL)
    zygote.process.wait()
    assert run_python("print(1)").stdout == "1\n"  # another one takes its place
    zygote = client._kept[-1]
    monkeypatch.setattr(zygote.process, "poll", lambda: None)
    os.kill(zygote.process.pid, signal.SIGKILL)
    with pytest.raises(SandboxError, match="run the same command again"):
        run_python("print(1)")


def test_the_caller_is_killed(tmp_path: Path) -> None:
    """What it had started ends with it, and its folder is gone."""
    program = "import os; print(os.getcwd(), flush=True); import time; time.sleep(60)"
    code = f"from tenet.sandbox import client\nclient.require(); print(client._kept[-1].folder, flush=True); client.run_python({program!r})"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout
        folder = Path(caller.stdout.readline().strip())
        time.sleep(0.2)
        caller.kill()
    deadline = time.monotonic() + 5
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert folder.name.startswith("tenet-sandbox-") and not folder.exists()


def test_a_machine_that_cannot_isolate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told apart and refused, with the way out; nothing runs without isolation unless somebody wrote that it may."""
    monkeypatch.setattr(
        client, "_START", client._START.replace("main()", "import tenet.sandbox.zygote as z; z.missing = lambda: 'x'; main()")
    )
    shut()
    with pytest.raises(ConfigError, match=r"lacks x\. Run on Linux 5\.13.*TENET_SANDBOX=none"):
        run_python("print(1)")
    monkeypatch.setenv("TENET_SANDBOX", "off")
    with pytest.raises(ConfigError, match="TENET_SANDBOX is 'off'"):
        run_python("print(1)")
    monkeypatch.setenv("TENET_SANDBOX", "none")
    outcome = run_python("import os; print(len(os.listdir('/')) > 0)")
    assert (outcome.stdout, outcome.isolated) == ("True\n", False)
    assert "without isolation" in capsys.readouterr().err
    assert run_python("while True: pass", limits=Limits(seconds=0.2)).status == "timeout"
    shut()


def test_a_confinement_that_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe before the first program finds the door that is open."""
    open_ = "import tenet.sandbox.seccomp as s; s.install = lambda libc, code: None; main()"
    monkeypatch.setattr(client, "_START", client._START.replace("main()", open_))
    shut()
    with pytest.raises(ConfigError, match=r"a confined process could still .*open a socket"):
        run_python("print(1)")
    shut()


def test_numbers_of_system_calls() -> None:
    """Against the kernel's headers, where they are installed."""
    found = {}
    for path in ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"):
        if Path(path).is_file():
            found = dict(re.findall(r"#define __NR_(\w+)\s+(\d+)", Path(path).read_text()))
    if not found:
        pytest.skip("the kernel's headers for x86_64 are not installed")
    tables = {**seccomp.ALLOWED, **seccomp.JUDGED, **seccomp.ABSENT}
    assert {name: numbers[0] for name, numbers in tables.items()} == {name: int(found[name]) for name in tables}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_filter_is_a_program_that_ends(machine: str) -> None:
    """Every jump stays inside, forwards, and the last instruction returns, on either machine."""
    code = seccomp.program(machine, 1234)
    steps = [(code[i] | code[i + 1] << 8, code[i + 2], code[i + 3]) for i in range(0, len(code), 8)]
    assert len(code) % 8 == 0 and len(steps) < 4096
    assert all(place + 1 + max(true, false) < len(steps) for place, (kind, true, false) in enumerate(steps) if kind == 0x15)
    assert steps[-1][0] == 0x06
    assert platform.machine() in seccomp.MACHINES


def test_a_folder_is_emptied_whatever_is_in_it(tmp_path: Path) -> None:
    work, outside = tmp_path / "work", tmp_path / "outside"
    work.mkdir()
    outside.mkdir()
    (outside / "kept").write_text("x")
    here = os.getcwd()
    os.chdir(work)
    try:
        for _ in range(300):  # longer than any path may be
            os.mkdir("d" * 20)
            os.chdir("d" * 20)
    finally:
        os.chdir(here)
    (work / "link").symlink_to(outside)
    (work / "closed").mkdir(0o000)
    (work / "file").write_bytes(bytes(10_000))
    try:
        assert holds_more(work, 1 << 30, 10**6)
        assert not holds_more(outside, 1 << 20, 1) and holds_more(outside, 1 << 20, 0) and holds_more(outside, 0, 9)
    finally:
        empty(work)  # pytest's own way of tidying up would recurse
    assert list(work.iterdir()) == []
    assert (outside / "kept").read_text() == "x"
