"""The endpoint: who gets in, how it grows, where keys lie, and what a deployment needs to know."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import Recorded, record

LINK = 'tenet:privateLink=["arn:aws:iam::210987654321:root"]'
CDN = "tenet:cloudFrontCertificate=arn:aws:acm:us-east-1:210987654321:certificate/1"


def one(program: Recorded, kind: str, name: str = "endpoint") -> dict[str, Any]:
    """Inputs of the endpoint's only resource of a type."""
    (found,) = [r for r in program.of(kind) if r["name"] == name]
    inputs: dict[str, Any] = found["inputs"]
    return inputs


def recorded(stack: str, folder: Path, *settings: str) -> Recorded:
    """A stack with some settings changed."""
    out = folder / "program.json"
    done = record(stack, out, *(word for setting in settings for word in ("--set", setting)))
    assert done.returncode == 0, done.stderr[-3000:]
    return Recorded(stack, **json.loads(out.read_text()))


def test_the_balancer_is_reached_from_inside_only(program: Recorded) -> None:
    assert one(program, "lb/loadBalancer:LoadBalancer")["internal"] is True
    rules = {r["name"]: r["inputs"] for r in program.of("vpc/securityGroupIngressRule:SecurityGroupIngressRule")}
    clients = {r["cidrIpv4"] for name, r in rules.items() if name.startswith("endpoint-") and "cidrIpv4" in r}
    assert clients == {"10.0.0.0/8"}
    assert rules["endpoint-from-balancer"]["referencedSecurityGroupId"] == "endpoint-balancer-id"


def test_what_belongs_to_deployments_is_left_to_them(program: Recorded) -> None:
    (service,) = program.of("ecs/service:Service")
    (pointer,) = program.of("ssm/parameter:Parameter")
    (group,) = program.of("autoscaling/group:Group")
    assert service["ignore_changes"] == ["desiredCount"] and group["ignore_changes"] == ["desiredCapacity"]
    assert pointer["ignore_changes"] == ["value"] and pointer["inputs"]["value"] == "none"


def test_each_task_takes_a_whole_machine(program: Recorded) -> None:
    from tenet.hardware import instance

    rented = instance(one(program, "ec2/launchTemplate:LaunchTemplate")["instanceType"])
    containers = {c["name"]: c for c in json.loads(one(program, "ecs/taskDefinition:TaskDefinition")["containerDefinitions"])}
    assert containers["serve"]["resourceRequirements"] == [{"type": "GPU", "value": str(rented.count)}]
    assert containers["serve"]["memory"] + containers["fetch"]["memory"] < rented.memory_gib * 1024
    assert containers["serve"]["dependsOn"] == [{"containerName": "fetch", "condition": "SUCCESS"}]
    # What is secret reaches a container by reference only.
    assert all(secret["valueFrom"].startswith("arn:") for secret in containers["fetch"]["secrets"])


def test_serving_reads_the_weights_store_and_nothing_else(program: Recorded) -> None:
    statements = program.policy("iam/rolePolicy:RolePolicy", "endpoint-task")["Statement"]
    assert {a for s in statements for a in s["Action"]} - {"dynamodb:Scan"} == {"s3:ListBucket", "s3:GetObject", "kms:Decrypt"}
    objects = [r for s in statements if "s3:GetObject" in s["Action"] for r in s["Resource"]]
    assert len(objects) == 1 and objects[0].endswith("storage-weights/Bucket/store/*")


def test_the_firewall_judges_senders_not_prompts(program: Recorded) -> None:
    rules = {rule["name"]: rule for rule in one(program, "wafv2/webAcl:WebAcl")["rules"]}
    assert rules["rate"]["action"] == {"block": {}}
    assert rules["rate"]["statement"]["rateBasedStatement"] == {"limit": 2000, "aggregateKeyType": "IP"}
    assert sorted(rule["priority"] for rule in rules.values()) == list(range(len(rules))), "AWS wants each priority once"
    for rule in (r for r in rules.values() if "managedRuleGroupStatement" in r["statement"]):
        overrides = rule["statement"]["managedRuleGroupStatement"]["ruleActionOverrides"]
        assert all(o["actionToUse"] == {"count": {}} and o["name"].endswith("_BODY") for o in overrides)
    log = one(program, "cloudwatch/logGroup:LogGroup", "endpoint-waf")
    assert log["name"].startswith("aws-waf-logs-") and log["kmsKeyId"]


