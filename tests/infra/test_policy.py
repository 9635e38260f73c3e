"""The rules hold for every stack, each trips on what breaks it, and the pack answers the engine's own protocol."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .conftest import ROOT, Recorded, record
from .policies import Edit, Resources, add, declared, drop, option, put, statement

LB, TARGET, LISTENER = "lb/loadBalancer:LoadBalancer", "lb/targetGroup:TargetGroup", "lb/listener:Listener"
TEMPLATE, SERVICE, TASK = "ec2/launchTemplate:LaunchTemplate", "ecs/service:Service", "ecs/taskDefinition:TaskDefinition"
ACL, ACL_LOG = "wafv2/webAcl:WebAcl", "wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration"
ROLE, ROLE_POLICY = "iam/role:Role", "iam/rolePolicy:RolePolicy"
ALARM, TABLE, REPOSITORY = "cloudwatch/metricAlarm:MetricAlarm", "dynamodb/table:Table", "ecr/repository:Repository"
SCALING, SCALING_POLICY = "appautoscaling/target:Target", "appautoscaling/policy:Policy"
GROUP, PROVIDER = "autoscaling/group:Group", "pulumi:providers:aws"
COMMON = "rules.2.statement.managedRuleGroupStatement.ruleActionOverrides"
LINK = {"acceptanceRequired": False, "allowedPrincipals": ["*"]}
RATE_ONLY_WEB = [{"statement": {"managedRuleGroupStatement": {"name": "AWSManagedRulesCommonRuleSet"}}}]

#: Rule, what is done to stack prod, and what the rule must say about it.
BROKEN: list[tuple[str, Edit, str]] = [
    ("balancers_speak_tls", put(LISTENER, "defaultActions.0.type", "forward", "endpoint-http"), "answers over plain HTTP"),
    (
        "balancers_speak_tls",
        put(LISTENER, "sslPolicy", "ELBSecurityPolicy-2016-08", "endpoint-https"),
        "sslPolicy is ELBSecurityPolicy-2016-08",
    ),
    ("balancers_speak_tls", put(LISTENER, "sslPolicy", "ELBSecurityPolicy-TLS13-1-0-2021-06", "endpoint-https"), "TLS13-1-0"),
    ("balancers_speak_tls", put(LISTENER, "certificateArn", "", "endpoint-https"), "no certificateArn"),
    ("balancers_speak_tls", drop(LISTENER, "endpoint-https"), "no HTTPS listener"),
    ("balancers_let_streams_run", put(LB, "idleTimeout", 60), "idleTimeout is 60"),
    ("balancers_let_streams_run", put(LB, "dropInvalidHeaderFields", False), "dropInvalidHeaderFields"),
    ("balancers_let_streams_run", put(LB, "accessLogs.enabled", False), "no access log"),
    ("balancers_are_guarded", drop("wafv2/webAclAssociation:WebAclAssociation"), "no web ACL"),
    ("balancers_are_guarded", put(LB, "enableDeletionProtection", False), "enableDeletionProtection"),
    ("firewall_spares_prompts", put(ACL, COMMON, []), "SizeRestrictions_BODY blocks prompts"),
    ("firewall_spares_prompts", put(ACL, "rules", RATE_ONLY_WEB), "no rate rule"),
    ("firewall_spares_prompts", put(ACL_LOG, "redactedFields", []), "writes API keys into the log"),
    ("firewall_spares_prompts", drop(ACL_LOG), "keeps no log"),
    ("services_go_back_by_themselves", put(SERVICE, "deploymentCircuitBreaker.rollback", False), "must enable rollback"),
    ("services_go_back_by_themselves", put(SERVICE, "healthCheckGracePeriodSeconds", 60), "is 60; weights load"),
    ("services_go_back_by_themselves", put(TARGET, "deregistrationDelay", 30), "deregistrationDelay is 30"),
    ("services_go_back_by_themselves", put(TARGET, "healthCheck", {}), "no health path"),
    ("services_follow_their_load", put(SCALING, "minCapacity", 1), "minCapacity is 1"),
    ("services_follow_their_load", put(SCALING, "maxCapacity", 5000), "maxCapacity is 5000"),
    ("services_follow_their_load", drop(SCALING_POLICY), "follows no metric of load"),
    (
        "services_follow_their_load",
        put(SCALING_POLICY, "targetTrackingScalingPolicyConfiguration", {"predefinedMetricSpecification": {}}),
        "follows no metric of load",
    ),
    ("services_follow_their_load", drop(SCALING), "does not scale in production"),
    ("serving_machines_are_not_taken_away", put(GROUP, "protectFromScaleIn", False), "protectFromScaleIn"),
    (
        "serving_machines_are_not_taken_away",
        put("ecs/capacityProvider:CapacityProvider", "autoScalingGroupProvider.managedTerminationProtection", "DISABLED"),
        "managedTerminationProtection",
    ),
    (
        "production_does_not_serve_on_spot",
        put(GROUP, "mixedInstancesPolicy", {"instancesDistribution": {"onDemandPercentageAboveBaseCapacity": 0}}),
        "is below 100",
    ),
    (
        "production_does_not_serve_on_spot",
        put(SERVICE, "capacityProviderStrategies.0.capacityProvider", "FARGATE_SPOT"),
        "is spot",
    ),
    ("images_do_not_change", put(REPOSITORY, "imageTagMutability", "MUTABLE"), "must be IMMUTABLE"),
    ("images_do_not_change", put(REPOSITORY, "imageScanningConfiguration.scanOnPush", False), "scanOnPush"),
    ("images_do_not_change", put(REPOSITORY, "encryptionConfigurations", []), "not encrypted with KMS"),
    ("images_do_not_change", drop("ecr/lifecyclePolicy:LifecyclePolicy"), "grows for ever"),
    ("tables_can_be_restored", put(TABLE, "pointInTimeRecovery.enabled", False), "pointInTimeRecovery"),
    ("tables_can_be_restored", put(TABLE, "serverSideEncryption.kmsKeyArn", ""), "must name our key"),
    ("tables_can_be_restored", put(TABLE, "deletionProtectionEnabled", False), "deletionProtectionEnabled"),
    ("private_link_is_by_name", add("ec2/vpcEndpointService:VpcEndpointService", LINK), "lets everyone ask"),
    ("private_link_is_by_name", add("ec2/vpcEndpointService:VpcEndpointService", LINK), "acceptanceRequired"),
    ("rights_are_narrow", statement(ROLE_POLICY, "endpoint-task", Action="s3:*", Resource=["arn:x"]), "allows s3:*"),
    (
        "rights_are_narrow",
        statement(ROLE_POLICY, "endpoint-task", Action=["iam:PassRole"], Resource="*"),
        "iam:PassRole on every",
    ),
    (
        "rights_are_narrow",
        statement(ROLE_POLICY, "endpoint-task", Action=["s3:GetObject"], Resource="*"),
        "s3:GetObject on every",
    ),
    (
        "no_broad_managed_policies",
        add("iam/rolePolicyAttachment:RolePolicyAttachment", {"policyArn": "arn:aws:iam::aws:policy/AmazonS3FullAccess"}),
        "AmazonS3FullAccess",
    ),
    (
        "no_broad_managed_policies",
        put(ROLE, "managedPolicyArns", ["arn:aws:iam::aws:policy/AdministratorAccess"]),
        "Administrator",
    ),
    (
        "nobody_is_everyone",
        statement("s3/bucketPolicy:BucketPolicy", "storage-weights", Principal={"AWS": "*"}, Action="s3:GetObject", Resource="*"),
        "allows s3:GetObject to everybody",
    ),
    (
        "nobody_is_everyone",
        statement("kms/key:Key", "watch", Principal="*", Action="kms:Decrypt", Resource="*"),
        "kms:Decrypt to every",
    ),
    (
        "serving_only_reads",
        statement(ROLE_POLICY, "endpoint-task", Action=["s3:PutObject"], Resource=["arn:b/store/*"]),
        "s3:PutObject",
    ),
    (
        "serving_only_reads",
        statement(ROLE_POLICY, "endpoint-task", Action=["s3:GetObject"], Resource=["arn:b/*"]),
        "read arn:b/*",
    ),
    (
        "serving_only_reads",
        statement(ROLE_POLICY, "endpoint-task", Action=["dynamodb:PutItem"], Resource=["arn:t"]),
        "dynamodb:PutItem",
    ),
    (
        "bedrock_acts_for_this_account_only",
        statement(ROLE, "import", "assumeRolePolicy", Principal={"Service": "bedrock.amazonaws.com"}, Action="sts:AssumeRole"),
        "without aws:SourceAccount",
    ),
    ("costs_are_watched", drop("budgets/budget:Budget"), "of forecasted cost; set tenet:watchBudget"),
    ("costs_are_watched", put("budgets/budget:Budget", "notifications.2.subscriberSnsTopicArns", []), "of forecasted cost"),
    ("costs_are_watched", drop("costexplorer/anomalySubscription:AnomalySubscription"), "set tenet:watchAnomaly"),
    ("alarms_watch_what_serves", drop(ALARM, "watch-errors"), "server errors (5xx)"),
    ("alarms_watch_what_serves", drop(ALARM, "watch-latency"), "p99"),
    ("alarms_watch_what_serves", drop(ALARM, "watch-no-healthy-target"), "no replica that answers"),
    ("alarms_watch_what_serves", drop(ALARM, "watch-storage"), "FreeDataStorageCapacity"),
    ("alarms_reach_somebody", put(ALARM, "alarmActions", [], "watch-errors"), "no alarmActions"),
    ("alarms_reach_somebody", drop("sns/topicSubscription:TopicSubscription"), "set tenet:alertEmails"),
    ("alarms_reach_somebody", put("sns/topic:Topic", "kmsMasterKeyId", ""), "not encrypted"),
    (
        "everything_is_tagged",
        put(PROVIDER, "defaultTags", json.dumps({"tags": {"project": "tenet"}})),
        "lacks cost-center, owner, stack",
    ),
    (
        "everything_is_tagged",
        put(TEMPLATE, "tagSpecifications.1.tags", {"Name": "x"}, "endpoint"),
        "gives its volumes no cost-center",
    ),
    ("endpoint_state_is_kept", option(f"aws:{TABLE}", protect=False), "dynamodb/table:Table 'endpoint' is not protected"),
    ("endpoint_state_is_kept", option("aws:ssm/parameter:Parameter", retain=False), "'endpoint' is not retained"),
    ("endpoint_state_is_kept", put(REPOSITORY, "forceDelete", True), "would be emptied"),
    (
        "secrets_are_references",
        put(TASK, "containerDefinitions", '[{"environment": [{"name": "API_KEY", "value": "x"}]}]'),
        "API_KEY is in",
    ),
    ("secrets_are_references", add("ssm/parameter:Parameter", {"type": "String", "name": "/x/db-password"}), "in plain"),
    ("secrets_are_references", add("secretsmanager/secretVersion:SecretVersion", {"secretString": "x"}), "from the program"),
    ("names_fit", put(LB, "name", "tenet-" + "x" * 30), "has 36 characters; AWS takes 32"),
    ("only_the_right_account", put(PROVIDER, "allowedAccountIds", None), "set aws:allowedAccountIds"),
]


@pytest.fixture
def registry(infra: Path) -> ModuleType:
    return importlib.import_module("policy.registry")


@pytest.fixture
def prod(programs: dict[str, Recorded]) -> Recorded:
    return programs["prod"]


def test_every_stack_keeps_every_rule(registry: ModuleType, program: Recorded) -> None:
    assert registry.problems(declared(program)) == []


@pytest.mark.parametrize(("rule", "edit", "says"), BROKEN, ids=[f"{rule}-{i}" for i, (rule, _, _) in enumerate(BROKEN)])
def test_a_rule_trips(registry: ModuleType, prod: Recorded, rule: str, edit: Edit, says: str) -> None:
    found = registry.RULES[rule](edit(declared(prod)))
    assert any(says in problem for problem in found), found


def test_a_reservation_that_nobody_watches(registry: ModuleType, prod: Recorded) -> None:
    resources = declared(prod)
    alarms = [r for r in resources if "CapacityReservationId" in r.inputs.get("dimensions", {})]
    assert alarms, "prod watches its reservations"
    reserved = alarms[0].inputs["dimensions"]["CapacityReservationId"]
    spec = {"capacityReservationTarget": {"capacityReservationId": reserved}}
    resources = put(TEMPLATE, "capacityReservationSpecification", spec, "endpoint")([r for r in resources if r is not alarms[0]])
    assert any(reserved in problem for problem in registry.RULES["alarms_watch_what_serves"](resources))


def test_training_roles(registry: ModuleType, prod: Recorded) -> None:
    """Whatever the training side calls its roles: a machine's role with a right on weights, or to change datasets, is
    found."""
    rule = registry.RULES["training_cannot_touch_what_is_served"]
    role = next(r.name for r in declared(prod) if r.type == f"aws:{ROLE}" and "ec2.amazonaws.com" in r.inputs["assumeRolePolicy"])
    for action, where, says in (
        ("s3:GetObject", "arn:aws:s3:::storage-weights/store/*", "only tenet deploy publishes"),
        ("s3:PutObject", "arn:aws:s3:::storage-datasets/*", "datasets are read"),
    ):
        text = json.dumps({"Statement": [{"Effect": "Allow", "Action": action, "Resource": [where]}]})
        found = rule(add(ROLE_POLICY, {"policy": text}, f"aws:{ROLE}", role)(declared(prod)))
        assert any(says in problem for problem in found), found


def test_every_rule_of_these_files_was_seen_to_trip(registry: ModuleType) -> None:
    own = {
        name
        for name, rule in registry.RULES.items()
        if rule.__module__.split(".")[1] in ("endpoint_rules", "identity_rules", "watch_rules")
    }
    assert own - {rule for rule, _, _ in BROKEN} == {"training_cannot_touch_what_is_served"}, "has a test of its own"


def test_what_counts_only_in_production(registry: ModuleType, prod: Recorded) -> None:
    """A stack that is named otherwise and protects nothing may be destroyed, use spot and have no budget."""
    import dataclasses

    relaxed = [
        dataclasses.replace(r, protect=False, retain=False, urn=r.urn.replace(":prod::", ":dev::")) for r in declared(prod)
    ]
    relaxed = drop("budgets/budget:Budget")(put(REPOSITORY, "forceDelete", True)(relaxed))
    for rule in ("costs_are_watched", "endpoint_state_is_kept", "production_does_not_serve_on_spot", "only_the_right_account"):
        assert registry.RULES[rule](relaxed) == []


# --- the pack as the engine runs it --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pack() -> Iterator[Any]:
    """The policy pack in a process of its own, started as Pulumi's language host starts it, and a client of its
    protocol."""
    pytest.importorskip("pulumi_policy")
    import grpc
    from pulumi.runtime.proto import analyzer_pb2_grpc

    # The engine makes the pack's own folder the current one, and `-m` puts that first on the path.
    folder = ROOT / "infra" / "policy"
    command = [sys.executable, "-u", "-m", "pulumi.policy", "127.0.0.1:1", str(folder)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=folder)
    try:
        assert process.stdout is not None and process.stderr is not None
        port = process.stdout.readline().decode().strip()
        assert port.isdigit(), process.stderr.read().decode()[-2000:]
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_send_message_length", 1 << 28)]) as channel:
            yield analyzer_pb2_grpc.AnalyzerStub(channel)
    finally:
        process.terminate()
        process.wait(10)
        process.stdout and process.stdout.close()
        process.stderr and process.stderr.close()


def ask(pack: Any, resources: Resources) -> list[Any]:
    """What the pack says of a stack, asked as the engine asks: each resource by its inputs, then the stack by its
    outputs."""
    from google.protobuf import json_format, struct_pb2
    from pulumi.runtime.proto import analyzer_pb2

    said, request = [], analyzer_pb2.AnalyzeStackRequest()
    for resource in resources:
        known: dict[str, Any] = {"type": resource.type, "name": resource.name, "urn": resource.urn}
        known["options"] = analyzer_pb2.AnalyzerResourceOptions(protect=resource.protect)
        inputs = json_format.Parse(json.dumps(as_sent(resource.inputs)), struct_pb2.Struct())
        said += pack.Analyze(analyzer_pb2.AnalyzeRequest(**known, properties=inputs)).diagnostics
        answered = struct_pb2.Struct()
        if resource.type == "pulumi:pulumi:Stack":
            answered.update({"retained": [f"{r.type} {r.name}" for r in resources if r.retain]})
        request.resources.append(
            analyzer_pb2.AnalyzerResource(**known, properties=answered, parent=resource.parent, dependencies=resource.depends_on)
        )
    return said + list(pack.AnalyzeStack(request).diagnostics)


def as_sent(value: Any) -> Any:
    """What is not known yet in the engine's own spelling."""
    from pulumi_policy.proxy import UNKNOWN_STRING_VALUE

    from policy.unknown import UNKNOWN

    if isinstance(value, dict):
        return {key: as_sent(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_sent(item) for item in value]
    return UNKNOWN_STRING_VALUE if value is UNKNOWN else value


def test_the_engine_sees_every_rule(registry: ModuleType, pack: Any) -> None:
    from google.protobuf import empty_pb2

    info = pack.GetAnalyzerInfo(empty_pb2.Empty())
    assert info.name == "tenet"
    assert {p.name for p in info.policies} == {"what-is-declared", *(name.replace("_", "-") for name in registry.RULES)}
    assert all(p.description.endswith((".", ")")) for p in info.policies)


def test_the_engine_is_told_what_the_tests_are(pack: Any, prod: Recorded, infra: Path) -> None:
    assert ask(pack, declared(prod)) == []
    (found,) = ask(pack, put(LB, "idleTimeout", 60)(declared(prod)))
    assert found.policyName == "balancers-let-streams-run" and "idleTimeout is 60" in found.message
    from pulumi.runtime.proto import analyzer_pb2

    assert found.enforcementLevel == analyzer_pb2.MANDATORY


def test_a_first_preview_passes_though_much_is_unknown(pack: Any, infra: Path, preview: Recorded) -> None:
    assert ask(pack, declared(preview)) == []


def test_the_stack_says_what_is_retained(program: Recorded) -> None:
    """The engine's protocol does not tell a rule; the program's own options do."""
    assert program.outputs["retained"] == sorted(f"{r['type']} {r['name']}" for r in program.resources if r["retain"])
    assert bool(program.outputs["retained"]) is (program.stack == "prod")


# --- values that a preview does not know -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def preview(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """Stack prod before anything was made."""
    out = tmp_path_factory.mktemp("preview") / "prod.json"
    assert record("prod", out, "--preview").returncode == 0
    return Recorded("prod", **json.loads(out.read_text()))


def test_an_unknown_value_is_of_its_own_kind(infra: Path) -> None:
    unknown = importlib.import_module("policy.unknown")
    value = unknown.UNKNOWN
    assert not isinstance(value, (str, dict, list, bool, int))
    uses: list[Callable[[Any], Any]] = [bool, str, len, list, int, hash, lambda v: f"{v}", lambda v: "a" + v, lambda v: v["a"]]
    uses += [
        lambda v: v == "x",
        lambda v: v != "x",
        lambda v: v < 1,
        lambda v: v.get("a"),
        lambda v: "a" in v,
        lambda v: v in ("a", "b"),
    ]
    for use in uses:
        with pytest.raises(unknown.NotKnown):
            use(value)
    said = ["before"]
    with unknown.if_known():
        said.append("x" if value else "y")
    assert said == ["before"]


def test_no_rule_speaks_or_falls_over_whatever_is_unknown(registry: ModuleType, prod: Recorded) -> None:
    """Each property of each resource in turn not known: what needs it is silent, and what does not need it finds
    nothing either."""
    import dataclasses

    resources, seen = declared(prod), set()
    for i, resource in enumerate(resources):
        kind = (resource.type, resource.parent)
        if kind in seen:  # one of many of a kind
            continue
        seen.add(kind)
        for inputs in hidden(resource.inputs):
            one = [*resources[:i], dataclasses.replace(resource, inputs=inputs), *resources[i + 1 :]]
            assert registry.problems(one) == [], (resource.urn, inputs)


def hidden(inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The properties with each in turn not known, then each member of those that are mappings."""
    from policy.unknown import UNKNOWN

    for key, value in inputs.items():
        yield {**inputs, key: UNKNOWN}
        if isinstance(value, dict):
            yield from ({**inputs, key: {**value, inner: UNKNOWN}} for inner in value)


def test_what_an_unknown_value_hides_is_found_in_the_update(registry: ModuleType, prod: Recorded, preview: Recorded) -> None:
    """A key that AWS gives no name to until it is made: silent, then found empty."""
    rule = registry.RULES["alarms_reach_somebody"]
    topic = put("sns/topic:Topic", "kmsMasterKeyId", "")
    assert rule(declared(preview)) == [] and any("is not encrypted" in said for said in rule(topic(declared(prod))))
