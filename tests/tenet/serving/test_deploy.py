"""The weights store: verified before it is served, old weights served whatever happens in between, and the way back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tenet.domains.loading import load_domain
from tenet.errors import ConfigError, StageError
from tenet.files import sha256, write_json
from tenet.runs.execute import execute
from tenet.runs.lineage import summary_of
from tenet.runs.summary import Summary
from tenet.runs.workspace import Workspace
from tenet.serving.releases import publish
from tenet.serving.releases.open import open_store
from tenet.serving.releases.store import FolderStore, Manifest
from tenet.settings.serving import DeployConfig, ServeConfig
from tenet.stages import deploy as deploy_stage
from tenet.stages import serve as serve_stage

MakeModel = Callable[[str, int], Path]


def tree(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_publish_roll_back_and_forward(make_model: MakeModel, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = publish.publish(make_model("a", 1), store)
    second = publish.publish(make_model("b", 2), store)
    assert first.version != second.version and publish.current(store) == second.version
    assert second.difference == 0.0 and second.files == len(list((tmp_path / "b").iterdir()))
    assert publish.rollback(store) == first.version == publish.current(store)
    with pytest.raises(ConfigError, match="oldest version kept"):
        publish.rollback(store)
    assert publish.rollback(store, second.version) == second.version
    with pytest.raises(ConfigError, match="kept are"):
        publish.rollback(store, "ffffffffffff")
    served = publish.weights(store, tmp_path / "cache")
    assert {k: v for k, v in tree(served).items() if k != "manifest.json"} == tree(tmp_path / "b")


def test_the_same_files_are_the_same_version_and_the_same_store(make_model: MakeModel, tmp_path: Path) -> None:
    for store in ("one", "two"):
        publish.publish(make_model("a", 1), tmp_path / store)
        publish.publish(make_model("b", 2), tmp_path / store)
    publish.publish(make_model("b", 2), tmp_path / "two")  # again
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_only_so_many_are_kept(make_model: MakeModel, tmp_path: Path) -> None:
    store = tmp_path / "store"
    versions = [publish.publish(make_model(f"m{seed}", seed), store, keep=2).version for seed in range(3)]
    assert sorted(p.name for p in store.iterdir()) == sorted([*versions[1:], "current"])


def test_a_damaged_version_is_neither_served_nor_rolled_back_to(make_model: MakeModel, tmp_path: Path) -> None:
    store = tmp_path / "store"
    first = publish.publish(make_model("a", 1), store)
    second = publish.publish(make_model("b", 2), store)
    weights = store / first.version / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StageError, match=r"model\.safetensors"):
        publish.rollback(store)
    assert publish.current(store) == second.version
    publish.publish(tmp_path / "a", store)  # a whole copy takes its place
    assert publish.verify(store, first.version) == first.files


def test_refused_before_anything_is_copied(make_model: MakeModel, tmp_path: Path) -> None:
    store, model = tmp_path / "store", make_model("a", 1)
    with pytest.raises(StageError, match=r"model\.safetensors.*run that stage again"):
        publish.publish(model, store, expected={"model.safetensors": "0" * 64})
    (model / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(StageError, match="does not load"):
        publish.publish(model, store)
    with pytest.raises(ConfigError, match="no such file"):
        publish.publish(tmp_path / "nothing", store)
    with pytest.raises(ConfigError, match=r"deploy\.store"):
        open_store("gs://bucket")
    assert not (store / "current").exists()


DOMAIN = load_domain("aws_api")
KILLED = """
import os, signal, sys
from pathlib import Path
from tenet.serving.releases import publish, store
def die(*args): os.kill(os.getpid(), signal.SIGKILL)
setattr(store.FolderStore if sys.argv[3] != "_copy" else store, sys.argv[3], die)
publish.publish(Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.parametrize("moment", ["_copy", "point", "sweep"])
def test_killed_in_the_middle(make_model: MakeModel, tmp_path: Path, moment: str) -> None:
    """While copying and before the flip the old weights are served, after it the new ones. Publishing again mends
    all."""
    store = tmp_path / "store"
    old = publish.publish(make_model("a", 1), store).version
    new_model = make_model("b", 2)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(new_model), str(store), moment], check=False, env={**os.environ})
    assert killed.returncode == -signal.SIGKILL
    served = publish.weights(store, tmp_path / "cache").name
    new = Manifest.of(new_model).version
    assert served == (new if moment == "sweep" else old)
    assert publish.publish(new_model, store).version == new == publish.current(store)
    assert sorted(p.name for p in store.iterdir()) == sorted([old, new, "current"])