def test_the_balancer_waits_as_long_as_the_server_may_take(program: Recorded) -> None:
    from tenet.serving.http.request import GRACE_SECONDS
    from tenet.serving.protocol.limits import Limits

    longest = Limits().deadline_seconds + GRACE_SECONDS
    assert one(program, "lb/loadBalancer:LoadBalancer")["idleTimeout"] > longest
    assert one(program, "lb/loadBalancer:LoadBalancer")["preserveHostHeader"] is True
    assert one(program, "lb/targetGroup:TargetGroup")["deregistrationDelay"] > longest


def test_scaling_follows_what_the_server_says(program: Recorded) -> None:
    from tenet.settings.serving import ServeConfig

    (source,) = program.of("cloudwatch/logMetricFilter:LogMetricFilter")
    made = source["inputs"]["metricTransformation"]
    assert (made["namespace"], made["name"], made["value"]) == (f"Tenet/{program.stack}", "Load", "$.load")
    # The line that the server writes (tests/tenet/serving/test_keys_table.py) has the member that the filter reads.
    assert source["inputs"]["pattern"] == "{ $.load = * }" and source["inputs"]["logGroupName"] == f"/tenet/{program.stack}/serve"
    if program.stack == "local":
        assert not [r for r in program.resources if r["type"].startswith("aws:appautoscaling")]
        return
    target = one(program, "appautoscaling/target:Target")
    assert target["resourceId"] == f"service/tenet-{program.stack}/serve"
    assert (target["minCapacity"], target["maxCapacity"]) == ((2, 8) if program.stack == "prod" else (0, 1))
    follow = one(program, "appautoscaling/policy:Policy", "endpoint-load")["targetTrackingScalingPolicyConfiguration"]
    metric = follow["customizedMetricSpecification"]
    assert (metric["namespace"], metric["metricName"], metric["statistic"]) == (f"Tenet/{program.stack}", "Load", "Average")
    serve = ServeConfig()
    assert 0 < follow["targetValue"] < serve.max_concurrency, "beyond it requests wait"
    wakes = [r for r in program.of("appautoscaling/policy:Policy") if r["name"] == "endpoint-wake"]
    assert bool(wakes) is (program.stack == "dev"), "only a stack that scales to none has to be woken"


def test_most_load_is_what_the_server_takes(infra: Path) -> None:
    import importlib

    from tenet.settings.serving import ServeConfig

    serve = ServeConfig()
    assert serve.max_concurrency + serve.queue == importlib.import_module("configuration.endpoint_settings").MOST_LOAD


def test_a_deployment_at_full_load_has_room(program: Recorded) -> None:
    service, group = one(program, "ecs/service:Service"), one(program, "autoscaling/group:Group")
    least, most = group["minSize"], group["maxSize"]
    rolling = service["deploymentMinimumHealthyPercent"] == 100
    assert rolling is (program.stack == "prod")
    assert most == (9 if rolling else 1) and least == (2 if rolling else 0)
    provider = one(program, "ecs/capacityProvider:CapacityProvider")["autoScalingGroupProvider"]
    assert (
        provider["managedTerminationProtection"] == provider["managedDraining"] == "ENABLED"
        and group["protectFromScaleIn"] is True
    )


def test_keys_lie_in_one_place_that_the_server_reads(program: Recorded) -> None:
    containers = {c["name"]: c for c in json.loads(one(program, "ecs/taskDefinition:TaskDefinition")["containerDefinitions"])}
    serve, fetch = containers["serve"]["command"], containers["fetch"]
    task = program.policy("iam/rolePolicy:RolePolicy", "endpoint-task")["Statement"]
    start = program.policy("iam/rolePolicy:RolePolicy", "endpoint-start")["Statement"]
    if program.stack == "dev":
        assert serve[serve.index("--credentials") + 1] == "/weights/keys.json"
        assert {s["name"] for s in fetch["secrets"]} == {"VERSION", "KEYS"} and "chown 10001:10001" in fetch["command"][0]
        assert any(s["Action"] == ["secretsmanager:GetSecretValue"] for s in start)
        assert not any("dynamodb" in json.dumps(s) for s in task)
        assert program.outputs["endpoint_keys_secret"] == "tenet/dev/keys" and program.outputs["api_keys_table"] == ""
    else:
        name = f"tenet-{program.stack}-keys"
        assert serve[serve.index("--credentials") + 1] == f"dynamodb:{name}"
        assert {s["name"] for s in fetch["secrets"]} == {"VERSION"} and "KEYS" not in fetch["command"][0].replace("keys.json", "")
        assert [s["Action"] for s in task if "dynamodb" in json.dumps(s)] == [["dynamodb:Scan"]]
        assert not any("secretsmanager" in json.dumps(s) for s in start)
        assert program.outputs["api_keys_table"] == name and program.outputs["endpoint_keys_secret"] == ""
        table = one(program, "dynamodb/table:Table")
        assert table["hashKey"] == "id" and table["deletionProtectionEnabled"] is (program.stack == "prod")


