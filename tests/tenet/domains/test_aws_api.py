"""The demo as a domain: the same rows as its makers give, by the one function that every domain's code has."""

from __future__ import annotations

import pytest

from tenet.domains.aws_api import instructions, preferences, requests, service_models
from tenet.domains.aws_api.facts import of_split
from tenet.domains.domain import RowRequest
from tenet.domains.loading import domain_names, load_code, load_domain
from tenet.errors import ConfigError
from tenet.settings.corpus import SourceConfig

HELDOUT = (0.04, 0.08)
SOURCES = (SourceConfig("botocore", name="dynamodb,sqs,kms,transcribe"),)


def test_it_is_built_in() -> None:
    domain = load_domain("aws_api")
    assert "aws_api" in domain_names() and domain.key_task == "aws_tool" and domain.words.groups == "services"
    assert [source.kind for source in domain.sources] == ["botocore", "cpython"]
    assert {"rows.py", "phrases.py", "domain.yaml", "aws_tool.yaml"} <= {path.name for path in domain.files()}


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_rows_are_those_of_the_makers(split: service_models.Split) -> None:
    most = {"conversations": 80, "preferences": 40, "prompts": 16}
    rows = load_code(load_domain("aws_api")).make_rows(RowRequest(split=split, seed=3, most=most, sources=SOURCES))
    chosen = of_split(service_models.operations(("dynamodb", "sqs", "kms", "transcribe")), split, HELDOUT)
    share = 1.0 if split == "train" else 0.125
    assert rows["conversations"] == instructions.instruction_rows(chosen, split, 3, round(80 * share))
    if split == "valid":
        assert set(rows) == {"conversations"}
    else:
        assert rows["preferences"] == preferences.preference_rows(chosen, 3, round(40 * share))
        assert rows["prompts"] == requests.request_rows(chosen, 3, round(16 * share))
        assert len(rows["prompts"]) == round(16 * share)


def test_0_is_none_and_none_is_all() -> None:
    make = load_code(load_domain("aws_api")).make_rows
    none = make(RowRequest(split="train", sources=SOURCES, most={"conversations": 0, "preferences": 0, "prompts": 0}))
    assert {kind: len(rows) for kind, rows in none.items()} == {"conversations": 0, "preferences": 0, "prompts": 0}
    few = make(RowRequest(split="test", sources=SOURCES, most={"conversations": 400, "preferences": 1, "prompts": 1}))
    assert len(few["prompts"]) == len(few["preferences"]) == 1
    everything = make(RowRequest(split="train", sources=SOURCES))
    assert min(map(len, everything.values())) >= 80


def test_the_source_yields_pages_held_out_by_family() -> None:
    code = load_code(load_domain("aws_api"))
    documents = list(code.readers["botocore"](SourceConfig("botocore", name="sqs,dynamodb"), 0, 1))
    assert {d["metadata"]["group"] for d in documents} == {"sqs", "dynamodb"}
    assert documents[0]["text"].startswith("# ") and documents[0]["metadata"]["licence"] == "Apache-2.0"
    with pytest.raises(ConfigError, match="has no service sqqs"):
        code.check_source(SourceConfig("botocore", name="sqqs"))


def test_the_operations_that_fill_prompts_are_of_one_split() -> None:
    rows = load_code(load_domain("aws_api")).make_tables(RowRequest(split="test"))["operations"]
    assert {service_models.split_of(row["service"], HELDOUT) for row in rows} == {"test"}
    assert set(rows[0]) == {"service", "service_title", "name", "sentence", "goal"} and len(rows) > 100
