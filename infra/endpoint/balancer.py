"""The way in: a TLS load balancer, and security groups that let clients reach it and it alone reach the tasks."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from configuration.settings import Settings
from endpoint.certificate import certificate
from endpoint.task import DRAIN_SECONDS, LOAD_SECONDS, PORT


@dataclass(frozen=True, kw_only=True)
class BalancerArgs:
    """Where the balancer stands and where it logs."""

    settings: Settings
    vpc_id: pulumi.Input[str]
    subnet_ids: list[pulumi.Output[str]]
    logs: aws.s3.Bucket
    log_policy: aws.s3.BucketPolicy


class Balancer(pulumi.ComponentResource):
    """Load balancer, its listeners and what may talk to what.

    Attributes:
        target: group that tasks register in.
        listeners: what a service must wait for before it names the target.
        group, task_group: security groups of the balancer and of the tasks.
        balancer: what further doors lead to.
    """

    def __init__(self, name: str, args: BalancerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tenet:infra:Balancer", name, None, opts)
        self.name, self.args, self.settings = name, args, args.settings
        self.child = pulumi.ResourceOptions(parent=self)
        self.group, self.task_group = self._groups()
        self.balancer = self._balancer()
        self.target = self._target()
        self.listeners = self._listeners()
        self.register_outputs({"dns_name": self.balancer.dns_name})

    def _groups(self) -> tuple[aws.ec2.SecurityGroup, aws.ec2.SecurityGroup]:
        """Clients reach the balancer on 443 (80 only sends them there), the balancer reaches the tasks, the tasks reach
        out."""
        balancer, task = (
            aws.ec2.SecurityGroup(f"{self.name}-{kind}", vpc_id=self.args.vpc_id, description=text, opts=self.child)
            for kind, text in (("balancer", "Clients to the load balancer"), ("task", "Load balancer to the tasks"))
        )
        for cidr in self.settings.client_cidrs:
            for port in (80, 443):
                aws.vpc.SecurityGroupIngressRule(
                    f"{self.name}-{cidr.replace('/', '-')}-{port}",
                    security_group_id=balancer.id,
                    description="Clients",
                    cidr_ipv4=cidr,
                    ip_protocol="tcp",
                    from_port=port,
                    to_port=port,
                    opts=self.child,
                )
        port_range = {"ip_protocol": "tcp", "from_port": PORT, "to_port": PORT}
        aws.vpc.SecurityGroupEgressRule(
            f"{self.name}-to-task",
            security_group_id=balancer.id,
            referenced_security_group_id=task.id,
            **port_range,
            opts=self.child,
        )
        aws.vpc.SecurityGroupIngressRule(
            f"{self.name}-from-balancer",
            security_group_id=task.id,
            referenced_security_group_id=balancer.id,
            **port_range,
            opts=self.child,
        )
        aws.vpc.SecurityGroupEgressRule(
            f"{self.name}-out",
            security_group_id=task.id,
            description="AWS services over HTTPS",
            cidr_ipv4="0.0.0.0/0",
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            opts=self.child,
        )
        return balancer, task

    def _balancer(self) -> aws.lb.LoadBalancer:
        settings = self.settings
        return aws.lb.LoadBalancer(
            self.name,
            name=settings.prefix,
            load_balancer_type="application",
            internal=not settings.public,
            subnets=self.args.subnet_ids,
            security_groups=[self.group.id],
            idle_timeout=LOAD_SECONDS,  # between two bytes: a queued answer may be silent for long
            drop_invalid_header_fields=True,
            preserve_host_header=True,  # a signature covers it
            enable_deletion_protection=settings.protect,
            access_logs={"bucket": self.args.logs.bucket, "prefix": "alb", "enabled": True},
            # AWS writes a test file when logging is switched on, so it must be allowed to by then.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self.args.log_policy]),
        )

    def _target(self) -> aws.lb.TargetGroup:
        return aws.lb.TargetGroup(
            self.name,
            name=self.settings.prefix,
            port=PORT,
            protocol="HTTP",
            target_type="ip",
            vpc_id=self.args.vpc_id,
            deregistration_delay=DRAIN_SECONDS,  # streams that run may end
            load_balancing_algorithm_type="least_outstanding_requests",  # answers differ in length by a factor of a hundred
            health_check={"path": "/readyz", "matcher": "200", "interval": 15, "healthy_threshold": 2, "unhealthy_threshold": 4},
            opts=self.child,
        )

    def _listeners(self) -> list[aws.lb.Listener]:
        redirect = {"protocol": "HTTPS", "port": "443", "status_code": "HTTP_301"}
        return [
            aws.lb.Listener(
                f"{self.name}-https",
                load_balancer_arn=self.balancer.arn,
                port=443,
                protocol="HTTPS",
                ssl_policy="ELBSecurityPolicy-TLS13-1-2-2021-06",
                certificate_arn=certificate(self.name, self.settings, self.child),
                default_actions=[{"type": "forward", "target_group_arn": self.target.arn}],
                opts=self.child,
            ),
            aws.lb.Listener(
                f"{self.name}-http",
                load_balancer_arn=self.balancer.arn,
                port=80,
                protocol="HTTP",
                default_actions=[{"type": "redirect", "redirect": redirect}],
                opts=self.child,
            ),
        ]
