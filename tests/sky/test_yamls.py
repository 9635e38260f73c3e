"""Every launch file is one that SkyPilot accepts, that belongs to a stage, and that holds no secret."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

SKY = Path(__file__).resolve().parents[2] / "sky"
FILES = sorted(SKY.glob("*.yaml"))
NAMES = [path.stem for path in FILES]
#: Stages that run before anything is rented; sky/corpus.yaml takes them along on its CPU machine.
LOCAL = {"plan", "model"}
TRAINED = {"pretrain", "finetune", "reward", "rlhf", "constitutional", "redteam", "evaluate"}


def content(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def task(sky: ModuleType, path: Path, text: str | None = None, tmp_path: Path | None = None) -> Any:
    """Load as `sky launch` does, with values for what it asks of the caller."""
    if text is not None:
        assert tmp_path is not None
        path = tmp_path / path.name
        path.write_text(text)
    asked = yaml.safe_load(path.read_text())
    required = {kind: {k: "value" for k, v in asked.get(kind, {}).items() if v is None} for kind in ("envs", "secrets")}
    return sky.Task.from_yaml_config(
        yaml.safe_load(path.read_text()),
        env_overrides=list(required["envs"].items()),
        secrets_overrides=list(required["secrets"].items()),
    )


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_skypilot_accepts_it(sky: ModuleType, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SKY.parent)  # `workdir: .` is the repository
    loaded = task(sky, path)
    assert loaded.name == path.stem
    assert loaded.num_nodes == 1
    assert loaded.resources
    buckets = {mount: store.source for mount, store in loaded.storage_mounts.items()}
    assert buckets == {"/runs": "s3://value"}


def test_a_wrong_key_is_refused(sky: ModuleType, tmp_path: Path) -> None:
    text = (SKY / "pretrain.yaml").read_text().replace("num_nodes:", "num_nodez:")
    with pytest.raises(ValueError, match="num_nodes"):
        task(sky, SKY / "pretrain.yaml", text, tmp_path)


def test_a_missing_value_is_refused(sky: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SKY.parent)
    with pytest.raises(ValueError, match="RUN"):
        sky.Task.from_yaml(str(SKY / "pretrain.yaml"))


def test_one_file_a_stage() -> None:
    from tenet.stages import STAGES

    assert set(NAMES) == set(STAGES) - LOCAL
    assert {"plan", "model"} <= set(re.findall(r"tenet (\w+) --preset", content(SKY / "corpus.yaml")["run"]))


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_shell_is_sound_and_stops_at_the_first_error(path: Path) -> None:
    for part in ("setup", "run"):
        script = content(path)[part]
        assert script.startswith("set -euo pipefail\n"), part
        checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, timeout=10)
        assert checked.returncode == 0, checked.stderr
        assert len(script.splitlines()) <= 8, "longer than a few lines: make it a command of ours"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_secret_is_written_down(path: Path) -> None:
    loaded = content(path)
    assert all(value is None for value in loaded.get("secrets", {}).values())
    for name in loaded["envs"]:
        assert not re.search(r"(TOKEN|SECRET|PASSWORD|KEY|KEYS)$", name), f"{name} belongs under secrets"
    assert not re.search(r"AKIA[0-9A-Z]{16}|hf_[A-Za-z]{20,}|-----BEGIN", path.read_text())


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_head_says_how_to_launch_watch_and_stop(path: Path) -> None:
    head = path.read_text().split("\nname:")[0]
    for word in ("launch", "watch", "stop", "cost"):
        assert re.search(rf"^#   {word} ", head, re.MULTILINE), word
    assert f"sky/{path.name}" in head
    for required in (k for kind in ("envs", "secrets") for k, v in content(path).get(kind, {}).items() if v is None):
        assert required in head, f"{required} is required and the launch line does not give it"


@pytest.mark.parametrize("name", sorted(TRAINED))
def test_training_files_share_one_skeleton(name: str) -> None:
    loaded = content(SKY / f"{name}.yaml")
    resources = loaded["resources"]
    assert [r.get("use_spot", False) for r in resources["ordered"]] == [True, False]
    assert resources["network_tier"] == "best"
    assert resources["job_recovery"]["recover_on_exit_codes"] == [75]
    assert loaded["file_mounts"]["/runs"]["mode"] == "MOUNT_CACHED"
    run = loaded["run"]
    assert run.count("tenet.torchrun") == 1
    assert f'-m tenet.cli {name} --preset "$PRESET" --run "/runs/$RUN"' in run
    assert f'tenet report "/runs/$RUN" --stage {name}' in run


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_flags_are_ones_that_the_stage_has(path: Path) -> None:
    """Each `tenet STAGE ... --flag` in a run line, against the command line itself."""
    import dataclasses

    from tenet.stages import STAGES

    run = content(path)["run"].replace("\\\n", " ")
    common = {"preset", "run", "seed", "fresh", "config"}
    extra = {"serve": {"once", "model", "credentials"}, "plan": {"json"}}
    calls = re.findall(r"(?:tenet|tenet\.cli) (\w+) (--preset [^\n;]*)", run)
    assert calls
    for stage, words in calls:
        known = {f.name for f in dataclasses.fields(STAGES[stage].settings)} | common | extra.get(stage, set())
        flags = {flag.replace("-", "_") for flag in re.findall(r"--([a-z_-]+)", words)}
        assert flags <= known, f"{stage}: {flags - known}"
