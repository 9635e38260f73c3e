"""The same launch file on Slurm: what runs is the same text, what only a cloud has is gone."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import yaml

from tenet.cli.main import main
from tenet.errors import ConfigError
from tenet.launch.variants import pipeline_text, slurm_text

SKY = Path(__file__).resolve().parents[2] / "sky"
FILES = sorted(path for path in SKY.glob("*.yaml") if path.stem not in ("pipeline", "service"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_what_runs_is_untouched(sky: ModuleType, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SKY.parent)
    cloud, slurm = yaml.safe_load(path.read_text()), yaml.safe_load(slurm_text(path, "lab", "/shared/runs"))
    assert [slurm[key] for key in ("name", "setup", "run")] == [cloud[key] for key in ("name", "setup", "run")]
    assert slurm["envs"]["RUNS"] == "/shared/runs" and "RUNS_BUCKET" not in slurm["envs"] and "file_mounts" not in slurm
    assert slurm["resources"].get("accelerators") == cloud["resources"].get("ordered", [{}])[0].get("accelerators")
    assert not {"ordered", "network_tier", "autostop"} & set(slurm["resources"])
    given = [(key, "value") for kind in ("envs", "secrets") for key, value in slurm.get(kind, {}).items() if value is None]
    task = sky.Task.from_yaml_config(
        slurm,
        env_overrides=[g for g in given if g[0] in slurm["envs"]],
        secrets_overrides=[g for g in given if g[0] not in slurm["envs"]],
    )
    assert {str(r.cloud) for r in task.resources} == {"Slurm"} and {r.region for r in task.resources} == {"lab"}


def test_cpus_and_other_gpus(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SKY.parent)
    for gpus, wanted in (("none", None), ("A100:4", "A100:4")):
        assert main(["sky", "slurm", "sky/pretrain.yaml", "--runs", "/shared/runs", "--gpus", gpus]) == 0
        written = yaml.safe_load(capsys.readouterr().out)
        assert written["resources"].get("accelerators") == wanted
        assert written["envs"]["INSTANCE"] == ""


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="starts none on Slurm"):
        slurm_text(SKY / "service.yaml", "lab", "/shared/runs")
    with pytest.raises(ConfigError, match="--runs is 'runs'"):
        slurm_text(SKY / "pretrain.yaml", "lab", "runs")
    with pytest.raises(ConfigError, match="no launch file"):
        slurm_text(tmp_path / "x.yaml", "lab", "/shared/runs")
    with pytest.raises(ConfigError, match="no launch file of a stage"):
        pipeline_text(tmp_path)
    with pytest.raises(ConfigError, match="--num-nodes is 0"):
        pipeline_text(SKY, 0)


def test_a_pipeline_on_several_nodes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """SkyPilot passes `--num-nodes` over where a file holds several tasks."""
    monkeypatch.chdir(SKY.parent)
    assert main(["sky", "pipeline", "--num-nodes", "16"]) == 0
    _, *tasks = yaml.safe_load_all(capsys.readouterr().out)
    assert {task["name"]: task.get("num_nodes", 1) for task in tasks} == {
        task["name"]: 16 if "num_nodes" in task else 1 for task in tasks
    }
    assert tasks[0]["name"] == "corpus" and "num_nodes" not in tasks[0] and tasks[1]["num_nodes"] == 16
