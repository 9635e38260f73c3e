"""What is served, as the control plane describes it: filters, pages, profiles; and imports that happen once."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tenet.serving.clients.client import client
from tenet.serving.server.server import LocalServer
from tenet.settings.serving import ServeConfig
from tests.tenet.serving.conftest import MODEL, user
from tests.tenet.serving.test_load import wait_for

HAIKU = "anthropic.claude-3-5-haiku-20241022-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123xyz"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    folder = tmp_path_factory.mktemp("house")
    for model in ("other", "third"):
        (folder / "imports" / model).mkdir(parents=True)
        for name in ("config.json", "tokenizer.json"):
            (folder / "imports" / model / name).write_text("{}")
    config = ServeConfig(engine="echo", imports=str(folder / "imports"), aliases=(HAIKU, PROFILE, f"eu.{HAIKU}"))
    with LocalServer(folder, config) as running:
        yield running


@pytest.fixture
def bedrock(house: LocalServer) -> Any:
    return client(house.endpoint, house.keys, "bedrock", parameter_validation=False)


def ids(answer: dict[str, Any]) -> list[str]:
    return [one["modelId"] for one in answer["modelSummaries"]]


def test_foundation_models(bedrock: Any) -> None:
    assert ids(bedrock.list_foundation_models()) == [MODEL, HAIKU], "profiles and ARNs are no models of their own"
    for provider in ("Anthropic", "anthropic"):
        assert ids(bedrock.list_foundation_models(byProvider=provider)) == [HAIKU]
    assert ids(bedrock.list_foundation_models(byProvider="tenet", byOutputModality="TEXT")) == [MODEL]
    assert ids(bedrock.list_foundation_models(byProvider="nobody")) == []
    assert ids(bedrock.list_foundation_models(byOutputModality="IMAGE")) == []
    with pytest.raises(bedrock.exceptions.ValidationException, match="byOutputModality"):
        bedrock.list_foundation_models(byOutputModality="SMELL")
    details = bedrock.get_foundation_model(modelIdentifier=f"us.{HAIKU}")["modelDetails"]
    assert (details["providerName"], details["modelId"]) == ("Anthropic", HAIKU)
    assert bedrock.get_foundation_model(modelIdentifier=MODEL)["modelDetails"]["responseStreamingSupported"] is True
    with pytest.raises(bedrock.exceptions.ResourceNotFoundException):
        bedrock.get_foundation_model(modelIdentifier="no.such")


def test_inference_profiles(bedrock: Any) -> None:
    found = bedrock.get_inference_profile(inferenceProfileIdentifier=PROFILE)
    assert (found["type"], found["inferenceProfileArn"]) == ("APPLICATION", PROFILE)
    assert found["models"] == [{"modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{MODEL}"}]
    assert bedrock.get_inference_profile(inferenceProfileIdentifier="abc123xyz")["inferenceProfileArn"] == PROFILE
    system = bedrock.get_inference_profile(inferenceProfileIdentifier=f"global.{HAIKU}")
    assert (system["type"], system["models"][0]["modelArn"].rpartition("/")[2]) == ("SYSTEM_DEFINED", HAIKU)
    for unknown in (MODEL, "us.no.such"):
        with pytest.raises(bedrock.exceptions.ResourceNotFoundException):
            bedrock.get_inference_profile(inferenceProfileIdentifier=unknown)
    profiles = [one["inferenceProfileId"] for one in bedrock.list_inference_profiles()["inferenceProfileSummaries"]]
    assert profiles == ["abc123xyz", f"eu.{HAIKU}", f"us.{MODEL}", f"us.{HAIKU}"]
    assert all(bedrock.get_inference_profile(inferenceProfileIdentifier=one)["status"] == "ACTIVE" for one in profiles)
    [one] = bedrock.list_inference_profiles(typeEquals="APPLICATION")["inferenceProfileSummaries"]
    assert one["inferenceProfileId"] == "abc123xyz"


def test_pages_of_a_list(bedrock: Any) -> None:
    pages = bedrock.get_paginator("list_inference_profiles").paginate(PaginationConfig={"PageSize": 3})
    sizes = [len(page["inferenceProfileSummaries"]) for page in pages]
    assert sizes == [3, 1]
    for wrong in ("x", "ZnJvbTox!", "ZnJvbTp4"):
        with pytest.raises(bedrock.exceptions.ValidationException, match="nextToken"):
            bedrock.list_inference_profiles(nextToken=wrong)
    with pytest.raises(bedrock.exceptions.ValidationException, match="maxResults"):
        bedrock.list_inference_profiles(maxResults=0)


def test_an_import_job_serves_another_checkpoint(house: LocalServer, bedrock: Any) -> None:
    def job(name: str, model: str, uri: str, **more: Any) -> str:
        source = {"s3DataSource": {"s3Uri": uri}}
        asked = {"jobName": name, "importedModelName": model, "modelDataSource": source, **more}
        return str(bedrock.create_model_import_job(roleArn="arn:aws:iam::000000000000:role/any", **asked)["jobArn"])

    made = job("first", "other", "s3://local/other/", clientRequestToken="t1")
    assert wait_for(lambda: bedrock.get_model_import_job(jobIdentifier=made)["status"] == "Completed")
    assert job("first", "other", "s3://local/other/", clientRequestToken="t1") == made, "a repeated request is no second job"
    arn = bedrock.get_imported_model(modelIdentifier="other")["modelArn"]
    runtime = client(house.endpoint, house.keys)
    for name in ("other", arn):
        assert runtime.converse(modelId=name, messages=user("hi"))["output"]["message"]["content"] == [{"text": "hi"}]
    for name, model, uri, code, more in (
        ("first", "third", "s3://local/other", "ConflictException", {}),
        ("second", "other", "s3://local/other", "ConflictException", {}),
        ("second", "third", "s3://local/..", "ValidationException", {}),
        ("second", "third", "s3://elsewhere/other", "ValidationException", {}),
        ("second", "third", "s3://local/missing", "ValidationException", {}),
        ("two words", "third", "s3://local/third", "ValidationException", {}),
        ("second", "third", "s3://local/third", "ValidationException", {"importedModelKmsKeyId": "alias/a"}),
    ):
        with pytest.raises(ClientError) as caught:
            job(name, model, uri, **more)
        assert caught.value.response["Error"]["Code"] == code
    job("second", "third", "s3://local/third")
    assert wait_for(lambda: len(bedrock.list_imported_models()["modelSummaries"]) == 2)


def test_imports_are_found_by_name_time_and_state(bedrock: Any) -> None:
    """After the imports of the test before."""

    def names(**asked: Any) -> list[str]:
        return [one["modelName"] for one in bedrock.list_imported_models(**asked)["modelSummaries"]]

    def jobs(**asked: Any) -> list[str]:
        return [one["jobName"] for one in bedrock.list_model_import_jobs(**asked)["modelImportJobSummaries"]]

    assert names() == ["other", "third"] and jobs() == ["first", "second"]
    assert names(nameContains="oth") == ["other"] and names(nameContains="zzzz") == [] and jobs(nameContains="eco") == ["second"]
    assert jobs(statusEquals="Completed") == ["first", "second"] and jobs(statusEquals="Failed") == []
    assert names(sortBy="CreationTime", sortOrder="Descending") == ["third", "other"]
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    assert names(creationTimeAfter=now - hour, creationTimeBefore=now + hour) == ["other", "third"]
    assert names(creationTimeAfter=now + hour) == [] and names(creationTimeBefore=now - hour) == []
    first = bedrock.list_model_import_jobs(maxResults=1)
    assert jobs(maxResults=1) == ["first"] and jobs(maxResults=1, nextToken=first["nextToken"]) == ["second"]
    with pytest.raises(bedrock.exceptions.ValidationException, match="statusEquals"):
        jobs(statusEquals="Sleeping")
