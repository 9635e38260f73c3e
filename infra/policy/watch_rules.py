"""Money, alarms, tags, and what must not be lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from policy.declared import Resource
from policy.facts import is_production, told
from policy.selecting import given, listed, of
from policy.unknown import UNKNOWN, NotKnown, if_known

TAGS = {"project", "stack", "owner", "cost-center"}
#: Types of the endpoint that hold what cannot be made again; those of storage and training stand in storage_rules.py.
STATE = (
    "dynamodb/table:Table",
    "secretsmanager/secret:Secret",
    "ecr/repository:Repository",
    "ssm/parameter:Parameter",
    "ec2/capacityBlockReservation:CapacityBlockReservation",
)
#: What every load balancer's stack is watched by: metric -> what it tells.
WATCHED = {
    "TargetResponseTime": "answers that take long (p99)",
    "HealthyHostCount": "no replica that answers",
}
#: Names are cut or refused beyond these lengths.
LENGTHS = {"lb/loadBalancer:LoadBalancer": 32, "lb/targetGroup:TargetGroup": 32, "iam/role:Role": 64}
SECRET_NAME = re.compile(r"SECRET|PASSWORD|TOKEN|CREDENTIAL|API_?KEY|\AKEYS?\Z|PRIVATE_?KEY", re.I)


def costs_are_watched(resources: list[Resource]) -> list[str]:
    """Production has a budget that warns of actual and of forecast cost, and hears of unusual cost."""
    if not is_production(resources):
        return []
    problems = []
    with if_known():
        heard = {kind for budget in of(resources, "budgets/budget:Budget") for kind in _heard(budget)}
        for kind in sorted({"ACTUAL", "FORECASTED"} - heard):
            problems.append(f"no budget tells anybody of {kind.lower()} cost; set tenet:watchBudget")
    if not of(resources, "costexplorer/anomalySubscription:AnomalySubscription"):
        problems.append("nobody hears of unusual cost; set tenet:watchAnomaly")
    return problems


def _heard(budget: Resource) -> Iterator[str]:
    """Kinds of notices that reach a topic or a person."""
    for notice in listed(budget.inputs.get("notifications")):
        if given(notice, "subscriberSnsTopicArns") or given(notice, "subscriberEmailAddresses"):
            yield notice.get("notificationType", "")


def alarms_watch_what_serves(resources: list[Resource]) -> list[str]:
    """Errors, latency and missing replicas of a load balancer, free space of a file system, and unused reservations
    raise alarms."""
    problems = []
    with if_known():
        metrics = [name for alarm in _alarms(resources) for name in _metrics(alarm)]
        if of(resources, "lb/loadBalancer:LoadBalancer"):
            missing = [what for metric, what in WATCHED.items() if metric not in metrics]
            if not any("5XX" in metric for metric in metrics):
                missing.append("server errors (5xx)")
            problems += [f"no alarm tells of {what}" for what in missing]
        if of(resources, "fsx/lustreFileSystem:LustreFileSystem") and "FreeDataStorageCapacity" not in metrics:
            problems.append("no alarm tells of a file system that fills up (FreeDataStorageCapacity)")
    with if_known():
        watched = {a.inputs.get("dimensions", {}).get("CapacityReservationId") for a in _alarms(resources)}
        for template in of(resources, "ec2/launchTemplate:LaunchTemplate"):
            target = template.inputs.get("capacityReservationSpecification", {}).get("capacityReservationTarget", {})
            reserved = target.get("capacityReservationId")
            if reserved and reserved not in watched:
                problems.append(f"{told(template)} uses {reserved}, and no alarm tells when it is paid for and unused")
    return problems


def alarms_reach_somebody(resources: list[Resource]) -> list[str]:
    """Every alarm acts; in production a person is subscribed to the topic."""
    problems = []
    for alarm in _alarms(resources):
        if not given(alarm.inputs, "alarmActions"):
            problems.append(f"{told(alarm)} has no alarmActions; nobody would hear it")
    if is_production(resources) and not of(resources, "sns/topicSubscription:TopicSubscription"):
        problems.append("nobody is subscribed to alerts; set tenet:alertEmails")
    for topic in of(resources, "sns/topic:Topic"):
        if not given(topic.inputs, "kmsMasterKeyId"):
            problems.append(f"{told(topic)} is not encrypted; set kmsMasterKeyId")
    return problems


def everything_is_tagged(resources: list[Resource]) -> list[str]:
    """Default tags name project, stack, owner and cost centre; serving machines and their volumes get them too."""
    problems = []
    for provider in _providers(resources):
        with if_known():
            default = _object(provider.inputs.get("defaultTags"))
            if missing := TAGS - set(_object(default.get("tags"))):
                problems.append(f"aws:defaultTags lacks {', '.join(sorted(missing))}")
    for template in (t for t in of(resources, "ec2/launchTemplate:LaunchTemplate") if "tenet:infra:Machines" in t.parent):
        with if_known():
            rows = listed(template.inputs.get("tagSpecifications"))
            found = {row.get("resourceType"): set(row.get("tags", {})) for row in rows}
            for kind in ("instance", "volume"):
                if missing := TAGS - found.get(kind, set()):
                    lacking = ", ".join(sorted(missing))
                    problems.append(f"{told(template)} gives its {kind}s no {lacking}; default tags do not reach them")
    return problems


def endpoint_state_is_kept(resources: list[Resource]) -> list[str]:
    """In production keys, images and the pointer are protected and retained, and nothing is emptied to be deleted."""
    if not is_production(resources):
        return []
    problems = []
    for resource in (r for kind in STATE for r in of(resources, kind)):
        if not resource.protect:
            problems.append(f"{told(resource)} is not protected; give it protect=True in production")
        if not resource.retain:
            problems.append(f"{told(resource)} is not retained; give it retain_on_delete=True in production")
        with if_known():
            if resource.inputs.get("forceDelete"):
                problems.append(f"{told(resource)} would be emptied to be deleted; forceDelete must be false")
    return problems


def secrets_are_references(resources: list[Resource]) -> list[str]:
    """No secret stands in a container's environment, a plain parameter or the program itself."""
    problems = []
    for task in of(resources, "ecs/taskDefinition:TaskDefinition"):
        with if_known():
            for container in _array(task.inputs.get("containerDefinitions")):
                for variable in container.get("environment", []):
                    if SECRET_NAME.search(variable.get("name", "")):
                        problems.append(f"{told(task)}: {variable['name']} is in the environment in plain; put it under secrets")
    for parameter in of(resources, "ssm/parameter:Parameter"):
        with if_known():
            if parameter.inputs.get("type") != "SecureString" and SECRET_NAME.search(str(parameter.inputs.get("name", ""))):
                problems.append(f"{told(parameter)} holds a secret in plain; make it a SecureString or a Secrets Manager secret")
    for version in of(resources, "secretsmanager/secretVersion:SecretVersion"):
        problems.append(f"{told(version)} writes a secret from the program; an operator puts it there, so that no state holds it")
    return problems


