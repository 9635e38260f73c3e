"""Alarms and the dashboard as plain data: what is measured, over how long, and what is too much."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pulumi

from endpoint.scaling import METRIC, namespace

#: Of a file system's space: below it, checkpoints of the next hours may not fit.
LEAST_FREE = 0.15
ELB = "AWS/ApplicationELB"
Alarm = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class AlarmNames:
    """What the metrics are told apart by."""

    prefix: str
    stack: str
    region: str
    balancer: pulumi.Input[str]
    target: pulumi.Input[str]
    cluster: pulumi.Input[str]
    service: pulumi.Input[str]
    file_system: pulumi.Input[str] | None = None


def endpoint_alarms(names: AlarmNames, latency_seconds: int, target_load: int) -> dict[str, Alarm]:
    """Alarms of the endpoint by label.

    Args:
        names: of load balancer and targets.
        latency_seconds: to the first token, for 99 of 100 requests.
        target_load: requests on each replica that scaling aims at.
    """
    of_balancer = {"LoadBalancer": names.balancer}
    of_target = {**of_balancer, "TargetGroup": names.target}
    return {
        "errors": _errors(of_balancer),
        "latency": {
            "alarm_description": f"99 of 100 requests should see their first token within {latency_seconds} s",
            "namespace": ELB,
            "metric_name": "TargetResponseTime",  # until the response's headers: a stream's first token
            "dimensions": of_balancer,
            "extended_statistic": "p99",
            "evaluate_low_sample_count_percentiles": "ignore",
            **_above(latency_seconds, period=300, periods=3),
        },
        "no-healthy-target": {
            "alarm_description": "Replicas are registered and none of them answers",
            "namespace": ELB,
            "metric_name": "HealthyHostCount",
            "dimensions": of_target,
            "statistic": "Maximum",
            "comparison_operator": "LessThanThreshold",
            "threshold": 1,
            "period": 60,
            "evaluation_periods": 5,
            # A stack that scales to none has no replica registered, and the metric is missing then.
            "treat_missing_data": "notBreaching",
        },
        "overload": {
            "alarm_description": "Replicas carry twice the load that scaling aims at: no more can be had, or not fast enough",
            "namespace": namespace(names.stack),
            "metric_name": METRIC,
            "statistic": "Average",
            **_above(2 * target_load, period=300, periods=3),
        },
    }


def _errors(dimensions: dict[str, pulumi.Input[str]]) -> Alarm:
    """Share of answers with a 5xx, from the balancer itself or a replica; below 20 requests in five minutes one is no
    share."""
    codes = {"target": "HTTPCode_Target_5XX_Count", "own": "HTTPCode_ELB_5XX_Count", "all": "RequestCount"}
    queries: list[dict[str, Any]] = [
        {
            "id": label,
            "return_data": False,
            "metric": {"namespace": ELB, "metric_name": metric, "dimensions": dimensions, "stat": "Sum", "period": 300},
        }
        for label, metric in codes.items()
    ]
    share = "IF(FILL(all, 0) > 20, 100 * (FILL(target, 0) + FILL(own, 0)) / all, 0)"
    queries.append({"id": "share", "expression": share, "label": "5xx, percent", "return_data": True})
    return {
        "alarm_description": "More than 2 of 100 answers are server errors",
        "metric_queries": queries,
        "comparison_operator": "GreaterThanThreshold",
        "threshold": 2,
        "evaluation_periods": 2,
        "treat_missing_data": "notBreaching",
    }


def storage_alarm(file_system: pulumi.Input[str], gib: int) -> Alarm:
    """Free space of an FSx for Lustre file system of `gib` GiB."""
    return {
        "alarm_description": f"Less than {LEAST_FREE:.0%} of the file system is free",
        "namespace": "AWS/FSx",
        "metric_name": "FreeDataStorageCapacity",
        "dimensions": {"FileSystemId": file_system},
        "statistic": "Sum",  # each disk reports once a minute
        "comparison_operator": "LessThanThreshold",
        "threshold": int(gib * LEAST_FREE) << 30,
        "period": 60,
        "evaluation_periods": 10,
        "treat_missing_data": "missing",
    }


def unused_alarm(reservation: str) -> Alarm:
    """Machines of a capacity reservation that are paid for and stand empty for an hour."""
    return {
        "alarm_description": f"Machines of {reservation} are paid for and not used",
        "namespace": "AWS/EC2CapacityReservations",
        "metric_name": "AvailableInstanceCount",
        "dimensions": {"CapacityReservationId": reservation},
        "statistic": "Minimum",
        **_above(0, period=300, periods=12),
    }


def _above(threshold: float, period: int, periods: int) -> Alarm:
    return {
        "comparison_operator": "GreaterThanThreshold",
        "threshold": threshold,
        "period": period,
        "evaluation_periods": periods,
        "treat_missing_data": "notBreaching",
    }


def dashboard(names: AlarmNames) -> pulumi.Output[str]:
    """One page: what is asked, how it is answered, how many answer and how much each carries."""
    file_system = names.file_system if names.file_system is not None else ""
    return pulumi.Output.all(names.balancer, names.target, names.cluster, names.service, file_system).apply(
        lambda found: _body(names, *found)
    )


def _body(names: AlarmNames, balancer: str, target: str, cluster: str, service: str, file_system: str) -> str:
    of_balancer = ["LoadBalancer", balancer]
    of_target = [*of_balancer, "TargetGroup", target]
    of_service = ["ClusterName", cluster, "ServiceName", service]
    widgets: list[tuple[str, str, list[list[Any]]]] = [
        ("Requests and server errors a minute", "Sum", [[ELB, metric, *of_balancer] for metric in _COUNTS]),
        ("Seconds to the first token", "p99", [[ELB, "TargetResponseTime", *of_balancer, {"stat": s}] for s in ("p50", "p99")]),
        (
            "Requests on each replica",
            "Average",
            [[namespace(names.stack), METRIC], [namespace(names.stack), METRIC, {"stat": "Maximum"}]],
        ),
        (
            "Replicas",
            "Maximum",
            [[ELB, "HealthyHostCount", *of_target], ["ECS/ContainerInsights", "RunningTaskCount", *of_service]],
        ),
        (
            "Refused by the firewall",
            "Sum",
            [["AWS/WAFV2", "BlockedRequests", "WebACL", names.prefix, "Region", names.region, "Rule", "ALL"]],
        ),
    ]
    if file_system:
        widgets.append(
            ("Free bytes of the file system", "Sum", [["AWS/FSx", "FreeDataStorageCapacity", "FileSystemId", file_system]])
        )
    return json.dumps({"widgets": [_widget(names.region, i, *widget) for i, widget in enumerate(widgets)]})


_COUNTS = ("RequestCount", "HTTPCode_Target_5XX_Count", "HTTPCode_ELB_5XX_Count")


def _widget(region: str, index: int, title: str, stat: str, metrics: list[list[Any]]) -> dict[str, Any]:
    place = {"x": 12 * (index % 2), "y": 6 * (index // 2), "width": 12, "height": 6}
    return {
        "type": "metric",
        **place,
        "properties": {"title": title, "region": region, "stat": stat, "period": 60, "metrics": metrics},
    }
