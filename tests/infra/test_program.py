"""Rules that every stack must keep, over what the program declares."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Recorded, record

BUCKETS = {"datasets", "checkpoints", "reports", "weights", "logs"}


def statements(program: Recorded) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every statement of every policy, with the name of what carries it."""
    for resource in program.resources:
        for key in ("policy", "assumeRolePolicy"):
            if key in resource["inputs"]:
                # A repository's policy of what it keeps has rules, not statements.
                for statement in json.loads(resource["inputs"][key]).get("Statement", []):
                    yield resource["name"], {**statement, "_kind": resource["type"]}


def as_list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def test_program_is_whole(program: Recorded) -> None:
    assert program.duplicates == []
    components = [r["urn"] for r in program.resources if not r["custom"] and r["type"].startswith("tenet:")]
    assert len(components) > 6
    assert set(components) <= set(program.closed), "a component did not register its outputs"
    for resource in program.resources:
        if resource["type"].startswith("aws:"):
            assert "tenet:infra:" in resource["parent"], f"{resource['name']} has no component"


def test_nobody_unknown_is_allowed_anything(program: Recorded) -> None:
    for name, statement in statements(program):
        if statement["Effect"] == "Allow":
            assert statement.get("Principal") not in ("*", {"AWS": "*"}), name


def test_least_privilege(program: Recorded) -> None:
    seen = 0
    for name, statement in statements(program):
        if statement["Effect"] == "Deny" or "keyPolicy" in statement["_kind"] or "kms/key" in statement["_kind"]:
            continue
        seen += 1
        actions, resources = as_list(statement["Action"]), as_list(statement.get("Resource", []))
        assert not [a for a in actions if a == "*" or a.endswith(":*")], f"{name} allows {actions}"
        if "*" in resources:  # AWS knows no resource for these
            writes = [a for a in actions if not a.startswith("ec2:Describe")]
            assert writes in ([], ["ecr:GetAuthorizationToken"]), f"{name} allows {actions} on everything"
    assert seen > 15
    attached = {r["inputs"]["policyArn"] for r in program.of("iam/rolePolicyAttachment:RolePolicyAttachment")}
    assert not [arn for arn in attached if "FullAccess" in arn or "Administrator" in arn]


def test_training_reads_data_and_cannot_touch_weights(program: Recorded) -> None:
    for name in ("training-training", "training-pod"):
        text = json.dumps(program.policy("iam/rolePolicy:RolePolicy", name))
        assert "storage-weights" not in text and "storage-datasets" in text
        for statement in json.loads(text)["Statement"]:
            if "s3:PutObject" in statement["Action"]:
                assert not [r for r in statement["Resource"] if "datasets" in r]


def test_skypilot_touches_only_what_it_launched(program: Recorded) -> None:
    label = {"aws:ResourceTag/launched-by": "skypilot", "aws:ResourceTag/stack": program.stack}
    launch = program.policy("iam/policy:Policy", "training-launch")["Statement"]
    itself = program.policy("iam/rolePolicy:RolePolicy", "training-autostop")["Statement"]
    controller = program.policy("iam/rolePolicy:RolePolicy", "training-controller")["Statement"]
    for statement in launch + itself + controller:
        if "ec2:TerminateInstances" in statement["Action"]:
            assert statement["Condition"] == {"StringEquals": label}
    assert sum("ec2:TerminateInstances" in s["Action"] for s in launch + itself + controller) == 3
    roles = [f"arn:aws:test:us-east-1:123456789012:training-{kind}/Role" for kind in ("training", "controller")]
    # A person launches controllers too; a controller only machines that train; these launch nothing.
    for policy, passed in ((launch, roles), (controller, roles[:1]), (itself, None)):
        assert next((s["Resource"] for s in policy if "iam:PassRole" in s["Action"]), None) == passed
    # A launch carries the label, so that what it may end is what it started.
    assert program.outputs["labels"]["launched-by"] == "skypilot" and program.outputs["labels"]["stack"] == program.stack


def test_outputs_are_what_the_rest_reads(program: Recorded) -> None:
    assert {f"{b}_bucket" for b in BUCKETS} <= set(program.outputs)
    wanted = {
        "region",
        "vpc_name",
        "vpc_id",
        "private_subnet_names",
        "gpu_subnet_names",
        "efa_security_group_name",
        "labels",
        "launch_policy_arn",
        "node_instance_profile_name",
        "kms_key_arn",
        "image_repository_url",
    }
    wanted |= {
        "endpoint_url",
        "endpoint_load_balancer_dns",
        "endpoint_cluster_name",
        "endpoint_model_parameter",
    }
    assert wanted | {"release_policy_arn"} <= set(program.outputs)
    assert all(program.outputs[key] for key in wanted)
    held = program.outputs["capacity_reservation_ids"]
    assert len(held) == {"local": 0, "dev": 0, "prod": 3}[program.stack] and all(i.startswith("cr-") for i in held)
    assert program.outputs["eks_cluster_name"] == ("" if program.stack == "local" else f"tenet-{program.stack}")
    for key in ("fsx_file_system_id", "fsx_dns_name", "fsx_mount_name"):
        assert bool(program.outputs[key]) is (program.stack == "prod")