def names_fit(resources: list[Resource]) -> list[str]:
    """Names are no longer than AWS takes."""
    problems = []
    for kind, most in LENGTHS.items():
        for resource in of(resources, kind):
            with if_known():
                name = str(resource.inputs.get("name", ""))
                if len(name) > most:
                    problems.append(f"{told(resource)}: the name {name} has {len(name)} characters; AWS takes {most}")
    return problems


def only_the_right_account(resources: list[Resource]) -> list[str]:
    """In production the provider refuses every account but the one that is named."""
    problems = []
    for provider in _providers(resources) if is_production(resources) else []:
        with if_known():
            if not _array(provider.inputs.get("allowedAccountIds")):
                problems.append(f"provider {provider.name!r} works in any account; set aws:allowedAccountIds")
    return problems


def _alarms(resources: list[Resource]) -> list[Resource]:
    return of(resources, "cloudwatch/metricAlarm:MetricAlarm")


def _metrics(alarm: Resource) -> list[str]:
    """Names of the metrics that an alarm reads."""
    queries = [query.get("metric", {}) for query in listed(alarm.inputs.get("metricQueries"))]
    return [str(source["metricName"]) for source in (alarm.inputs, *queries) if source.get("metricName")]


def _providers(resources: list[Resource]) -> list[Resource]:
    return [r for r in resources if r.type == "pulumi:providers:aws"]


def _array(value: Any) -> list[Any]:
    """A list, or the JSON text of one: providers and task definitions carry text."""
    found = _json(value)
    return found if isinstance(found, list) else []


def _object(value: Any) -> dict[str, Any]:
    found = _json(value)
    return found if isinstance(found, dict) else {}


def _json(value: Any) -> Any:
    if value is UNKNOWN:
        raise NotKnown
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return None
