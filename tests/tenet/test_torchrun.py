"""The launcher hands on what its workers said, and what a signal means."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest


def command(script: Path, workers: int = 1) -> list[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["--nnodes", "1", "--node-rank", "0", "--master-addr", "127.0.0.1", "--master-port", str(port)]
    return [sys.executable, "-m", "tenet.torchrun", *where, "--nproc-per-node", str(workers), str(script)]


def launch(script: Path, workers: int = 1) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(script, workers), capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


@pytest.mark.parametrize("code", [0, 2, 75])
def test_exit_code_is_the_workers(tmp_path: Path, code: int) -> None:
    script = tmp_path / "worker.py"
    script.write_text(f"import sys; sys.exit({code})")
    assert launch(script).returncode == code


def test_workers_get_their_ranks(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(f"import os; open(r'{tmp_path}/' + os.environ['RANK'], 'w').write(os.environ['WORLD_SIZE'])")
    assert launch(script, workers=2).returncode == 0
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["2", "2"]


def test_signal_reaches_the_workers_and_means_resumable(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(
        "import pathlib, signal, sys, time\n"
        f"folder = pathlib.Path(r'{tmp_path}')\n"
        "def stop(*_):\n    (folder / 'saved').touch(); sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "(folder / 'started').touch()\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(command(script), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "started").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 75
    finally:
        process.kill()
    assert (tmp_path / "saved").exists()


def test_skypilots_variables_become_torchruns() -> None:
    from tenet.torchrun import from_sky

    node = {
        "SKYPILOT_NODE_IPS": "10.0.0.7\n10.0.0.8",
        "SKYPILOT_NODE_RANK": "1",
        "SKYPILOT_NUM_NODES": "2",
        "SKYPILOT_NUM_GPUS_PER_NODE": "8",
    }
    wanted = {
        "PET_NNODES": "2",
        "PET_NODE_RANK": "1",
        "PET_NPROC_PER_NODE": "8",
        "PET_MASTER_ADDR": "10.0.0.7",
        "PET_MASTER_PORT": "29500",
    }
    assert from_sky(node) == wanted
    assert from_sky({**node, "NPROC": "1"})["PET_NPROC_PER_NODE"] == "1"
    assert from_sky({**node, "SKYPILOT_NUM_GPUS_PER_NODE": "0", "NPROC": ""})["PET_NPROC_PER_NODE"] == "1"
    assert "PET_MASTER_PORT" not in from_sky({**node, "PET_MASTER_PORT": "1234"})
    assert from_sky({}) == {}


def test_two_nodes_that_skypilot_started(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(f"import os; open(r'{tmp_path}/' + os.environ['RANK'], 'w').write(os.environ['WORLD_SIZE'])")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PET_MASTER_PORT": port,
        "SKYPILOT_NODE_IPS": "127.0.0.1\n127.0.0.1",
        "SKYPILOT_NUM_NODES": "2",
        "SKYPILOT_NUM_GPUS_PER_NODE": "0",
    }
    words = [sys.executable, "-m", "tenet.torchrun", str(script)]
    nodes = [subprocess.Popen(words, env={**environment, "SKYPILOT_NODE_RANK": rank}) for rank in "01"]
    try:
        assert [node.wait(timeout=120) for node in nodes] == [0, 0]
    finally:
        for node in nodes:
            node.kill()
    assert [(tmp_path / rank).read_text() for rank in "01"] == ["2", "2"]