def test_same_resources_whatever_the_number_of_machines(tmp_path: Path) -> None:
    """Machines are sizes of a group: two and two thousand declare the same."""
    counts = []
    for number in (2, 2000):
        out = tmp_path / f"{number}.json"
        nodes = f'{{"name": "n", "kind": "none", "instanceType": "p5.48xlarge", "zone": "us-east-1a", "max": {number}}}'
        done = record("prod", out, "--set", f"tenet:endpointMax={number}", "--set", f"tenet:reservations=[{nodes}]")
        assert done.returncode == 0, done.stderr[-2000:]
        counts.append(len(json.loads(out.read_text())["resources"]))
    assert counts[0] == counts[1]


def test_first_preview_lives_with_unknown_values(tmp_path: Path) -> None:
    known, unknown = tmp_path / "known.json", tmp_path / "unknown.json"
    assert record("prod", known).returncode == 0
    done = record("prod", unknown, "--preview")
    assert done.returncode == 0, done.stderr[-2000:]
    names = [sorted((r["type"], r["name"]) for r in json.loads(path.read_text())["resources"]) for path in (known, unknown)]
    assert names[0] == names[1], "something is only declared once values are known"


@pytest.mark.parametrize(
    ("stack", "change", "message"),
    [
        ("dev", "tenet:cidr=10.20.0.0/24", "tenet:cidr is 10.20.0.0/24"),
        ("dev", "tenet:instanceType=g6.wrong", "tenet:instanceType: no instance type 'g6.wrong'"),
        ("prod", "aws:allowedAccountIds=null", "aws:allowedAccountIds is missing"),
        (
            "prod",
            "tenet:gpuZone=us-east-1b",
            "tenet:reservations[0].zone is us-east-1a, the GPU subnet and the file system stand in us-east-1b",
        ),
    ],
)
def test_a_wrong_setting_stops_before_anything_is_declared(tmp_path: Path, stack: str, change: str, message: str) -> None:
    out = tmp_path / "never.json"
    done = record(stack, out, "--set", change)
    assert done.returncode != 0 and message in done.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        ("dev", "tenet:domain is tenet.dev.example.com, the placeholder of the stack file"),
        ("prod", "tenet:domain is tenet.example.com, the placeholder of the stack file"),
    ],
)
def test_a_stack_as_committed_is_refused_until_it_is_filled_in(tmp_path: Path, stack: str, message: str) -> None:
    out = tmp_path / "never.json"
    done = record(stack, out, "--as-committed")
    assert done.returncode != 0 and message in done.stderr and not out.exists()


def test_skypilot_accepts_what_every_stack_exports(program: Recorded) -> None:
    pytest.importorskip("sky")
    import yaml

    from tenet.launch.sky import config_text

    found = yaml.safe_load(config_text(json.dumps(program.outputs)))
    subnets = {r["inputs"]["tags"]["Name"] for r in program.of("ec2/subnet:Subnet")}
    assert found["aws"]["vpc_names"] == [r["inputs"]["tags"]["Name"] for r in program.of("ec2/vpc:Vpc")]
    assert set(found["aws"]["subnet_names"]) <= subnets
    assert found["aws"]["security_group_name"] in {r["inputs"].get("name") for r in program.of("ec2/securityGroup:SecurityGroup")}
    named = {name for row in found["aws"]["remote_identity"] for name in row.values()}
    assert len(named) == 2 and named <= {r["inputs"].get("name") for r in program.of("iam/instanceProfile:InstanceProfile")}


def test_stack_local_calls_nothing_but_this_machine(programs: dict[str, Recorded]) -> None:
    """Each service that the program uses has an endpoint on loopback, so nothing can reach a real account."""
    import yaml

    from .conftest import ROOT

    config = yaml.safe_load((ROOT / "Pulumi.local.yaml").read_text())["config"]
    endpoints = {key: url for row in config["aws:endpoints"] for key, url in row.items()}
    assert set(endpoints.values()) == {"http://127.0.0.1:5000"}
    modules = {r["type"].split(":")[1] for r in programs["local"].resources if r["type"].startswith("aws:")}
    assert len(modules) > 20
    called = {"vpc": "ec2", "lb": "elbv2", "alb": "elbv2", "logGroup": "logs", "costexplorer": "ce"}
    services = {called.get(m.split("/")[1], called.get(m.split("/")[0], m.split("/")[0])) for m in modules}
    assert services <= set(endpoints), services - set(endpoints)
    assert (config["aws:accessKey"], config["aws:secretKey"]) == ("testing", "testing")
