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
    assert len(components) == 6
    assert set(components) <= set(program.closed), "a component did not register its outputs"
    for resource in program.resources:
        if resource["type"].startswith("aws:"):
            assert "tenet:infra:" in resource["parent"], f"{resource['name']} has no component"


def test_every_bucket_is_closed_and_encrypted(program: Recorded) -> None:
    names = {r["name"] for r in program.of("s3/bucket:Bucket")}
    assert {n.removeprefix("storage-") for n in names} == BUCKETS
    for kind in ("bucketPublicAccessBlock:BucketPublicAccessBlock", "bucketOwnershipControls:BucketOwnershipControls"):
        assert {r["name"] for r in program.of(f"s3/{kind}")} == names
    for block in program.of("s3/bucketPublicAccessBlock:BucketPublicAccessBlock"):
        flags = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
        assert all(block["inputs"][flag] is True for flag in flags), block["name"]
    for rule in program.of("s3/bucketOwnershipControls:BucketOwnershipControls"):
        assert rule["inputs"]["rule"]["objectOwnership"] == "BucketOwnerEnforced"
    kind = "s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    for setting in program.of(kind):
        (rule,) = setting["inputs"]["rules"]
        default = rule["applyServerSideEncryptionByDefault"]
        if setting["name"] == "storage-logs":  # log delivery cannot use a customer's key
            assert default == {"sseAlgorithm": "AES256"}
        else:
            assert default["sseAlgorithm"] == "aws:kms" and default["kmsMasterKeyId"].endswith("storage/Key")
            assert rule["bucketKeyEnabled"] is True


