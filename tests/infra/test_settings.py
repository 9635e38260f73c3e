"""Each setting that cannot be is refused with its key, its value and what is allowed."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

GOOD: dict[str, Any] = {
    "stack": "dev",
    "region": "us-east-1",
    "cidr": "10.20.0.0/16",
    "zones": ("us-east-1a", "us-east-1b"),
    "nat_gateways": 1,
    "interface_endpoints": False,
    "domain": "tenet.example.com",
    "certificate_arn": "arn:aws:acm:us-east-1:123456789012:certificate/1",
    "public": False,
    "client_cidrs": ("10.0.0.0/8",),
    "endpoint_min": 0,
    "endpoint_max": 1,
    "image_tag": "v1",
    "protect": False,
    "log_days": 30,
}
PROD = {"protect": True, "account_ids": ("123456789012",), "endpoint_min": 2, "endpoint_max": 4}


@pytest.fixture
def settings(infra: Path) -> ModuleType:
    return importlib.import_module("configuration.settings")


def make(settings: ModuleType, **changes: Any) -> Any:
    from tenet.hardware import instance

    return settings.Settings(**{"instance": instance("g6e.xlarge"), **GOOD, **changes})


def test_good_ones(settings: ModuleType) -> None:
    assert make(settings).prefix == "tenet-dev"
    assert make(settings, **PROD).protect
    assert make(settings, stack="local", certificate_arn="").certificate_arn == ""
    assert make(settings, public=True, client_cidrs=("0.0.0.0/0",)).public


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cidr": "10.20.0.1/16"}, "tenet:cidr is '10.20.0.1/16'.*host bits"),
        ({"cidr": "10.20.0.0/20"}, "tenet:cidr is 10.20.0.0/20.*between /16 and /18"),
        ({"cidr": "8.8.0.0/16"}, "tenet:cidr is 8.8.0.0/16; a private range"),
        ({"zones": ("us-east-1a",)}, "tenet:zones is .*two to four different"),
        ({"zones": ("us-east-1a", "us-west-2b")}, "tenet:zones has 'us-west-2b', which is not in aws:region us-east-1"),
        ({"nat_gateways": 3}, "tenet:natGateways is 3; it must be 1, or 2"),
        ({"domain": "nothing"}, "tenet:domain is 'nothing'"),
        (
            {"certificate_arn": "arn:aws:acm:eu-west-1:1:certificate/1"},
            "tenet:certificateArn .*must be an ACM certificate in us-east-1",
        ),
        ({"client_cidrs": ("0.0.0.0/0",)}, "tenet:clientCidrs has 0.0.0.0/0, which is everyone"),
        ({"client_cidrs": ("10.0.0.0/40",)}, "tenet:clientCidrs is '10.0.0.0/40'"),
        ({"endpoint_min": 3, "endpoint_max": 2}, "tenet:endpointMin is 3, tenet:endpointMax is 2"),
        ({"endpoint_max": 0}, "tenet:endpointMax is 0"),
        ({"log_days": 31}, "tenet:logDays is 31.*30, 60"),
        ({**PROD, "account_ids": ("1234",)}, "aws:allowedAccountIds has '1234'; an account is twelve digits"),
        ({"stack": "Dev"}, "the stack's name is 'Dev', 3 characters; AWS must take names made from it: 21 characters at most"),
        ({"stack": "my_stack"}, "the stack's name is 'my_stack'.*single hyphens"),
        ({"stack": "research-zurich-inference"}, "the stack's name is 'research-zurich-inference', 25 characters"),
        ({"stack": "prod"}, "tenet:protect is false; stack prod must not lose"),
        ({**PROD, "endpoint_min": 1}, "tenet:endpointMin is 1; with tenet:protect at least 2"),
    ],
)
def test_bad_ones(settings: ModuleType, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(settings.SettingError, match=message):
        make(settings, **changes)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tenet:natGateways": "two"}, "tenet:natGateways is 'two'; a whole number"),
        ({"tenet:protect": "yes"}, "tenet:protect is 'yes'; true or false"),
        ({"tenet:zones": json.dumps("us-east-1a")}, "tenet:zones is 'us-east-1a'; a list of texts is needed"),
        ({"tenet:zones": "us-east-1a"}, "tenet:zones is 'us-east-1a'; a list of texts is needed"),
        ({"tenet:zones": "[]"}, "tenet:zones is missing; name two zones at least: `.*zones.0.' VALUE`, `.*zones.1.' VALUE`"),
        ({"tenet:clientCidrs": "[]"}, "tenet:clientCidrs is missing; nobody could reach the endpoint"),
        (
            {"tenet:protect": "true"},
            r"(?s)aws:allowedAccountIds is missing; tenet:protect is true.*tenet:clusterAdmins is missing.*tenet:alertEmails is missing",
        ),
        (
            {"tenet:privateLinks": "true"},
            "tenet:privateLinks is no setting; did you mean tenet:privateLink.*`pulumi config rm --stack dev tenet:privateLinks`",
        ),
        ({"tennet:domain": "x"}, "tennet:domain is no setting; did you mean tenet:domain"),
        ({"aws:alowedAccountIds": "x"}, "aws:alowedAccountIds is no setting; did you mean aws:allowedAccountIds"),
        ({"tenet:zones[1]": "x"}, r"tenet:zones\[1\] is no setting: a place in a list is set with --path"),
        ({"tenet:instanceType": "local"}, "tenet:instanceType is local; an EC2"),
        ({"tenet:instanceType": "p5.48xlrge"}, "tenet:instanceType: no instance type 'p5.48xlrge'.*did you mean p5.48xlarge"),
        ({"tenet:domain": None}, "tenet:domain is missing; set it: `pulumi config set --stack dev tenet:domain VALUE`"),
        ({"aws:region": None}, "aws:region is missing"),
        (
            {"aws:defaultTags": None},
            "(?s)aws:defaultTags has no tag project.*no tag stack.*tags.stack dev.*no tag owner.*no tag cost-center",
        ),
        (
            {"aws:defaultTags": json.dumps({"tags": {"project": "a", "stack": "prod", "owner": "c", "cost-center": "d"}})},
            "stack prod; this is",
        ),
        (
            {"tenet:certificateArn": "arn:aws:acm:us-east-1:123456789012:certificate/1"},
            "tenet:certificateArn is .*, the placeholder",
        ),
        (
            {"aws:allowedAccountIds": '["123456789012"]'},
            r"aws:allowedAccountIds\[0\] is 123456789012, the placeholder of the stack file",
        ),
    ],
)
def test_values_as_the_engine_hands_them_over(settings: ModuleType, values: dict[str, str | None], message: str) -> None:
    import pulumi
    from pulumi.runtime import mocks

    from .recorder import Cloud, configuration

    pulumi.runtime.set_mocks(Cloud(preview=False), "tenet", "dev", monitor=mocks.MockMonitor(Cloud(preview=False)))
    given = {**configuration("dev", []), **{k: v for k, v in values.items() if v is not None}}
    pulumi.runtime.set_all_config({k: v for k, v in given.items() if values.get(k, "") is not None})
    with pytest.raises(settings.SettingError, match=message):
        importlib.import_module("configuration.loading").load()


def test_every_key_of_the_project_is_a_field(settings: ModuleType, infra: Path) -> None:
    """Nothing in Pulumi.yaml is read nowhere: each key is a field of one of the settings modules."""
    import re

    import yaml

    from .conftest import ROOT

    keys = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    modules = [importlib.import_module(f"configuration.{path.stem}") for path in (infra / "configuration").glob("*settings.py")]
    classes = {item for module in modules for item in vars(module).values() if isinstance(item, type)}
    fields = {f.name for item in classes if dataclasses.is_dataclass(item) for f in dataclasses.fields(item)}
    snake = {re.sub("([A-Z])", lambda m: "_" + m[1].lower(), key) for key in keys}
    assert snake - {"instance_type"} <= fields and {"gpu_cidr", "zones"} <= snake
