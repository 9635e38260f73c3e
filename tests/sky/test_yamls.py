"""Every launch file is one that SkyPilot accepts, that belongs to a stage, and that says what a person needs to
know."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tenet.launch.check import CALL
from tenet.launch.variants import pipeline_text
from tenet.pipeline.table import STAGES

SKY = Path(__file__).resolve().parents[2] / "sky"
FILES = sorted(path for path in SKY.glob("*.yaml") if path.stem != "pipeline")
NAMES = [path.stem for path in FILES]
TOGETHER = sorted(name for name, stage in STAGES.items() if stage.distributed)


def content(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def commands(path: Path) -> list[str]:
    return [command for command, _ in CALL.findall(content(path)["run"].replace("\\\n", " "))]


def test_file_stage_command_and_notebook_are_one_word() -> None:
    files = {path.stem for path in FILES} - {"service"}
    notebooks = {path.stem for path in SKY.parent.joinpath("notebooks").glob("*.ipynb")}
    assert notebooks == set(STAGES)
    assert files <= set(STAGES)
    # A stage without a file of its own is run by the file of another one.
    called = {command for name in files for command in commands(SKY / f"{name}.yaml")}
    assert called & set(STAGES) == set(STAGES)
    for name in files:
        loaded = content(SKY / f"{name}.yaml")
        assert loaded["name"] == name and name in commands(SKY / f"{name}.yaml")
        assert f"--stage {name}" in loaded["run"] or f"for stage in {name} " in loaded["run"], "no notebook at the end"


def test_pipeline_is_made_of_the_files() -> None:
    text = (SKY / "pipeline.yaml").read_text()
    assert text == pipeline_text(SKY), "write it anew: tenet sky pipeline > sky/pipeline.yaml"
    head, *tasks = list(yaml.safe_load_all(text))
    assert head == {"name": "pipeline"}
    ran = [task["name"] for task in tasks]
    assert ran == [name for name in STAGES if name in NAMES and STAGES[name].usual and name not in ("deploy", "serve")]
    for task in tasks:  # each finds what it reads
        before = {c for done in tasks[: tasks.index(task)] for c, _ in CALL.findall(done["run"])}
        assert set(STAGES[task["name"]].reads) <= before | {"model"}


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_shell_is_short_and_stops_at_the_first_error(path: Path) -> None:
    loaded = content(path)
    assert loaded["setup"] == "bash sky/setup.sh"
    assert loaded["run"].startswith("set -euo pipefail\n")
    assert len(loaded["run"].splitlines()) <= 8, "longer than a few lines: make it a command of ours"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_head_says_how_to_launch_watch_and_stop(path: Path) -> None:
    head = path.read_text().split("\nname:")[0]
    for word in ("launch", "watch", "stop", "cost"):
        assert re.search(rf"^#   {word} ", head, re.MULTILINE), word
    assert f"sky/{path.name}" in head
    for required in (k for kind in ("envs", "secrets") for k, v in content(path).get(kind, {}).items() if v is None):
        assert required in head, f"{required} is required and the launch line does not give it"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_every_env_is_explained(path: Path) -> None:
    for name in content(path)["envs"]:
        assert re.search(rf"^  {name}: .*# \w", path.read_text(), re.MULTILINE), f"{name} has no comment"


@pytest.mark.parametrize("name", TOGETHER)
def test_training_files_share_one_skeleton(name: str) -> None:
    loaded = content(SKY / f"{name}.yaml")
    resources = loaded["resources"]
    assert [r.get("use_spot", False) for r in resources["ordered"]] == [True, False]
    assert resources["network_tier"] == "best"
    assert resources["job_recovery"]["recover_on_exit_codes"] == [75]
    assert loaded["file_mounts"] == {"/runs": {"source": "s3://${RUNS_BUCKET}", "mode": "MOUNT_CACHED"}}
    assert f'python -m tenet.torchrun -m tenet.cli {name} --preset "$PRESET" --run "$RUNS/$RUN"' in loaded["run"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, ""),
        ({"SKYPILOT_NUM_NODES": "4"}, "4 nodes and a bucket"),
        ({"SKYPILOT_NUM_NODES": "4", "RUNS": "/shared/runs"}, ""),
        ({"LUSTRE": "fs@tcp:/a"}, "RUNS is /runs; give --env RUNS=/fsx/checkpoints"),
        ({"VENV": "/nowhere"}, "VENV is /nowhere and there is no Python in it"),
    ],
)
def test_setup_refuses_what_the_stage_could_not_use(given: dict[str, str], message: str) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "RUNS": "/runs",
        "LUSTRE": "",
        "VENV": str(Path(sys.executable).parents[1]),
        **given,
    }
    done = subprocess.run(["bash", str(SKY / "setup.sh")], env=environment, capture_output=True, text=True, timeout=20)
    assert done.returncode == (2 if message else 0), done.stderr
    assert message in done.stderr


def test_the_service_starts_as_its_file_says(tmp_path: Path) -> None:
    """Its own shell, with an engine that needs no weights and a free port: the flags must be ones that go together."""
    loaded = content(SKY / "service.yaml")
    script = loaded["run"].rstrip().replace("--port 8080", "--port 0 --engine echo")
    assert script.endswith("--port 0 --engine echo --tls proxy")
    keys = json.dumps({"access_keys": {"TENETSERVICE0000000": "a-secret-of-this-test-alone"}, "api_keys": {}})
    given = {**os.environ, "VENV": str(Path(sys.executable).parents[1]), "HOME": str(tmp_path), "KEYS": keys}
    given |= {
        "PRESET": str(SKY.parent / "tests" / "presets" / "smoke.yaml"),
        "RUNS": str(tmp_path),
        "RUN": "r",
        "STAGE": "redteam",
    }
    with subprocess.Popen(["bash", "-c", script], env=given, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            if "Started server process" in line:
                break
        process.terminate()
        process.stderr.read()
    assert any("Started server process" in line for line in said), said
    assert process.returncode == 0 and (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
