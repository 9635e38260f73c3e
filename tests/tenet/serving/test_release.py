"""A stack of moto over real HTTP: the pointer moves only to weights that were verified, and back when they do not
answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest

from tenet.errors import ConfigError, StageError
from tenet.serving.releases import ecs_rollout, publish
from tenet.serving.releases.ecs_rollout import Patience, Stack
from tenet.serving.releases.store import Manifest
from tests.tenet.serving.stack import OUTPUTS, pointer

MakeModel = Callable[[str, int], Path]
QUICK = Patience(wait=0.3, poll=0.05)


@pytest.fixture
def stack(cloud: Stack, monkeypatch: pytest.MonkeyPatch) -> Stack:
    monkeypatch.setattr(ecs_rollout, "_ready", pointer)  # a fleet whose new tasks are up; test_fleet.py has a real one
    return cloud


def test_release_roll_back_and_forward(make_model: MakeModel, stack: Stack) -> None:
    said: list[str] = []
    first = ecs_rollout.release(make_model("a", 1), stack, patience=QUICK, say=said.append)
    second = ecs_rollout.release(make_model("b", 2), stack, patience=QUICK)
    assert (pointer(stack), publish.current("s3://weights/store")) == (second, second) and len(said) == 2
    assert ecs_rollout.rollback(stack, patience=QUICK) == first == pointer(stack)
    with pytest.raises(ConfigError, match="oldest version kept"):
        ecs_rollout.rollback(stack, patience=QUICK)
    assert ecs_rollout.rollback(stack, second, patience=QUICK) == second == pointer(stack)
    events = stack.client("ecs").describe_services(cluster="tenet", services=["serve"])["services"][0]
    assert events["status"] == "ACTIVE"


def test_a_version_that_does_not_answer_is_taken_back(
    make_model: MakeModel, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = ecs_rollout.release(make_model("a", 1), stack, patience=QUICK)
    new = Manifest.of(make_model("b", 2)).version
    restarts: list[str] = []
    served = ecs_rollout._serve
    monkeypatch.setattr(ecs_rollout, "_serve", lambda stack, version: (restarts.append(version), served(stack, version)))
    monkeypatch.setattr(ecs_rollout, "_ready", lambda stack: old)
    with pytest.raises(StageError, match=f"rolled back to {old}"):
        ecs_rollout.release(make_model("b", 2), stack, patience=QUICK)
    assert restarts == [new, old] and pointer(stack) == old == publish.current("s3://weights/store")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ecs_rollout, "_wait", interrupted)
    with pytest.raises(StageError, match="rolled back"):
        ecs_rollout.release(make_model("b", 2), stack, patience=QUICK)
    assert pointer(stack) == old


@pytest.mark.parametrize("moment", ["add", "_prove", "_serve", "_wait", "point"])
def test_killed_at_any_point(make_model: MakeModel, stack: Stack, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """What a kill leaves: nothing handles `Killed`. Until the pointer moves the old weights are named, then verified
    new ones."""

    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    old = ecs_rollout.release(make_model("a", 1), stack, patience=QUICK)
    with monkeypatch.context() as patched:
        holder: Any = {"add": ecs_rollout.S3Store, "point": ecs_rollout.S3Store, "_prove": publish}.get(moment, ecs_rollout)
        served = ecs_rollout._serve
        patched.setattr(holder, moment, die)
        if moment in ("_wait",):  # a kill lets nobody move the pointer back

            def once(stack: Stack, version: str, calls: list[str] = []) -> None:  # noqa: B006
                calls.append(version)
                if len(calls) > 1:
                    raise Killed
                served(stack, version)

            patched.setattr(ecs_rollout, "_serve", once)
        with pytest.raises(Killed):
            ecs_rollout.release(make_model("b", 2), stack, patience=QUICK)
    new = Manifest.of(make_model("b", 2)).version
    assert pointer(stack) == (new if moment in ("_wait", "point") else old)
    publish.verify("s3://weights/store", pointer(stack))
    # Whatever is named can be gone back from, and the next deployment mends all.
    assert ecs_rollout.release(make_model("c", 3), stack, patience=QUICK) == pointer(stack)
    assert ecs_rollout.rollback(stack, patience=QUICK) == (new if moment in ("_wait", "point") else old)


def test_damaged_weights_are_never_named(make_model: MakeModel, stack: Stack) -> None:
    old = ecs_rollout.release(make_model("a", 1), stack, patience=QUICK)
    new = ecs_rollout.release(make_model("b", 2), stack, patience=QUICK)
    stack.client("s3").put_object(Bucket="weights", Key=f"store/{old}/model.safetensors", Body=b"damaged")
    with pytest.raises(StageError, match=r"model\.safetensors"):
        ecs_rollout.rollback(stack, patience=QUICK)
    (model := make_model("c", 3) / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(StageError, match="does not load"):
        ecs_rollout.release(model.parent, stack, patience=QUICK)
    assert pointer(stack) == new


def test_import_to_bedrock(make_model: MakeModel, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    class Bedrock:
        def create_model_import_job(self, **request: Any) -> dict[str, str]:
            # The service model checks names, lengths and patterns that a stand-in would not.
            from botocore.session import get_session
            from botocore.validate import ParamValidator

            shape = get_session().get_service_model("bedrock").operation_model("CreateModelImportJob").input_shape
            assert not ParamValidator().validate(request, shape).has_errors()
            asked.update(request)
            return {"jobArn": "arn:job"}

    real = boto3.client
    monkeypatch.setattr(boto3, "client", lambda service, **k: Bedrock() if service == "bedrock" else real(service, **k))
    assert ecs_rollout.import_to_bedrock(make_model("a", 1), stack, "tenet") == "arn:job"
    version = Manifest.of(make_model("a", 1)).version
    assert asked["modelDataSource"] == {"s3DataSource": {"s3Uri": f"s3://weights/store/imported/{version}/"}}
    assert pointer(stack) == "none"
    for seed in range(2, 5):
        ecs_rollout.release(make_model("b", seed), stack, keep=2, patience=QUICK)
    # What the job reads is no version of the endpoint, so no deployment sweeps it.
    assert stack.client("s3").head_object(Bucket="weights", Key=f"store/imported/{version}/config.json")


def test_outputs_that_lack_something(tmp_path: Path) -> None:
    (tmp_path / "o.json").write_text(json.dumps({**OUTPUTS, "endpoint_cluster_name": ""}))
    with pytest.raises(ConfigError, match="endpoint_cluster_name"):
        Stack.read(tmp_path / "o.json")
    (tmp_path / "o.json").write_text("[]")
    with pytest.raises(ConfigError, match="pulumi stack output"):
        Stack.read(tmp_path / "o.json")