def test_every_bucket_policy_refuses_plain_http(program: Recorded) -> None:
    for bucket in program.of("s3/bucket:Bucket"):
        first = program.policy("s3/bucketPolicy:BucketPolicy", bucket["name"])["Statement"][0]
        assert (first["Effect"], first["Principal"], first["Action"]) == ("Deny", {"AWS": "*"}, "s3:*")
        assert first["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert len(first["Resource"]) == 2


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
        if "*" in resources:
            assert actions == ["ecr:GetAuthorizationToken"], f"{name} allows {actions} on everything"
    assert seen > 15
    attached = {r["inputs"]["policyArn"] for r in program.of("iam/rolePolicyAttachment:RolePolicyAttachment")}
    assert not [arn for arn in attached if "FullAccess" in arn or "Administrator" in arn]


def test_training_reads_data_and_cannot_touch_weights(program: Recorded) -> None:
    text = json.dumps(program.policy("iam/rolePolicy:RolePolicy", "identity-training"))
    assert "storage-weights" not in text
    for statement in json.loads(text)["Statement"]:
        if "s3:PutObject" in statement["Action"]:
            assert not [r for r in statement["Resource"] if "datasets" in r]


def test_serving_reads_the_weights_store_and_nothing_else(program: Recorded) -> None:
    serving = program.policy("iam/rolePolicy:RolePolicy", "endpoint-task")["Statement"]
    actions = {a for s in serving for a in s["Action"]}
    assert actions == {"s3:ListBucket", "s3:GetObject", "kms:Decrypt"}
    objects = [r for s in serving if "s3:GetObject" in s["Action"] for r in s["Resource"]]
    assert len(objects) == 1 and objects[0].endswith("storage-weights/Bucket/store/*")


def test_versions_are_kept_and_nothing_current_expires(program: Recorded) -> None:
    status = {
        r["name"]: r["inputs"]["versioningConfiguration"]["status"] for r in program.of("s3/bucketVersioning:BucketVersioning")
    }
    assert {name for name, value in status.items() if value == "Enabled"} == {f"storage-{b}" for b in BUCKETS - {"logs"}}
    for rules in program.of("s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"):
        found = {rule["id"]: rule for rule in rules["inputs"]["rules"]}
        assert found["unfinished-uploads"]["abortIncompleteMultipartUpload"]["daysAfterInitiation"] == 2
        assert [r for r in found.values() if "expiration" in r] == ([found["expire"]] if rules["name"] == "storage-logs" else [])
        if rules["name"] != "storage-logs":
            assert found["old-versions"]["noncurrentVersionExpiration"]["noncurrentDays"] >= 7


def test_key_rotates_and_is_not_everyones(program: Recorded) -> None:
    (key,) = program.of("kms/key:Key")
    assert key["inputs"]["enableKeyRotation"] is True and key["inputs"]["deletionWindowInDays"] == 30
    for statement in json.loads(key["inputs"]["policy"])["Statement"]:
        principal = next(iter(statement["Principal"].values()))
        assert principal.endswith((":root", ".amazonaws.com"))


def test_state_is_protected_in_prod_and_only_there(program: Recorded) -> None:
    prod = program.stack == "prod"
    kept = (
        "kms/key:Key",
        "s3/bucket:Bucket",
        "ecr/repository:Repository",
        "secretsmanager/secret:Secret",
        "ssm/parameter:Parameter",
    )
    for kind in kept:
        for resource in program.of(kind):
            assert (resource["protect"], resource["retain"]) == (prod, prod), resource["name"]
    assert all(b["inputs"]["forceDestroy"] is not prod for b in program.of("s3/bucket:Bucket"))
    (balancer,) = program.of("lb/loadBalancer:LoadBalancer")
    assert balancer["inputs"]["enableDeletionProtection"] is prod


def test_network(program: Recorded) -> None:
    (vpc,) = program.of("ec2/vpc:Vpc")
    assert vpc["inputs"]["enableDnsHostnames"] is True
    assert vpc["inputs"]["tags"]["Name"] == program.outputs["vpc_name"]
    subnets = program.of("ec2/subnet:Subnet")
    assert not [s for s in subnets if s["inputs"].get("mapPublicIpOnLaunch")]
    assert len({s["inputs"]["cidrBlock"] for s in subnets}) == len(subnets)
    private = [s for s in subnets if "private" in s["name"]]
    assert sorted(s["inputs"]["tags"]["Name"] for s in private) == program.outputs["private_subnet_names"]
    assert len({s["inputs"]["availabilityZone"] for s in private}) >= 2
    (closed,) = program.of("ec2/defaultSecurityGroup:DefaultSecurityGroup")
    assert closed["inputs"]["ingress"] == closed["inputs"]["egress"] == []
    (flow,) = program.of("ec2/flowLog:FlowLog")
    assert flow["inputs"]["trafficType"] == "ALL"
    gateway = [e for e in program.of("ec2/vpcEndpoint:VpcEndpoint") if e["inputs"]["vpcEndpointType"] == "Gateway"]
    assert len(gateway) == 1 and len(gateway[0]["inputs"]["routeTableIds"]) == len(private)
    assert len(program.of("ec2/natGateway:NatGateway")) == (3 if program.stack == "prod" else 1)
    interfaces = {e["inputs"]["serviceName"].split(".")[3] for e in program.of("ec2/vpcEndpoint:VpcEndpoint")} - {"s3"}
    assert ({"ecr", "logs", "ssm", "sts", "secretsmanager"} <= interfaces) is (program.stack == "prod")


def test_no_door_is_open_to_the_world(program: Recorded) -> None:
    for rule in program.of("vpc/securityGroupIngressRule:SecurityGroupIngressRule"):
        inputs = rule["inputs"]
        assert inputs.get("cidrIpv4") != "0.0.0.0/0", rule["name"]
        assert not inputs["fromPort"] <= 22 <= inputs["toPort"], rule["name"]
        assert inputs.get("cidrIpv4") or inputs.get("referencedSecurityGroupId")
    for group in program.of("ec2/securityGroup:SecurityGroup"):
        assert not group["inputs"].get("ingress"), "rules are resources of their own"


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
    (template,) = program.of("ec2/launchTemplate:LaunchTemplate")
    inputs = template["inputs"]
    assert inputs["metadataOptions"]["httpTokens"] == "required" and inputs["metadataOptions"]["httpPutResponseHopLimit"] <= 2
    (disk,) = inputs["blockDeviceMappings"]
    assert disk["ebs"]["encrypted"] == "true" and disk["ebs"]["volumeType"] == "gp3"
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


def test_same_resources_whatever_the_number_of_machines(tmp_path: Path) -> None:
    """Machines are sizes of a group: two and two thousand declare the same."""
    counts = []
    for number in (2, 2000):
        out = tmp_path / f"{number}.json"
        done = record("dev", out, "--set", f"tenet:endpointMax={number}")
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
    ],
)
def test_a_wrong_setting_stops_before_anything_is_declared(tmp_path: Path, stack: str, change: str, message: str) -> None:
    out = tmp_path / "never.json"
    done = record(stack, out, "--set", change)
    assert done.returncode != 0 and message in done.stderr
    assert not out.exists()
