"""Settings of a stack, read once and checked before anything is declared.

A wrong value is refused with its key, itself and what is allowed.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

import pulumi

from tenet.errors import ConfigError
from tenet.hardware import Instance, instance

#: A /20 holds the serving machines of a zone; the network is cut into 16 of them.
SUBNET_BITS = 4


class SettingError(ValueError):
    """A setting is missing or wrong."""


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

    @property
    def prefix(self) -> str:
        """Start of every name."""
        return f"tenet-{self.stack}"

    def __post_init__(self) -> None:
        self._check_network()
        self._check_endpoint()
        if self.log_days not in LOG_DAYS:
            allowed = ", ".join(map(str, LOG_DAYS))
            raise SettingError(f"tenet:logDays is {self.log_days}; CloudWatch keeps logs for {allowed} days")
        if self.protect and not self.account_ids:
            raise SettingError(
                "aws:allowedAccountIds is missing, tenet:protect is true; name the account, so that no other one can be changed "
                'by mistake: `pulumi config set --path "aws:allowedAccountIds[0]" 123456789012`'
            )

    def _check_network(self) -> None:
        network = _network("tenet:cidr", self.cidr)
        if not 16 <= network.prefixlen <= 18 or not network.is_private:
            raise SettingError(f"tenet:cidr is {self.cidr}; a private range between /16 and /18 is needed, e.g. 10.20.0.0/16")
        if len(set(self.zones)) < 2 or len(self.zones) > 4:
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
        if not self.certificate_arn and self.stack != "local":
            raise SettingError(
                f"tenet:certificateArn is missing; give the ACM certificate of {self.domain} (only stack local makes its own)"
            )
        if self.certificate_arn and not self.certificate_arn.startswith(f"arn:aws:acm:{self.region}:"):
            raise SettingError(f"tenet:certificateArn is {self.certificate_arn}; it must be an ACM certificate in {self.region}")
        for cidr in self.client_cidrs:
            if _network("tenet:clientCidrs", cidr).prefixlen == 0 and not self.public:
                raise SettingError(f"tenet:clientCidrs has {cidr}, which is everyone; name ranges, or set tenet:public to true")
        if not self.client_cidrs:
            raise SettingError("tenet:clientCidrs is empty; nobody could reach the endpoint, e.g. [10.0.0.0/8]")
        if not 0 <= self.endpoint_min <= self.endpoint_max or self.endpoint_max < 1:
            raise SettingError(
                f"tenet:endpointMin is {self.endpoint_min}, tenet:endpointMax is {self.endpoint_max}; "
                "0 <= min <= max and max >= 1 are needed"
            )
        if self.protect and self.endpoint_min < 2:
            raise SettingError(f"tenet:endpointMin is {self.endpoint_min}; with tenet:protect at least 2 machines must serve")

    @classmethod
    def load(cls) -> Settings:
        """Read the stack's configuration.

        Raises:
            SettingError: names the key.
        """
        own, aws = pulumi.Config(), pulumi.Config("aws")
        return cls(
            stack=pulumi.get_stack(),
            region=_text(aws, "region"),
            cidr=_text(own, "cidr"),
            zones=_texts(own, "zones"),
            nat_gateways=_number(own, "natGateways"),
            interface_endpoints=_truth(own, "interfaceEndpoints"),
            domain=_text(own, "domain"),
            certificate_arn=own.get("certificateArn") or "",
            public=_truth(own, "public"),
            client_cidrs=_texts(own, "clientCidrs"),
            instance=_machine(_text(own, "instanceType")),
            endpoint_min=_number(own, "endpointMin"),
            endpoint_max=_number(own, "endpointMax"),
            image_tag=_text(own, "imageTag"),
            protect=_truth(own, "protect"),
            log_days=_number(own, "logDays"),
            account_ids=_texts(aws, "allowedAccountIds", required=False),
        )


#: Retention that CloudWatch Logs accepts.
LOG_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)


def _name(config: pulumi.Config, key: str) -> str:
    return f"{config.name}:{key}"


def _text(config: pulumi.Config, key: str) -> str:
    value = config.get(key)
    if not value:
        raise SettingError(f"{_name(config, key)} is missing; set it with `pulumi config set {_name(config, key)} VALUE`")
    return value


def _texts(config: pulumi.Config, key: str, required: bool = True) -> tuple[str, ...]:
    value: Any = config.get_object(key)
    if value is None and not required:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise SettingError(f"{_name(config, key)} is {value!r}; a list of texts is needed, see Pulumi.dev.yaml")
    return tuple(value)


def _number(config: pulumi.Config, key: str) -> int:
    value = _text(config, key)
    if not re.fullmatch(r"-?\d+", value):
        raise SettingError(f"{_name(config, key)} is {value!r}; a whole number is needed")
    return int(value)


def _truth(config: pulumi.Config, key: str) -> bool:
    value = _text(config, key).lower()
    if value not in ("true", "false"):
        raise SettingError(f"{_name(config, key)} is {value!r}; true or false is needed")
    return value == "true"


def _network(key: str, value: str) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(value)
    except ValueError as error:
        raise SettingError(f"{key} is {value!r}: {error}; write a range such as 10.20.0.0/16") from None


def _machine(name: str) -> Instance:
    try:
        machine = instance(name, "tenet:instanceType")
    except ConfigError as error:
        raise SettingError(str(error)) from None
    if machine.name == "local":
        raise SettingError("tenet:instanceType is local; an EC2 instance type is needed, e.g. g6e.xlarge")
    return machine
