"""CloudFront in front of an internal load balancer: for callers all over the world, with no public address in the
network.

It caches nothing and forwards everything, because a signature covers Host, path and headers.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from configuration.settings import Settings

#: Policies that AWS keeps, the same ids in every account: CachingDisabled and AllViewer.
NO_CACHE, ALL_VIEWER = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad", "216adef6-5c7f-47e4-b989-5492eafa07d3"
#: Longest wait for the first byte that an account has without asking; a queued answer may need more (a quota of
#: CloudFront).
READ_SECONDS = 60
PREFIX_LIST = "com.amazonaws.global.cloudfront.origin-facing"


@dataclass(frozen=True, kw_only=True)
class CdnArgs:
    """What stands behind it and under which name."""

    settings: Settings
    balancer: aws.lb.LoadBalancer
    balancer_group_id: pulumi.Input[str]
    certificate_arn: str


class Cdn(pulumi.ComponentResource):
    """VPC origin and distribution.

    Attributes:
        dns_name: where the domain must point instead of the load balancer.
    """

    def __init__(self, name: str, args: CdnArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tenet:infra:Cdn", name, None, opts)
        child, settings = pulumi.ResourceOptions(parent=self), args.settings
        aws.vpc.SecurityGroupIngressRule(
            f"{name}-cloudfront",
            security_group_id=args.balancer_group_id,
            prefix_list_id=aws.ec2.get_managed_prefix_list_output(name=PREFIX_LIST).id,
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            opts=child,
        )
        origin = aws.cloudfront.VpcOrigin(
            name,
            vpc_origin_endpoint_config={
                "name": settings.prefix,
                "arn": args.balancer.arn,
                "http_port": 80,
                "https_port": 443,
                "origin_protocol_policy": "https-only",
                "origin_ssl_protocols": {"items": ["TLSv1.2"], "quantity": 1},
            },
            opts=child,
        )
        behind = {"vpc_origin_id": origin.id, "origin_read_timeout": READ_SECONDS, "origin_keepalive_timeout": 60}
        distribution = aws.cloudfront.Distribution(
            name,
            comment=settings.prefix,
            enabled=True,
            aliases=[settings.domain],
            http_version="http2and3",
            origins=[{"origin_id": "balancer", "domain_name": args.balancer.dns_name, "vpc_origin_config": behind}],
            default_cache_behavior={
                "target_origin_id": "balancer",
                "viewer_protocol_policy": "https-only",
                "allowed_methods": ["GET", "HEAD", "OPTIONS", "PUT", "POST", "PATCH", "DELETE"],
                "cached_methods": ["GET", "HEAD"],
                "cache_policy_id": NO_CACHE,
                "origin_request_policy_id": ALL_VIEWER,
                "compress": False,  # frames of a stream must leave one by one
            },
            restrictions={"geo_restriction": {"restriction_type": "none"}},
            viewer_certificate={
                "acm_certificate_arn": args.certificate_arn,
                "ssl_support_method": "sni-only",
                "minimum_protocol_version": "TLSv1.2_2021",
            },
            opts=child,
        )
        self.dns_name = distribution.domain_name
        self.register_outputs({"dns_name": self.dns_name})
