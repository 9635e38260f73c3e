"""Settings of a stack, read once and checked before anything is declared.

A wrong value is refused with its key, itself and what is allowed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pulumi

from configuration.addresses import ZONES
from configuration.reading import Reader, SettingError, network
from repository import Instance


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One stack. Each field is the key of the same name in camel case; see Pulumi.yaml for what it means."""

    stack: str
    region: str
    cidr: str
    zones: tuple[str, ...]
    nat_gateways: int
    interface_endpoints: bool
    domain: str
    certificate_arn: str
    public: bool
    client_cidrs: tuple[str, ...]
    instance: Instance
    endpoint_min: int
    endpoint_max: int
    image_tag: str
    protect: bool
    log_days: int
    account_ids: tuple[str, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """Start of every name."""
        return f"tenet-{self.stack}"

    def __post_init__(self) -> None:
        self._check_name()
        self._check_network()
        self._check_endpoint()
        if self.log_days not in LOG_DAYS:
            allowed = ", ".join(map(str, LOG_DAYS))
            raise SettingError(f"tenet:logDays is {self.log_days}; CloudWatch keeps logs for {allowed} days")
        if self.stack == "prod" and not self.protect:
            raise SettingError("tenet:protect is false; stack prod must not lose what holds state, set it to true")
        for account in self.account_ids:
            if not re.fullmatch(r"\d{12}", account):
                raise SettingError(f"aws:allowedAccountIds has {account!r}; an account is twelve digits, in quotes")

    def _check_name(self) -> None:
        """The stack's name is part of many others; load balancers take the least: 32 letters, digits and hyphens."""
        most = BALANCER_NAME - len("tenet-") - len(LONGEST_SUFFIX)
        if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", self.stack) or len(self.stack) > most:
            raise SettingError(
                f"the stack's name is {self.stack!r}, {len(self.stack)} characters; AWS must take names made from it: {most} characters "
                "at most, lower case letters, digits and single hyphens, a letter first: `pulumi stack rename NAME`, or `pulumi stack init NAME`"
            )

    def _check_network(self) -> None:
        block = network("tenet:cidr", self.cidr)
        if not 16 <= block.prefixlen <= 18 or not block.is_private:
            raise SettingError(f"tenet:cidr is {self.cidr}; a private range between /16 and /18 is needed, e.g. 10.20.0.0/16")
        if len(set(self.zones)) < 2 or len(self.zones) > ZONES:
            raise SettingError(f"tenet:zones is {list(self.zones)}; give two to four different zones, e.g. {self.region}a and b")
        for zone in self.zones:
            if not re.fullmatch(re.escape(self.region) + "[a-z]", zone):
                raise SettingError(f"tenet:zones has {zone!r}, which is not in aws:region {self.region}")
        if self.nat_gateways not in (1, len(self.zones)):
            zones = len(self.zones)
            raise SettingError(f"tenet:natGateways is {self.nat_gateways}; it must be 1, or {zones} (one for each zone)")

    def _check_endpoint(self) -> None:
        if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", self.domain):
            raise SettingError(f"tenet:domain is {self.domain!r}; a host name in lower case is needed, e.g. tenet.example.com")
        if self.certificate_arn and not self.certificate_arn.startswith(f"arn:aws:acm:{self.region}:"):
            raise SettingError(f"tenet:certificateArn is {self.certificate_arn}; it must be an ACM certificate in {self.region}")
        for cidr in self.client_cidrs:
            if network("tenet:clientCidrs", cidr).prefixlen == 0 and not self.public:
                raise SettingError(f"tenet:clientCidrs has {cidr}, which is everyone; name ranges, or set tenet:public to true")
        if not 0 <= self.endpoint_min <= self.endpoint_max or self.endpoint_max < 1:
            raise SettingError(
                f"tenet:endpointMin is {self.endpoint_min}, tenet:endpointMax is {self.endpoint_max}; "
                "0 <= min <= max and max >= 1 are needed"
            )
        if self.protect and self.endpoint_min < 2:
            raise SettingError(f"tenet:endpointMin is {self.endpoint_min}; with tenet:protect at least 2 machines must serve")

    @staticmethod
    def read(reader: Reader) -> dict[str, Any]:
        """The fields from the stack's configuration."""
        protect = reader.truth("tenet:protect")
        own_account = "tenet:protect is true; name the account, so that no other one can be changed by mistake" if protect else ""
        return {
            "stack": pulumi.get_stack(),
            "region": reader.text("aws:region"),
            "cidr": reader.text("tenet:cidr"),
            "zones": reader.texts("tenet:zones", needed="name two zones at least", least=2),
            "nat_gateways": reader.number("tenet:natGateways"),
            "interface_endpoints": reader.truth("tenet:interfaceEndpoints"),
            "domain": reader.text("tenet:domain"),
            "certificate_arn": reader.optional_text("tenet:certificateArn"),
            "public": reader.truth("tenet:public"),
            "client_cidrs": reader.texts("tenet:clientCidrs", needed="nobody could reach the endpoint, e.g. 10.0.0.0/8"),
            "instance": reader.machine("tenet:instanceType"),
            "endpoint_min": reader.number("tenet:endpointMin"),
            "endpoint_max": reader.number("tenet:endpointMax"),
            "image_tag": reader.text("tenet:imageTag"),
            "protect": protect,
            "log_days": reader.number("tenet:logDays"),
            "account_ids": reader.texts("aws:allowedAccountIds", needed=own_account),
            "tags": reader.default_tags(),
        }


#: Longest name of a load balancer or target group, and the longest end of one (infra/endpoint/private_link.py).
BALANCER_NAME, LONGEST_SUFFIX = 32, "-link"
#: Retention that CloudWatch Logs accepts.
LOG_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
