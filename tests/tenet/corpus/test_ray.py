"""The corpus stage on Ray: the same bytes as on this machine alone, a killed task is done again, a failed one is told.

A Ray of its own is started for all of it, in a process of its own: it is slow to start and takes signals for itself.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from tenet.errors import StageError
from tenet.runs.execute import execute
from tenet.settings.corpus import CorpusConfig, SourceConfig
from tenet.stages import corpus
from tests.tenet.corpus.test_own_text import english
from tests.tenet.corpus.test_stage import contents

ROOT = Path(__file__).resolve().parents[3]
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="ray is not installed; `pip install ray` and run this again"
)
TASKS = 4


class Attempt(PipelineStep):
    """Leaves a line for each attempt; in the one task that is told so, the first attempt ends badly."""

    name = "attempt"

    def __init__(self, folder: Path, bad: int, how: str) -> None:
        super().__init__()
        self.folder, self.bad, self.how = folder, bad, how

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Kill the process or raise."""
        path = self.folder / f"{rank}.attempts"
        first = not path.exists()
        with open(path, "a") as file:
            file.write("x")
        if rank == self.bad and first:
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError(f"rank {rank} of {world_size} is bad")
        yield Document(text="x", id=str(rank))


def build(run: Path, texts: Path, executor: str) -> Path:
    config = CorpusConfig(
        sources=(SourceConfig("folder", str(texts), licence="CC0-1.0"),), vocab_size=320, evaluation=(), workers=2,
        executor=executor,  # type: ignore[arg-type]
    )  # fmt: skip
    foreign = {"model.max_position_embeddings": 512}
    execute(run, "corpus", (), config, corpus.run, seed=0, foreign=foreign, workspace={"domain": None})
    return run / "corpus"


def under_ray(folder: Path) -> dict[str, Any]:
    """All that is looked at, within one Ray."""
    from tenet.corpus.executors.ray_executor import RayExecutor, _cluster

    found: dict[str, Any] = {}
    before = signal.getsignal(signal.SIGTERM)
    with _cluster():
        found["signal kept"] = signal.getsignal(signal.SIGTERM) is before
        for how in ("killed", "wrong"):
            place = folder / how
            place.mkdir()
            executor = RayExecutor([Attempt(place, 1, how)], TASKS, 2, str(place / "state"))
            try:
                executor.run()
            except StageError as error:
                found[f"{how}: error"] = str(error)
                executor.run()  # the second attempt is good
            found[how] = [len((place / f"{rank}.attempts").read_text()) for rank in range(TASKS)]
            found[f"{how}: done"] = sorted(path.name for path in (place / "state" / "completions").iterdir())
        build(folder / "ray", folder / "texts", "ray")
    return found


@needs_ray
def test_on_ray_everything_is_as_on_this_machine(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for i in range(40):
        (tmp_path / "texts" / f"{i}.txt").write_text(english(f"text {i}"))
    local = contents(build(tmp_path / "local", tmp_path / "texts", "local"))
    script = (
        "import json, sys; from pathlib import Path; from tests.tenet.corpus.test_ray import under_ray; "
        "print(json.dumps(under_ray(Path(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["signal kept"], "Ray would end this process on SIGTERM before anything is saved"
    assert found["killed"] == [1, 2, 1, 1], "a killed task is done again, the others are not"
    assert found["wrong: error"].startswith("corpus: task 1 failed on Ray (ValueError: rank 1 of 4 is bad)")
    assert found["wrong"][1] == 2 and found["killed: done"] == found["wrong: done"] == ["00000", "00001", "00002", "00003"]
    assert contents(tmp_path / "ray" / "corpus") == local
