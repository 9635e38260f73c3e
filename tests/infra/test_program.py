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
                for statement in json.loads(resource["inputs"][key])["Statement"]:
                    yield resource["name"], {**statement, "_kind": resource["type"]}


def as_list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def test_program_is_whole(program: Recorded) -> None:
    assert program.duplicates == []
    components = [r["urn"] for r in program.resources if not r["custom"] and r["type"].startswith("tenet:")]
    training = {"local": 1, "dev": 1, "prod": 3}[program.stack]  # components of node groups
    assert len(components) == 7 + training + (program.stack == "prod")  # prod alone has a file system
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
    for statement in launch + itself:
        if "ec2:TerminateInstances" in statement["Action"]:
            assert statement["Condition"] == {"StringEquals": label}
    assert sum("ec2:TerminateInstances" in s["Action"] for s in launch + itself) == 2
    (passing,) = [s for s in launch if "iam:PassRole" in s["Action"]]
    assert passing["Resource"] == ["arn:aws:test:us-east-1:123456789012:training-training/Role"]
    # A launch carries the label, so that what it may end is what it started.
    assert program.outputs["labels"]["launched-by"] == "skypilot" and program.outputs["labels"]["stack"] == program.stack


def test_serving_reads_the_weights_store_and_nothing_else(program: Recorded) -> None:
    serving = program.policy("iam/rolePolicy:RolePolicy", "endpoint-task")["Statement"]
    actions = {a for s in serving for a in s["Action"]}
    assert actions == {"s3:ListBucket", "s3:GetObject", "kms:Decrypt"}
    objects = [r for s in serving if "s3:GetObject" in s["Action"] for r in s["Resource"]]
    assert len(objects) == 1 and objects[0].endswith("storage-weights/Bucket/store/*")


def test_state_is_protected_in_prod_and_only_there(program: Recorded) -> None:
    prod = program.stack == "prod"
    kept = (
        "ecr/repository:Repository",
        "secretsmanager/secret:Secret",
        "ssm/parameter:Parameter",
    )
    for kind in kept:
        for resource in program.of(kind):
            assert (resource["protect"], resource["retain"]) == (prod, prod), resource["name"]
    (balancer,) = program.of("lb/loadBalancer:LoadBalancer")
    assert balancer["inputs"]["enableDeletionProtection"] is prod


def test_endpoint_speaks_tls_and_lets_streams_end(program: Recorded) -> None:
    listeners = {r["inputs"]["port"]: r["inputs"] for r in program.of("lb/listener:Listener")}
    assert listeners[443]["sslPolicy"].startswith("ELBSecurityPolicy-TLS13") and listeners[443]["certificateArn"]
    assert listeners[80]["defaultActions"][0]["type"] == "redirect"
    (balancer,) = program.of("lb/loadBalancer:LoadBalancer")
    assert balancer["inputs"]["internal"] is True
    assert balancer["inputs"]["dropInvalidHeaderFields"] is True and balancer["inputs"]["idleTimeout"] >= 900
    assert balancer["inputs"]["accessLogs"]["enabled"] is True
    (target,) = program.of("lb/targetGroup:TargetGroup")
    assert target["inputs"]["deregistrationDelay"] >= 300 and target["inputs"]["healthCheck"]["path"] == "/readyz"
    for named in (balancer, target):
        assert len(named["inputs"]["name"]) <= 32


def test_service_goes_back_by_itself_and_the_pointer_belongs_to_deployments(program: Recorded) -> None:
    (service,) = program.of("ecs/service:Service")
    assert service["inputs"]["deploymentCircuitBreaker"] == {"enable": True, "rollback": True}
    assert service["inputs"]["healthCheckGracePeriodSeconds"] >= 900
    assert service["ignore_changes"] == ["desiredCount"]
    assert service["inputs"]["deploymentMinimumHealthyPercent"] == (100 if program.stack == "prod" else 0)
    (pointer,) = program.of("ssm/parameter:Parameter")
    assert pointer["ignore_changes"] == ["value"] and pointer["inputs"]["value"] == "none"
    (group,) = program.of("autoscaling/group:Group")
    assert group["inputs"]["minSize"] == (2 if program.stack == "prod" else 0)
    assert group["inputs"]["maxSize"] > group["inputs"]["minSize"]
    (repository,) = program.of("ecr/repository:Repository")
    assert repository["inputs"]["imageTagMutability"] == "IMMUTABLE"


def test_machines(program: Recorded) -> None:
    (template,) = [r for r in program.of("ec2/launchTemplate:LaunchTemplate") if r["name"] == "endpoint"]
    inputs = template["inputs"]
    assert {t["resourceType"] for t in inputs["tagSpecifications"]} == {"instance", "volume"}
    (task,) = program.of("ecs/taskDefinition:TaskDefinition")
    containers = {c["name"]: c for c in json.loads(task["inputs"]["containerDefinitions"])}
    from tenet.hardware import instance

    gpus = containers["serve"]["resourceRequirements"][0]
    assert gpus == {"type": "GPU", "value": str(instance(inputs["instanceType"]).count)}
    assert containers["serve"]["dependsOn"] == [{"containerName": "fetch", "condition": "SUCCESS"}]
    # What is secret reaches a container by reference only.
    assert {s["name"] for s in containers["fetch"]["secrets"]} == {"VERSION", "KEYS"}
    assert all(s["valueFrom"].startswith("arn:") for s in containers["fetch"]["secrets"])


def test_outputs_are_what_the_rest_reads(program: Recorded) -> None:
    assert {f"{b}_bucket" for b in BUCKETS} <= set(program.outputs)
    wanted = {
        "region",
        "vpc_name",
        "vpc_id",
        "private_subnet_names",
        "gpu_subnet_names",
        "efa_security_group_name",
        "eks_cluster_name",
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
        "endpoint_keys_secret",
    }
    assert wanted | {"release_policy_arn"} <= set(program.outputs)
    assert all(program.outputs[key] for key in wanted)
    held = program.outputs["capacity_reservation_ids"]
    assert len(held) == {"local": 1, "dev": 0, "prod": 3}[program.stack] and all(i.startswith("cr-") for i in held)
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

    from tenet.sky import config_text

    found = yaml.safe_load(config_text(json.dumps(program.outputs)))
    subnets = {r["inputs"]["tags"]["Name"] for r in program.of("ec2/subnet:Subnet")}
    assert found["aws"]["vpc_names"] == [r["inputs"]["tags"]["Name"] for r in program.of("ec2/vpc:Vpc")]
    assert set(found["aws"]["subnet_names"]) <= subnets
    assert found["aws"]["security_group_name"] in {r["inputs"].get("name") for r in program.of("ec2/securityGroup:SecurityGroup")}
    assert found["aws"]["remote_identity"] in {r["inputs"].get("name") for r in program.of("iam/instanceProfile:InstanceProfile")}
