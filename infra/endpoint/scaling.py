"""How many replicas serve: as many as keep the load of each near a target.

The load is what the server itself says every few seconds: requests running and waiting on one replica. Requests a
minute would mislead, because one answer may take a second and the next ten minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from configuration.endpoint_settings import EndpointSettings
from configuration.settings import Settings

METRIC = "Load"


def namespace(stack: str) -> str:
    """Where a stack's own metrics stand in CloudWatch."""
    return f"Tenet/{stack}"


@dataclass(frozen=True, kw_only=True)
class ScalingArgs:
    """What scales and what tells of its load."""

    settings: Settings
    endpoint: EndpointSettings
    cluster_name: pulumi.Input[str]
    service_name: pulumi.Input[str]
    log_group_name: pulumi.Input[str]
    balancer_suffix: pulumi.Input[str]


class Scaling(pulumi.ComponentResource):
    """The metric from the server's log, and what follows it."""

    def __init__(self, name: str, args: ScalingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tenet:infra:Scaling", name, None, opts)
        self.name, self.args, self.settings = name, args, args.settings
        self.child = pulumi.ResourceOptions(parent=self)
        aws.cloudwatch.LogMetricFilter(
            f"{name}-load",
            name=f"{self.settings.prefix}-load",
            log_group_name=args.log_group_name,
            pattern="{ $.load = * }",  # the line that `tenet serve --load_seconds` writes
            metric_transformation={
                "namespace": namespace(self.settings.stack),
                "name": METRIC,
                "value": "$.load",
                "unit": "Count",
            },
            opts=self.child,
        )
        if args.endpoint.endpoint_autoscale:
            target = aws.appautoscaling.Target(
                name,
                service_namespace="ecs",
                scalable_dimension="ecs:service:DesiredCount",
                resource_id=pulumi.Output.concat("service/", args.cluster_name, "/", args.service_name),
                min_capacity=self.settings.endpoint_min,
                max_capacity=self.settings.endpoint_max,
                opts=self.child,
            )
            self._follow(target)
            if self.settings.endpoint_min == 0:
                self._wake(target)
        self.register_outputs({})

    def _policy(self, label: str, target: aws.appautoscaling.Target, **how: Any) -> aws.appautoscaling.Policy:
        return aws.appautoscaling.Policy(
            f"{self.name}-{label}",
            name=f"{self.settings.prefix}-{label}",
            service_namespace=target.service_namespace,
            scalable_dimension=target.scalable_dimension,
            resource_id=target.resource_id,
            **how,
            opts=self.child,
        )

    def _follow(self, target: aws.appautoscaling.Target) -> None:
        metric = {"namespace": namespace(self.settings.stack), "metric_name": METRIC, "statistic": "Average", "unit": "Count"}
        self._policy(
            "load",
            target,
            policy_type="TargetTrackingScaling",
            target_tracking_scaling_policy_configuration={
                "target_value": self.args.endpoint.endpoint_target_load,
                "customized_metric_specification": metric,
                # A machine starts and loads weights for minutes: what was asked for must arrive before more is.
                "scale_out_cooldown": 300,
                "scale_in_cooldown": 900,
            },
        )

    def _wake(self, target: aws.appautoscaling.Target) -> None:
        """From none to one: no replica, no load to follow, but the balancer counts what it had to turn away."""
        policy = self._policy(
            "wake",
            target,
            policy_type="StepScaling",
            step_scaling_policy_configuration={
                "adjustment_type": "ChangeInCapacity",
                "cooldown": 900,
                "metric_aggregation_type": "Maximum",
                "step_adjustments": [{"metric_interval_lower_bound": "0", "scaling_adjustment": 1}],
            },
        )
        aws.cloudwatch.MetricAlarm(
            f"{self.name}-wake",
            name=f"{self.settings.prefix}-wake",
            alarm_description="Somebody asked while nothing served: start one replica",
            namespace="AWS/ApplicationELB",
            metric_name="HTTPCode_ELB_503_Count",
            dimensions={"LoadBalancer": self.args.balancer_suffix},
            statistic="Sum",
            period=60,
            evaluation_periods=1,
            threshold=1,
            comparison_operator="GreaterThanOrEqualToThreshold",
            treat_missing_data="notBreaching",
            alarm_actions=[policy.arn],
            opts=self.child,
        )
