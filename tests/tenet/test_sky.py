"""`tenet sky config` and `tenet sky objects`: the stack's outputs become a configuration that SkyPilot accepts, or a
clear refusal."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import yaml

from tenet.cli.main import main
from tenet.errors import ConfigError
from tenet.launch.sky import NEEDED, check, config, config_text

OUTPUTS: dict[str, Any] = {
    "vpc_name": "tenet-prod-vpc",
    "gpu_subnet_names": ["tenet-prod-gpu-us-east-1a"],
    "private_subnet_names": ["tenet-prod-private-us-east-1a", "tenet-prod-private-us-east-1b"],
    "efa_security_group_name": "tenet-prod-nodes",
    "node_instance_profile_name": "tenet-prod-training",
    "controller_instance_profile_name": "tenet-prod-controller",
    "capacity_reservation_ids": ["cr-0a1b2c3d4e5f60718"],
    "eks_cluster_name": "tenet-prod",
    "fsx_file_system_id": "fs-0a1b2c3d4e5f60718",
    "fsx_dns_name": "fs-0a1b2c3d4e5f60718.fsx.us-east-1.amazonaws.com",
    "fsx_mount_name": "abcdefgh",
    "checkpoints_bucket": "storage-checkpoints-1a2b3c",
    "labels": {"project": "tenet", "stack": "prod", "launched-by": "skypilot"},
    "region": "us-east-1",
}


def test_whole_configuration() -> None:
    pytest.importorskip("sky")
    found = yaml.safe_load(config_text(json.dumps(OUTPUTS)))
    assert found == {
        "aws": {
            "vpc_names": ["tenet-prod-vpc"],
            "subnet_names": ["tenet-prod-gpu-us-east-1a", "tenet-prod-private-us-east-1a", "tenet-prod-private-us-east-1b"],
            "security_group_name": "tenet-prod-nodes",
            "use_internal_ips": True,
            "use_ssm": True,
            "remote_identity": [{"sky-*-controller-*": "tenet-prod-controller"}, {"*": "tenet-prod-training"}],
            "disk_encrypted": True,
            "labels": OUTPUTS["labels"],
            "enforce_tags": ["instance", "volume"],
            "specific_reservations": ["cr-0a1b2c3d4e5f60718"],
            "prioritize_reservations": True,
        },
        "jobs": {"bucket": "s3://storage-checkpoints-1a2b3c/sky"},
        "kubernetes": {
            "allowed_contexts": ["tenet-prod"],
            "namespace": "tenet",
            "remote_identity": "training",
            "ports": "podip",
            "pod_config": {
                "spec": {
                    "volumes": [{"name": "lustre", "persistentVolumeClaim": {"claimName": "lustre"}}],
                    "containers": [{"volumeMounts": [{"name": "lustre", "mountPath": "/fsx"}]}],
                }
            },
        },
    }


def test_a_stack_without_reservations_or_cluster() -> None:
    found = config({**OUTPUTS, "capacity_reservation_ids": [], "eks_cluster_name": ""})
    assert "specific_reservations" not in found["aws"] and "kubernetes" not in found


def test_skypilots_schema_is_what_decides() -> None:
    pytest.importorskip("sky")
    found = config(OUTPUTS)
    found["aws"]["vpc_nmae"] = "x"
    with pytest.raises(ConfigError, match="vpc_nmae"):
        check(found)
    with pytest.raises(ConfigError, match="SkyPilot refuses"):
        check(config({**OUTPUTS, "labels": {"stack": 3}}))


@pytest.mark.parametrize("key", list(NEEDED))
def test_a_missing_output_is_named(key: str) -> None:
    with pytest.raises(ConfigError, match=f"no output {key};"):
        config_text(json.dumps({k: v for k, v in OUTPUTS.items() if k != key}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "standard input is not the stack's outputs"),
        ("[]", "standard input is a list"),
        (json.dumps({**OUTPUTS, "vpc_name": ""}), "output vpc_name is ''; a str that is not empty"),
        (json.dumps({**OUTPUTS, "gpu_subnet_names": "one"}), "output gpu_subnet_names is 'one'; a list"),
    ],
)
def test_what_is_no_stack_ends_with_2(
    text: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for action in ("config", "objects"):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        assert main(["sky", action]) == 2
        assert message in capsys.readouterr().err


def test_a_terminal_is_told_what_to_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    for action, typed in (("config", "> .sky.yaml"), ("objects", "| kubectl apply -f -")):
        assert main(["sky", action]) == 2
        assert f"tenet sky {action} " in (said := capsys.readouterr().err) and typed in said
