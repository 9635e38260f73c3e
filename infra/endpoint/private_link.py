"""The endpoint inside other accounts' networks: PrivateLink in front of the load balancer, for principals that are
named."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from configuration.settings import Settings
from endpoint.task import LOAD_SECONDS


@dataclass(frozen=True, kw_only=True)
class PrivateLinkArgs:
    """Where it stands and what it leads to."""

    settings: Settings
    vpc_id: pulumi.Input[str]
    subnet_ids: list[pulumi.Output[str]]
    balancer: aws.lb.LoadBalancer
    balancer_group_id: pulumi.Input[str]
    listeners: list[aws.lb.Listener]
    principals: tuple[str, ...]


class PrivateLink(pulumi.ComponentResource):
    """Network load balancer, what it leads to, and the service that others connect to.

    Attributes:
        service_name: what a client names in its own interface endpoint.
    """

    def __init__(self, name: str, args: PrivateLinkArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tenet:infra:PrivateLink", name, None, opts)
        child, settings = pulumi.ResourceOptions(parent=self), args.settings
        group = aws.ec2.SecurityGroup(
            f"{name}-link", vpc_id=args.vpc_id, description="PrivateLink to the load balancer", opts=child
        )
        path = {"ip_protocol": "tcp", "from_port": 443, "to_port": 443}
        aws.vpc.SecurityGroupEgressRule(
            f"{name}-link-out",
            security_group_id=group.id,
            referenced_security_group_id=args.balancer_group_id,
            **path,
            opts=child,
        )
        aws.vpc.SecurityGroupIngressRule(
            f"{name}-link-in",
            security_group_id=args.balancer_group_id,
            referenced_security_group_id=group.id,
            **path,
            opts=child,
        )
        network = aws.lb.LoadBalancer(
            f"{name}-link",
            name=f"{settings.prefix}-link",
            load_balancer_type="network",
            internal=True,
            subnets=args.subnet_ids,
            security_groups=[group.id],
            enable_cross_zone_load_balancing=True,  # callers of one zone may be answered in another
            # No rule lets anybody in; what comes by PrivateLink was let in by name already.
            enforce_security_group_inbound_rules_on_private_link_traffic="off",
            enable_deletion_protection=settings.protect,
            opts=child,
        )
        target = aws.lb.TargetGroup(
            f"{name}-link",
            name=f"{settings.prefix}-link",
            port=443,
            protocol="TCP",
            target_type="alb",
            vpc_id=args.vpc_id,
            health_check={"protocol": "HTTPS", "path": "/readyz", "matcher": "200"},
            opts=child,
        )
        aws.lb.TargetGroupAttachment(
            f"{name}-link",
            target_group_arn=target.arn,
            target_id=args.balancer.arn,
            port=443,
            # AWS refuses a balancer as a target before it listens on the port.
            opts=pulumi.ResourceOptions(parent=self, depends_on=args.listeners),
        )
        aws.lb.Listener(
            f"{name}-link",
            load_balancer_arn=network.arn,
            port=443,
            protocol="TCP",  # TLS ends at the application balancer, so Host and signatures arrive as they were sent
            tcp_idle_timeout_seconds=LOAD_SECONDS,
            default_actions=[{"type": "forward", "target_group_arn": target.arn}],
            opts=child,
        )
        service = aws.ec2.VpcEndpointService(
            f"{name}-link",
            acceptance_required=True,
            allowed_principals=list(args.principals),
            network_load_balancer_arns=[network.arn],
            opts=child,
        )
        self.service_name = service.service_name
        self.register_outputs({"service_name": self.service_name})