def test_a_broken_pointer_is_named(tmp_path: Path) -> None:
    (tmp_path / "current").write_text("{}")
    with pytest.raises(StageError, match="current"):
        FolderStore(tmp_path).pointer()
    with pytest.raises(ConfigError, match="no weights were published"):
        publish.current(tmp_path / "empty")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 bucket of moto, over real HTTP."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    boto3.client("s3").create_bucket(Bucket="weights")
    yield "s3://weights/tenet/prod"
    server.stop()


def test_s3(make_model: MakeModel, tmp_path: Path, bucket: str) -> None:
    versions = [publish.publish(make_model(f"m{seed}", seed), bucket, keep=2).version for seed in range(3)]
    assert publish.current(bucket) == versions[2]
    assert publish.rollback(bucket) == versions[1]
    served = publish.weights(bucket, tmp_path / "cache")
    assert sha256(served / "model.safetensors") == sha256(tmp_path / "m1" / "model.safetensors")
    with pytest.raises(ConfigError):
        publish.rollback(bucket, versions[0])
    with pytest.raises(StageError, match="no such version"):
        publish.verify(bucket, versions[0])


# --- the two stages --------------------------------------------------------------------------------------------------


def finished(run: Path, make_model: MakeModel, promoted: bool) -> Path:
    """A run in which everything before step 9 is done."""

    def model_stage(name: str, seed: int) -> None:
        def body(config: Any, ws: Workspace) -> Summary:
            make_model(f"{name}{seed}", seed).rename(ws.dir / "model")
            if name == "redteam":
                write_json(ws.dir / "gate.json", {"promoted": promoted})
            return Summary("made")

        execute(run, name, (), {}, body, seed=0)

    for seed, name in enumerate(("constitutional", "redteam", "evaluate")):
        model_stage(name, seed)
    return run


def run_deploy(run: Path) -> dict[str, Any]:
    reads = ("constitutional", "redteam", "evaluate")
    return execute(
        run, "deploy", reads, DeployConfig(probe_tokens=4), deploy_stage.run, seed=0, workspace={"policies": reads[:2]}
    )


@pytest.mark.parametrize("promoted", [True, False])
def test_stages_deploy_and_serve(make_model: MakeModel, tmp_path: Path, promoted: bool) -> None:
    run = finished(tmp_path / "run", make_model, promoted)
    run_deploy(run)
    summary = summary_of(run, "deploy")
    source = run / ("redteam" if promoted else "constitutional") / "model"
    served = serve_stage.served_model(run)
    assert sha256(served / "model.safetensors") == sha256(source / "model.safetensors")
    assert next(f for f in summary["figures"] if "flips" in f["name"])["value"] == 4
    assert len(json.loads((run / "deploy" / "store" / "current").read_text())["versions"]) == (2 if promoted else 1)

    shutil.copytree(run, tmp_path / "copy")
    outputs = [
        execute(each, "serve", ("deploy",), ServeConfig(), serve_stage.run, seed=0, workspace={"domain": DOMAIN})["outputs"]
        for each in (run, tmp_path / "copy")
    ]
    assert outputs[0] == outputs[1]  # the same transcript, byte for byte
    calls = json.loads((run / "serve" / "transcript.json").read_text())["calls"]
    assert len(calls) == 10 and not any(call["problem"] for call in calls)
    assert set(json.loads((run / "serve" / "timings.json").read_text())["milliseconds"]) == {call["call"] for call in calls}


def test_a_killed_deploy_ends_with_the_same_store(make_model: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = finished(tmp_path / "whole", make_model, True)
    run_deploy(whole)
    broken = finished(tmp_path / "broken", make_model, True)
    with monkeypatch.context() as patched:

        def stop(*_: Any) -> str:
            raise KeyboardInterrupt

        patched.setattr(publish, "rollback", stop)
        with pytest.raises(KeyboardInterrupt):
            run_deploy(broken)
    run_deploy(broken)
    assert tree(whole / "deploy" / "store") == tree(broken / "deploy" / "store")
    assert (whole / "deploy" / "summary.json").read_text() == (broken / "deploy" / "summary.json").read_text()


def test_one_kept_version_cannot_be_rolled_back() -> None:
    with pytest.raises(ValueError, match=r"deploy\.keep is 1; it must be at least 2"):
        DeployConfig(keep=1)