def test_the_serving_container_is_no_root_and_cannot_change_weights(program: Recorded) -> None:
    (serve,) = [
        c for c in json.loads(one(program, "ecs/taskDefinition:TaskDefinition")["containerDefinitions"]) if c["name"] == "serve"
    ]
    assert serve["user"] == "10001" and serve["linuxParameters"]["capabilities"] == {"drop": ["ALL"]}
    assert [m["readOnly"] for m in serve["mountPoints"]] == [True]


def test_machines_boot_into_the_cluster_with_the_stacks_tags(program: Recorded) -> None:
    template = one(program, "ec2/launchTemplate:LaunchTemplate")
    for given in template["tagSpecifications"]:
        assert given["tags"]["stack"] == program.stack and {"owner", "cost-center", "project"} <= set(given["tags"])
    script = base64.b64decode(template["userData"]).decode()
    assert f"ECS_CLUSTER=tenet-{program.stack}" in script and "ECS_AWSVPC_BLOCK_IMDS=true" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True).stderr == ""
    assert script.index("mount -o noatime") < script.index("ECS_CLUSTER"), "disks first, then tasks may come"


def test_the_boot_script_survives_a_machine_without_local_disks(infra: Path, tmp_path: Path) -> None:
    import importlib

    machines = importlib.import_module("endpoint.machines")
    script = machines.SCRATCH.replace(machines.HOST_PATH, str(tmp_path / "weights"))
    assert subprocess.run(["bash", "-u"], input=script + "\necho joined", text=True, capture_output=True).stdout == "joined\n"
    assert (tmp_path / "weights").is_dir()


def test_bedrock_may_read_the_store_for_import_jobs_of_this_account(program: Recorded) -> None:
    (trust,) = json.loads(one(program, "iam/role:Role", "import")["assumeRolePolicy"])["Statement"]
    assert trust["Principal"] == {"Service": "bedrock.amazonaws.com"}
    assert trust["Condition"] == {
        "StringEquals": {"aws:SourceAccount": "123456789012"},
        "ArnEquals": {"aws:SourceArn": "arn:aws:bedrock:us-east-1:123456789012:model-import-job/*"},
    }
    policy = program.policy("iam/rolePolicy:RolePolicy", "import")["Statement"]
    assert {a for s in policy for a in s["Action"]} == {"s3:ListBucket", "s3:GetObject", "kms:Decrypt"}
    assert all("Condition" in s for s in policy)
    assert program.outputs["import_role_arn"].endswith("import/Role")


def test_a_deployment_finds_all_that_it_needs(program: Recorded) -> None:
    for key in ("weights_bucket", "endpoint_model_parameter", "endpoint_cluster_name", "endpoint_service_name", "endpoint_url"):
        assert program.outputs[key]
    for key in ("image_repository_url", "import_role_arn", "kms_key_arn", "release_policy_arn", "alerts_topic_arn"):
        assert program.outputs[key]
    assert bool(program.outputs["api_keys_table"]) != bool(program.outputs["endpoint_keys_secret"])
    assert program.outputs["endpoint_private_link_name"] == program.outputs["endpoint_cloud_front_dns"] == ""


def test_other_doors_are_shut_until_they_are_asked_for(program: Recorded) -> None:
    kinds = {r["type"] for r in program.resources}
    assert not [k for k in kinds if k.startswith("aws:cloudfront") or k == "aws:ec2/vpcEndpointService:VpcEndpointService"]


def test_private_link_leads_to_the_balancer(tmp_path: Path) -> None:
    program = recorded("dev", tmp_path, LINK)
    service = one(program, "ec2/vpcEndpointService:VpcEndpointService", "endpoint-link")
    assert service["acceptanceRequired"] is True and service["allowedPrincipals"] == ["arn:aws:iam::210987654321:root"]
    target = one(program, "lb/targetGroup:TargetGroup", "endpoint-link")
    assert (target["targetType"], target["protocol"], target["port"]) == ("alb", "TCP", 443)
    listener = one(program, "lb/listener:Listener", "endpoint-link")
    assert listener["tcpIdleTimeoutSeconds"] == one(program, "lb/loadBalancer:LoadBalancer")["idleTimeout"]
    (attached,) = program.of("lb/targetGroupAttachment:TargetGroupAttachment")
    (https,) = [r for r in program.of("lb/listener:Listener") if r["name"] == "endpoint-https"]
    assert https["urn"] in attached["depends_on"], "AWS refuses a balancer that does not listen yet"
    way_in = one(program, "vpc/securityGroupIngressRule:SecurityGroupIngressRule", "endpoint-link-in")
    assert way_in["referencedSecurityGroupId"] == "endpoint-link-id" and way_in["securityGroupId"] == "endpoint-balancer-id"


