"""AWS WAF in front of the load balancer: known attackers, malformed requests, and one address that asks too often.

Prompts are free text about AWS: they quote scripts, file paths, SQL and the address of the metadata service, and are
longer than the 8 KiB that the firewall reads. So each managed rule that judges a body only counts; those about headers,
paths and senders block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from configuration.endpoint_settings import EndpointSettings
from configuration.settings import Settings

#: Managed groups of AWS -> their rules that read the body.
MANAGED: dict[str, tuple[str, ...]] = {
    "AWSManagedRulesAmazonIpReputationList": (),
    "AWSManagedRulesCommonRuleSet": (
        "SizeRestrictions_BODY",
        "EC2MetaDataSSRF_BODY",
        "GenericLFI_BODY",
        "GenericRFI_BODY",
        "CrossSiteScripting_BODY",
    ),
    "AWSManagedRulesKnownBadInputsRuleSet": (
        "JavaDeserializationRCE_BODY",
        "Log4JRCE_BODY",
        "ReactJSRCE_BODY",
    ),
}


@dataclass(frozen=True, kw_only=True)
class FirewallArgs:
    """What is guarded, and what a refusal is logged with."""

    settings: Settings
    endpoint: EndpointSettings
    balancer_arn: pulumi.Input[str]
    kms_key_arn: pulumi.Input[str]


class Firewall(pulumi.ComponentResource):
    """Web ACL, its association and its log."""

    def __init__(self, name: str, args: FirewallArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("tenet:infra:Firewall", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        settings = args.settings
        acl = aws.wafv2.WebAcl(
            name,
            name=settings.prefix,
            scope="REGIONAL",
            default_action={"allow": {}},
            visibility_config=_visible(settings.prefix),
            rules=rules(args.endpoint.waf_rate, behind_proxy=bool(args.endpoint.cloud_front_certificate)),
            opts=child,
        )
        aws.wafv2.WebAclAssociation(name, resource_arn=args.balancer_arn, web_acl_arn=acl.arn, opts=child)
        log = aws.cloudwatch.LogGroup(
            f"{name}-waf",
            name=f"aws-waf-logs-{settings.prefix}",  # AWS takes no other prefix
            retention_in_days=settings.log_days,
            kms_key_id=args.kms_key_arn,
            opts=child,
        )
        aws.wafv2.WebAclLoggingConfiguration(
            name,
            resource_arn=acl.arn,
            log_destination_configs=[log.arn],
            # API keys and signatures travel in it; WAF never logs bodies.
            redacted_fields=[{"single_header": {"name": "authorization"}}],
            opts=child,
        )
        self.register_outputs({"acl": acl.arn})


def rules(rate: int, behind_proxy: bool) -> list[dict[str, Any]]:
    """Rules of the web ACL, cheapest first.

    Args:
        rate: requests of one address in five minutes.
        behind_proxy: CloudFront stands in front, so the client's address is in X-Forwarded-For.
    """
    counted: dict[str, Any] = {"limit": rate, "aggregate_key_type": "FORWARDED_IP" if behind_proxy else "IP"}
    if behind_proxy:
        # Callers from inside the network come without the header and are not counted. A caller who sends one of his own
        # is counted by what he wrote: CloudFront appends the true address to it.
        counted["forwarded_ip_config"] = {"header_name": "X-Forwarded-For", "fallback_behavior": "NO_MATCH"}
    found: list[dict[str, Any]] = [
        {
            "name": "rate",
            "priority": 0,
            "action": {"block": {}},
            "statement": {"rate_based_statement": counted},
            "visibility_config": _visible("rate"),
        }
    ]
    for priority, (group, bodies) in enumerate(MANAGED.items(), start=1):
        managed = {
            "vendor_name": "AWS",
            "name": group,
            "rule_action_overrides": [{"name": rule, "action_to_use": {"count": {}}} for rule in bodies],
        }
        found.append(
            {
                "name": group,
                "priority": priority,
                "override_action": {"none": {}},
                "statement": {"managed_rule_group_statement": managed},
                "visibility_config": _visible(group),
            }
        )
    return found


def _visible(metric: str) -> dict[str, Any]:
    # A sampled request shows its headers to whoever reads the console.
    return {"metric_name": metric, "cloudwatch_metrics_enabled": True, "sampled_requests_enabled": False}
