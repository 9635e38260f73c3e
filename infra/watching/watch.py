"""Who hears when money or service goes wrong: a topic, a budget, a watch for unusual costs, and the alarms of
alarms.py."""

from __future__ import annotations

from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from configuration.endpoint_settings import EndpointSettings
from configuration.settings import Settings
from identity.documents import Document, as_json, document
from watching.alarms import AlarmNames, dashboard, endpoint_alarms, storage_alarm, unused_alarm

#: Services of AWS that publish to the topic.
SENDERS = ("budgets.amazonaws.com", "cloudwatch.amazonaws.com", "costalerts.amazonaws.com")


@dataclass(frozen=True, kw_only=True)
class WatchArgs:
    """What is watched.

    Args:
        balancer_suffix, target_suffix: the endpoint's, as CloudWatch names them.
        cluster_name, service_name: the endpoint's, in ECS.
        file_system_id, file_system_gib: of FSx for Lustre; None and 0 where there is none.
        reservation_ids: capacity reservations that cost money when nothing runs in them.
    """

    settings: Settings
    endpoint: EndpointSettings
    account: pulumi.Input[str]
    balancer_suffix: pulumi.Input[str]
    target_suffix: pulumi.Input[str]
    cluster_name: pulumi.Input[str]
    service_name: pulumi.Input[str]
    file_system_id: pulumi.Input[str] | None = None
    file_system_gib: int = 0
    reservation_ids: tuple[str, ...] = field(default=())


class Watch(pulumi.ComponentResource):
    """Topic, budget, cost anomalies, alarms and a dashboard.

    Attributes:
        topic_arn: what further alarms publish to.
    """

    def __init__(self, name: str, args: WatchArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tenet:infra:Watch", name, None, opts)
        self.name, self.args, self.settings = name, args, args.settings
        self.child = pulumi.ResourceOptions(parent=self)
        account = pulumi.Output.from_input(args.account)
        topic = self._topic(account)
        self.topic_arn = topic.arn
        # AWS tries a budget's topic when the budget is made.
        self.told = pulumi.ResourceOptions(parent=self, depends_on=[self._let_in(topic, account)])
        if args.endpoint.watch_budget:
            self._budget()
        if args.endpoint.watch_anomaly:
            self._anomalies()
        self._alarms()
        self.register_outputs({"topic_arn": self.topic_arn})

    def _topic(self, account: pulumi.Output[str]) -> aws.sns.Topic:
        # A key of its own: AWS's own key for SNS lets no other service publish, and that of the data should not have
        # to.
        key = aws.kms.Key(
            self.name,
            description=f"Alerts of {self.settings.prefix}",
            enable_key_rotation=True,
            deletion_window_in_days=30,
            policy=account.apply(lambda a: as_json(topic_key(a))),
            opts=pulumi.ResourceOptions(parent=self, protect=self.settings.protect, retain_on_delete=self.settings.protect),
        )
        topic = aws.sns.Topic(self.name, name=f"{self.settings.prefix}-alerts", kms_master_key_id=key.id, opts=self.child)
        for address in self.args.endpoint.alert_emails:
            aws.sns.TopicSubscription(
                f"{self.name}-{address}", topic=topic.arn, protocol="email", endpoint=address, opts=self.child
            )
        return topic

    def _let_in(self, topic: aws.sns.Topic, account: pulumi.Output[str]) -> aws.sns.TopicPolicy:
        policy = pulumi.Output.all(topic.arn, account).apply(lambda a: as_json(publishing(*a)))
        return aws.sns.TopicPolicy(self.name, arn=topic.arn, policy=policy, opts=self.child)

    def _budget(self) -> None:
        """Of the whole account: filters by tag count nothing until somebody activates the tag in the billing
        console."""
        at = ((80, "ACTUAL"), (100, "ACTUAL"), (100, "FORECASTED"))
        aws.budgets.Budget(
            self.name,
            name=f"{self.settings.prefix}-month",
            budget_type="COST",
            time_unit="MONTHLY",
            limit_amount=str(self.args.endpoint.watch_budget),
            limit_unit="USD",
            notifications=[
                {
                    "comparison_operator": "GREATER_THAN",
                    "threshold": percent,
                    "threshold_type": "PERCENTAGE",
                    "notification_type": kind,
                    "subscriber_sns_topic_arns": [self.topic_arn],
                }
                for percent, kind in at
            ],
            opts=self.told,
        )

    def _anomalies(self) -> None:
        monitor = aws.costexplorer.AnomalyMonitor(
            self.name,
            name=f"{self.settings.prefix}-services",
            monitor_type="DIMENSIONAL",
            monitor_dimension="SERVICE",  # an account has one of these
            opts=self.child,
        )
        dollars = {
            "key": "ANOMALY_TOTAL_IMPACT_ABSOLUTE",
            "match_options": ["GREATER_THAN_OR_EQUAL"],
            "values": [str(self.args.endpoint.watch_anomaly)],
        }
        aws.costexplorer.AnomalySubscription(
            self.name,
            name=f"{self.settings.prefix}-services",
            frequency="IMMEDIATE",
            monitor_arn_lists=[monitor.arn],
            subscribers=[{"type": "SNS", "address": self.topic_arn}],
            threshold_expression={"dimension": dollars},
            opts=self.told,
        )

    def _alarms(self) -> None:
        args = self.args
        names = AlarmNames(
            prefix=self.settings.prefix,
            stack=self.settings.stack,
            region=self.settings.region,
            balancer=args.balancer_suffix,
            target=args.target_suffix,
            cluster=args.cluster_name,
            service=args.service_name,
            file_system=args.file_system_id,
        )
        found = endpoint_alarms(names, args.endpoint.watch_latency, args.endpoint.endpoint_target_load)
        if args.file_system_id is not None:
            found["storage"] = storage_alarm(args.file_system_id, args.file_system_gib)
        for reservation in args.reservation_ids:
            found[f"unused-{reservation}"] = unused_alarm(reservation)
        for label, alarm in found.items():
            aws.cloudwatch.MetricAlarm(
                f"{self.name}-{label}",
                name=f"{self.settings.prefix}-{label}",
                alarm_actions=[self.topic_arn],
                ok_actions=[self.topic_arn],
                **alarm,
                opts=self.child,
            )
        aws.cloudwatch.Dashboard(self.name, dashboard_name=self.settings.prefix, dashboard_body=dashboard(names), opts=self.child)


def topic_key(account: str) -> Document:
    """The account administers the key; who publishes to the topic encrypts with it, on this account's behalf only."""
    return document(
        {
            "Sid": "Account",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
            "Action": "kms:*",
            "Resource": "*",  # in a key's own policy: this key
        },
        {
            "Sid": "Senders",
            "Effect": "Allow",
            "Principal": {"Service": list(SENDERS)},
            "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:SourceAccount": account}},
        },
    )


def publishing(topic: str, account: str) -> Document:
    """The senders may publish for this account, over TLS; nobody else's alarm can."""
    return document(
        {
            "Sid": "Senders",
            "Effect": "Allow",
            "Principal": {"Service": list(SENDERS)},
            "Action": "sns:Publish",
            "Resource": topic,
            "Condition": {"StringEquals": {"aws:SourceAccount": account}},
        },
        {
            "Sid": "TlsOnly",
            "Effect": "Deny",
            "Principal": {"AWS": "*"},
            "Action": "sns:Publish",
            "Resource": topic,
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
    )