def test_cloud_front_forwards_what_is_signed_and_counts_its_callers(tmp_path: Path) -> None:
    program = recorded("dev", tmp_path, CDN)
    distribution = one(program, "cloudfront/distribution:Distribution")
    assert distribution["aliases"] == ["tenet.dev.internal"]
    behaviour = distribution["defaultCacheBehavior"]
    assert (
        behaviour["viewerProtocolPolicy"] == "https-only"
        and behaviour["compress"] is False
        and "POST" in behaviour["allowedMethods"]
    )
    assert distribution["viewerCertificate"]["minimumProtocolVersion"] == "TLSv1.2_2021"
    assert one(program, "cloudfront/vpcOrigin:VpcOrigin")["vpcOriginEndpointConfig"]["originProtocolPolicy"] == "https-only"
    assert one(program, "lb/loadBalancer:LoadBalancer")["internal"] is True
    rate = one(program, "wafv2/webAcl:WebAcl")["rules"][0]["statement"]["rateBasedStatement"]
    assert rate["aggregateKeyType"] == "FORWARDED_IP" and rate["forwardedIpConfig"]["headerName"] == "X-Forwarded-For"
    assert program.outputs["endpoint_cloud_front_dns"]


@pytest.mark.parametrize(
    ("stack", "change", "message"),
    [
        ("dev", "tenet:endpointTargetLoad=80", "tenet:endpointTargetLoad is 80; requests for each replica between 1 and 79"),
        ("prod", "tenet:endpointAutoscale=false", "tenet:endpointAutoscale is false; with tenet:protect"),
        ("dev", "tenet:wafRate=5", "tenet:wafRate is 5; AWS WAF counts from 10"),
        ("dev", "tenet:keyStore=file", "tenet:keyStore is 'file'; secret (Secrets Manager) or table (DynamoDB)"),
        ("dev", 'tenet:privateLink=["*"]', "tenet:privateLink has '*'; name who may connect"),
        ("dev", CDN.replace("us-east-1", "eu-west-1"), "CloudFront reads certificates of us-east-1 only"),
        (
            "prod",
            "tenet:watchBudget=0",
            "tenet:watchBudget is 0; with tenet:protect a budget",
        ),
        ("prod", "tenet:alertEmails=[]", "tenet:alertEmails is missing; tenet:protect is true, and nobody would hear"),
        ("dev", "tenet:watchAnomaly=-1", "tenet:watchAnomaly is -1; US dollars are needed, 0 switches it off"),
        ("dev", "tenet:watchLatency=0", "tenet:watchLatency is 0; seconds to the first token"),
        ("dev", "tenet:alertEmails=[somebody]", "tenet:alertEmails has 'somebody', which is no mail address"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(infra: Path, stack: str, change: str, message: str) -> None:
    import importlib

    import pulumi
    from pulumi.runtime import mocks

    from .recorder import Cloud, configuration

    pulumi.runtime.set_mocks(Cloud(preview=False), "tenet", stack, monitor=mocks.MockMonitor(Cloud(preview=False)))
    pulumi.runtime.set_all_config(configuration(stack, [change]))
    settings = importlib.import_module("configuration.settings")
    with pytest.raises(settings.SettingError) as refused:
        importlib.import_module("configuration.loading").load()
    assert message in str(refused.value)


def test_cloud_front_and_a_public_balancer_exclude_each_other(tmp_path: Path) -> None:
    out = tmp_path / "never.json"
    done = record("dev", out, "--set", CDN, "--set", "tenet:public=true")
    assert done.returncode != 0 and "tenet:cloudFrontCertificate is set, tenet:public is true" in done.stderr and not out.exists()


def test_who_releases_may_restart_the_service_and_nothing_else_of_it(program: Recorded) -> None:
    statements = json.loads(one(program, "iam/policy:Policy", "endpoint-release")["policy"])["Statement"]
    ecs = [s for s in statements if any(action.startswith("ecs:") for action in s["Action"])]
    assert [sorted(s["Action"]) for s in ecs] == [["ecs:DescribeServices", "ecs:UpdateService"]]
    assert len(ecs[0]["Resource"]) == 1 and "*" not in ecs[0]["Resource"][0]
