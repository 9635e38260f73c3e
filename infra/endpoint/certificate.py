"""The certificate of the endpoint: the one that a setting names, the account's own for the domain, or, in stack local,
a new one."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from configuration.settings import Settings


def certificate(name: str, settings: Settings, opts: pulumi.ResourceOptions) -> pulumi.Input[str]:
    """ARN of the certificate.

    Raises:
        Exception: from the provider, where the account holds no issued certificate of the domain; `aws acm
            request-certificate` asks for one, its DNS record proves whose the domain is.
    """
    if settings.certificate_arn:
        return settings.certificate_arn
    if settings.stack == "local":
        return aws.acm.Certificate(name, domain_name=settings.domain, validation_method="DNS", opts=opts).arn
    return aws.acm.get_certificate_output(domain=settings.domain, statuses=["ISSUED"], most_recent=True).arn
