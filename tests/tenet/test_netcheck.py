"""`tenet netcheck`: what it measures is real, and too little of it ends with an error."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

import pytest

from lightning_modules.distributed import ranks
from tenet.cli.main import main
from tenet.launch.netcheck import bus_bandwidth, expected
from tests.processes import finish, start


def test_two_processes_measure_and_compare(tmp_path: Path) -> None:
    words = ["netcheck", "--largest", "4", "--folder", str(tmp_path)]
    first, second = finish(start(2, "tenet.cli", *words, "--gbytes", "0.0001"))
    assert (first[0], second[0]) == (0, 0), (first, second)
    rows = re.findall(r"^ +(\d+) +([\d.]+) +([\d.]+)$", first[1], re.MULTILINE)
    assert [int(size) for size, _, _ in rows] == [1, 4]
    for size, milliseconds, bandwidth in rows:  # the figure is the message over the time: n = 2, so 2 (n - 1) / n = 1
        assert float(bandwidth) == pytest.approx(int(size) * 2**20 / float(milliseconds) / 1e6, abs=0.02)
    assert "2 processes see the same files" in first[1] and "(--gbytes)" in first[1]
    assert second[1] == "" and not list(tmp_path.iterdir())


def test_too_slow_a_network_ends_all_with_1_and_is_told_once() -> None:
    ended = finish(start(2, "tenet.cli", "netcheck", "--largest", "1", "--instance", "p5.48xlarge"))
    assert [code for code, _, _ in ended] == [1, 1]
    said = "".join(err for _, _, err in ended)
    assert said.count("at least 50% is asked for") == 1 and "of 450.00 GB/s (p5.48xlarge)" in said


def test_a_folder_that_is_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two made-up processes: the other one's file comes late, or never."""
    from tenet.errors import StageError
    from tenet.launch import netcheck

    monkeypatch.setattr(ranks, "world", lambda: 2)
    monkeypatch.setattr(ranks, "agree", lambda value: "mark")
    monkeypatch.setattr(ranks, "gather", lambda value: [value])
    monkeypatch.setattr(ranks, "on_first", lambda work: work())
    monkeypatch.setattr(netcheck, "PATIENCE", 1.0)
    late = threading.Thread(target=lambda: (time.sleep(0.3), (tmp_path / "mark-1").touch()))
    late.start()
    netcheck._shared(tmp_path)
    late.join()
    (tmp_path / "mark-1").unlink()
    with pytest.raises(StageError, match=r"process 0 does not see the files of \[1\]"):
        netcheck._shared(tmp_path)


def test_what_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bus_bandwidth(1e9, 0.5, 2) == 2.0
    assert bus_bandwidth(1e9, 1.0, 8) == 1.75
    assert expected("", 0.0) == 0.0 and expected("p5.48xlarge", 12.0) == 12.0
    monkeypatch.setenv("WORLD_SIZE", "16")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert expected("p5.48xlarge", 0.0) == 400.0  # 3,200 Gbit/s
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert expected("p5.48xlarge", 0.0) == 450.0  # NVLink, one direction


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--instance", "p5.49xlarge"], "p5.48xlarge"),
        (["--at-least", "2"], "--at-least is 2.0"),
        (["--largest", "-1"], "--largest is -1 MiB"),
        (["--gbytes", "-1"], "--gbytes is -1.0"),
    ],
)
def test_wrong_settings_end_with_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["netcheck", *words]) == 2
    assert message in capsys.readouterr().err


def test_one_process_has_nothing_to_measure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["netcheck"]) == 0
    assert "one process" in capsys.readouterr().out
