"""What is read out of botocore, and which services are held out together."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenet.domains.aws_api import pages, service_models
from tenet.errors import ConfigError


@pytest.fixture(scope="module")
def delete_table() -> service_models.Operation:
    """An operation whose documentation has not changed for years."""
    return next(operation for operation in service_models.operations(("dynamodb",)) if operation.name == "DeleteTable")


def test_an_operation_has_its_documentation_as_plain_text(delete_table: service_models.Operation) -> None:
    assert delete_table.service_title == "Amazon DynamoDB"
    assert delete_table.cli_command == "delete-table"
    assert delete_table.sentence == "The DeleteTable operation deletes a table and all of its items."
    assert "<" not in delete_table.description
    [table] = delete_table.required
    assert (table.name, table.type, table.required) == ("TableName", "string", True)


def test_notes_in_front_of_a_description_are_not_what_the_operation_does() -> None:
    html = (
        "<note><p>Not for directory buckets.</p></note><p>Works with: EC2, Anywhere</p><p>Deletes a bucket, e.g. Old. More.</p>"
    )
    assert service_models.first_sentence(service_models.lead(html)) == "Deletes a bucket, e.g. Old."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Lists keys. Then more.", "Lists keys."),
        ("Uses Amazon S3.Later", "Uses Amazon S3.Later"),
        ("Version 1.2 of it. Next", "Version 1.2 of it."),
        ("No full stop", "No full stop"),
    ],
)
def test_first_sentence(text: str, sentence: str) -> None:
    assert service_models.first_sentence(text) == sentence


@given(st.text(alphabet="ab. ", max_size=300), st.integers(40, 120))
def test_clip_keeps_within_its_size(text: str, size: int) -> None:
    assert len(service_models.clip(text, size)) <= size


@pytest.mark.parametrize(
    "kin",
    [
        ("s3", "s3control", "s3tables"),
        ("lex-models", "lexv2-models", "lex-runtime"),
        ("elb", "elbv2"),
        ("ses", "sesv2", "pinpoint-email"),
        ("bedrock", "bedrock-runtime", "bedrock-agentcore-control"),
        ("rds", "neptune", "docdb"),
        ("waf", "waf-regional", "wafv2"),
        ("inspector", "inspector2"),
    ],
)
def test_versions_and_forks_of_a_service_are_one_family(kin: tuple[str, ...]) -> None:
    assert len({service_models.family(name) for name in kin}) == 1
    assert len({service_models.split_of(name) for name in kin}) == 1


def test_unrelated_services_are_not_one_family() -> None:
    assert len({service_models.family(name) for name in ("ec2", "ecr", "m2", "route53", "sts", "sns", "sqs", "iot", "ivs")}) == 9


def test_splits_have_about_the_shares_that_were_asked_for() -> None:
    families = {service_models.family(name) for name in service_models.services()}
    splits = [service_models.split_of(name, (0.1, 0.2)) for name in families]
    assert 0.05 < splits.count("valid") / len(splits) < 0.16
    assert 0.13 < splits.count("test") / len(splits) < 0.28


def test_a_larger_test_share_only_adds_services() -> None:
    small, large = (
        {name for name in service_models.services() if service_models.split_of(name, (0.04, share)) == "test"}
        for share in (0.05, 0.2)
    )
    assert small < large


def test_an_unknown_service_is_named() -> None:
    with pytest.raises(ConfigError, match="dynamoDB"):
        service_models.operations(("dynamoDB",))


def test_a_page_shows_the_same_value_in_request_and_command(delete_table: service_models.Operation) -> None:
    text = pages.page(delete_table, random.Random(1))
    value = pages.request_of(delete_table, random.Random(1))["TableName"]
    assert text.startswith("# DeleteTable (Amazon DynamoDB)\n\n")
    assert f'Request: {{"TableName": "{value}"}}\n' in text
    assert text.endswith(f"CLI: aws dynamodb delete-table --table-name {value}\n")


def test_pages_are_short_and_the_same_every_time() -> None:
    first, second = (list(pages.pages(("sqs", "ec2"))) for _ in range(2))
    assert first == second
    assert len(first) > 700
    assert max(len(text) for _, text in first) <= pages.PAGE + 200


def test_example_values_respect_the_model() -> None:
    pick = random.Random(0)
    enum = service_models.Parameter("Mode", "string", True, ("ON", "OFF"), "")
    number = service_models.Parameter("Limit", "integer", True, (), "", low=5, high=7)
    long = service_models.Parameter("Name", "string", True, (), "", low=30)
    blob = service_models.Parameter("Body", "blob", True, (), "")
    assert pages.example_value(enum, pick) in ("ON", "OFF")
    assert {pages.example_value(number, pick) for _ in range(50)} == {5, 6, 7}
    assert len(pages.example_value(long, pick)) >= 30
    assert pages.example_value(blob, pick) is None
