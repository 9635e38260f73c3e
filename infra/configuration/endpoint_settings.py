"""Settings of the endpoint, its alternatives and the watch over costs and alarms; read and checked like those in
settings.py."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from configuration.reading import Reader, SettingError, set_command

#: Of the running server, `serve.max_concurrency` + `serve.queue`: no load is ever higher.
MOST_LOAD = 80
#: What the rate rule of AWS WAF accepts, in requests of one address in five minutes.
WAF_RATES = (10, 2_000_000_000)
_PRINCIPAL = re.compile(r"arn:aws:iam::\d{12}:(root|role/\S+|user/\S+)")
_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """Each field is the key of the same name in camel case; see Pulumi.yaml for what it means."""

    protect: bool
    public: bool
    endpoint_autoscale: bool
    endpoint_target_load: int
    waf_rate: int
    key_store: str
    private_link: tuple[str, ...]
    cloud_front_certificate: str
    watch_budget: int
    watch_anomaly: int
    watch_latency: int
    alert_emails: tuple[str, ...]

    def __post_init__(self) -> None:
        self._check_endpoint()
        self._check_doors()
        self._check_watch()

    def _check_endpoint(self) -> None:
        if not 1 <= self.endpoint_target_load < MOST_LOAD:
            raise SettingError(
                f"tenet:endpointTargetLoad is {self.endpoint_target_load}; requests for each replica between 1 and {MOST_LOAD - 1} "
                f"are needed ({MOST_LOAD} is all that one takes, so a higher target would never be reached)"
            )
        if self.protect and not self.endpoint_autoscale:
            raise SettingError(
                "tenet:endpointAutoscale is false; with tenet:protect the service must follow its load, set it to true"
            )
        low, high = WAF_RATES
        if not low <= self.waf_rate <= high:
            raise SettingError(f"tenet:wafRate is {self.waf_rate}; AWS WAF counts from {low} to {high} requests in five minutes")
        if self.key_store not in ("secret", "table"):
            raise SettingError(f"tenet:keyStore is {self.key_store!r}; secret (Secrets Manager) or table (DynamoDB) is needed")

    def _check_doors(self) -> None:
        for principal in self.private_link:
            if not _PRINCIPAL.fullmatch(principal):
                raise SettingError(
                    f"tenet:privateLink has {principal!r}; name who may connect, e.g. arn:aws:iam::123456789012:root, never everyone"
                )
        certificate = self.cloud_front_certificate
        if certificate and not certificate.startswith("arn:aws:acm:us-east-1:"):
            raise SettingError(
                f"tenet:cloudFrontCertificate is {certificate}; CloudFront reads certificates of us-east-1 only, "
                "empty means no CloudFront"
            )
        if certificate and self.public:
            raise SettingError(
                "tenet:cloudFrontCertificate is set, tenet:public is true; CloudFront stands in front of an internal balancer, "
                "so that nobody can go around it: set tenet:public to false"
            )

    def _check_watch(self) -> None:
        for key, value in (("watchBudget", self.watch_budget), ("watchAnomaly", self.watch_anomaly)):
            if value < 0:
                raise SettingError(f"tenet:{key} is {value}; US dollars are needed, 0 switches it off")
        if self.watch_latency < 1:
            raise SettingError(f"tenet:watchLatency is {self.watch_latency}; seconds to the first token, at least 1")
        for address in self.alert_emails:
            if not _ADDRESS.fullmatch(address):
                raise SettingError(f"tenet:alertEmails has {address!r}, which is no mail address")
        if self.protect and not self.watch_budget:
            command = set_command("tenet:watchBudget")
            raise SettingError(f"tenet:watchBudget is 0; with tenet:protect a budget of dollars a month is needed: {command}")

    @staticmethod
    def read(reader: Reader, protect: bool) -> dict[str, Any]:
        """The fields from the stack's configuration, apart from those of the stack itself."""
        nobody = "tenet:protect is true, and nobody would hear of costs and failures" if protect else ""
        return {
            "endpoint_autoscale": reader.truth("tenet:endpointAutoscale"),
            "endpoint_target_load": reader.number("tenet:endpointTargetLoad"),
            "waf_rate": reader.number("tenet:wafRate"),
            "key_store": reader.text("tenet:keyStore"),
            "private_link": reader.texts("tenet:privateLink"),
            "cloud_front_certificate": reader.optional_text("tenet:cloudFrontCertificate"),
            "watch_budget": reader.number("tenet:watchBudget"),
            "watch_anomaly": reader.number("tenet:watchAnomaly"),
            "watch_latency": reader.number("tenet:watchLatency"),
            "alert_emails": reader.texts("tenet:alertEmails", needed=nobody),
        }
