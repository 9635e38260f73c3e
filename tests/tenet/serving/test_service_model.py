"""Requests made from the service model that botocore ships: right ones are never an internal error, and each way to be
wrong is a ValidationException that names the member."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenet.serving.protocol import service_model
from tenet.serving.protocol.exceptions import ServiceError
from tenet.serving.protocol.service_model import CONTROL, RUNTIME, check_body, check_headers, read_query
from tenet.serving.server.server import LocalServer
from tenet.settings.serving import ServeConfig
from tests.tenet.serving.conftest import MODEL, post, user
from tests.tenet.serving.shapes import body_shape, errors_of, model, values, violations
from tests.tenet.serving.test_guarding import FILE
from tests.tenet.serving.test_operations import get

#: Operations with a body, and where they are.
BODIES = [
    (RUNTIME, "Converse", f"/model/{MODEL}/converse"),
    (RUNTIME, "ConverseStream", f"/model/{MODEL}/converse-stream"),
    (RUNTIME, "CountTokens", f"/model/{MODEL}/count-tokens"),
    (RUNTIME, "ApplyGuardrail", "/guardrail/house/version/1/apply"),
    (RUNTIME, "InvokeGuardrailChecks", "/guardrail-checks/invoke"),
    (CONTROL, "CreateModelImportJob", "/model-import-jobs"),
]
LISTS = [
    ("ListFoundationModels", "/foundation-models"),
    ("ListInferenceProfiles", "/inference-profiles"),
    ("ListModelImportJobs", "/model-import-jobs"),
    ("ListImportedModels", "/imported-models"),
]
#: What an endpoint may answer before an operation is reached, and what the model of Converse leaves out.
ALWAYS = {"AccessDeniedException", "ValidationException", "ResourceNotFoundException"}
FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    folder = tmp_path_factory.mktemp("shapes")
    (folder / "guardrails.yaml").write_text(FILE)
    with LocalServer(folder, ServeConfig(engine="echo", guardrails=str(folder / "guardrails.yaml"))) as running:
        yield running


@pytest.mark.parametrize(("service", "operation"), [(service, operation) for service, operation, _ in BODIES])
def test_each_way_to_be_wrong_is_named(service: str, operation: str) -> None:
    tried = 0
    for steps, body in violations(service, body_shape(service, operation)):
        if not steps:
            continue  # no object at all is refused by the JSON reader
        with pytest.raises(ServiceError) as caught:
            check_body(service, operation, json.loads(json.dumps(body)))
        assert caught.value.code == "ValidationException"
        where = ".".join(map(str, steps))
        assert str(caught.value).startswith(f"{where[:100]}"), (steps, str(caught.value))
        tried += 1
    assert tried > 20


@pytest.mark.parametrize(("service", "operation", "path"), BODIES, ids=[operation for _, operation, _ in BODIES])
def test_right_bodies_are_never_an_internal_error(house: LocalServer, service: str, operation: str, path: str) -> None:
    allowed = errors_of(service, operation) | ALWAYS
    headers = {"Authorization": f"Bearer {house.keys.api_key}"}

    @FEW
    @given(values(service, body_shape(service, operation)), st.booleans())
    def ask(body: dict[str, Any], talks: bool) -> None:
        if talks and operation.startswith("Converse"):  # few drawn turns are a conversation; the rest is looked at all the same
            body["messages"] = user("hello")
        check_body(service, operation, json.loads(json.dumps(body)))  # the model lets it through, and so do we
        answer = post(house, path, json.dumps(body).encode(), headers)
        assert answer.status < 300 or answer.code in allowed, (body, answer.body)

    ask()


@pytest.mark.parametrize(("operation", "path"), LISTS)
def test_right_queries_are_answered_and_wrong_ones_named(house: LocalServer, operation: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {house.keys.api_key}"}
    shapes = model(CONTROL)["shapes"]
    members = shapes[model(CONTROL)["operations"][operation]["input"]["shape"]]["members"].values()
    for member in members:
        name, shape = member["locationName"], shapes[member["shape"]]
        texts = [wrong for _, wrong in violations(CONTROL, {**shape, "type": "string"}) if isinstance(wrong, str)]
        for wrong in ["x"] if shape["type"] in ("integer", "timestamp") else texts:
            with pytest.raises(ServiceError, match=name):
                read_query(operation, urlencode({name: wrong}))
    with pytest.raises(ServiceError, match="noSuch"):
        read_query(operation, "noSuch=1")
    right = {one["locationName"]: shapes[one["shape"]] for one in members}
    drawn = {
        name: values(CONTROL, shape) for name, shape in right.items() if shape["type"] != "timestamp" and name != "nextToken"
    }

    @FEW
    @given(st.fixed_dictionaries({}, optional=drawn))
    def ask(query: dict[str, Any]) -> None:
        answer = get(house, f"{path}?{urlencode(query)}", headers)
        assert answer.status == 200, (query, answer.body)

    ask()


def test_headers_of_invoke_model() -> None:
    assert check_headers("InvokeModel", [(b"x-amzn-bedrock-trace", b"ENABLED"), (b"host", b"x")]) == {"trace": "ENABLED"}
    for name, value, member in (
        (b"x-amzn-bedrock-trace", b"on", "trace"),
        (b"x-amzn-bedrock-service-tier", b"gold", "serviceTier"),
        (b"x-amzn-bedrock-performanceconfig-latency", b"warp", "performanceConfigLatency"),
    ):
        with pytest.raises(ServiceError, match=member):
            check_headers("InvokeModel", [(name, value)])


def test_times_and_numbers_of_a_query() -> None:
    query = read_query("ListImportedModels", "creationTimeAfter=2026-01-31T12%3A00%3A00Z&maxResults=3&nameContains=abc")
    assert query == {"creationTimeAfter": 1769860800.0, "maxResults": 3, "nameContains": "abc"}
    for wrong in ("creationTimeAfter=yesterday", "maxResults=0", "maxResults=1001", "maxResults=-1", "sortOrder=Up"):
        with pytest.raises(ServiceError, match=wrong.partition("=")[0]):
            read_query("ListImportedModels", wrong)


def test_null_counts_as_absent_and_a_near_name_is_told() -> None:
    body = {"messages": [{"role": "user", "content": [{"text": "a", "image": None}]}], "inferenceConfig": None}
    check_body(RUNTIME, "Converse", body)
    assert body == {"messages": [{"role": "user", "content": [{"text": "a"}]}]}
    with pytest.raises(ServiceError, match=r"mesages: .*did you mean messages"):
        check_body(RUNTIME, "Converse", {"mesages": []})


def test_a_pattern_that_backtracks_without_end_is_cut_off() -> None:
    start = time.perf_counter()
    with pytest.raises(ServiceError, match="jobName"):
        check_body(CONTROL, "CreateModelImportJob", {"jobName": "a" + "-" * 61 + "!"})
    assert time.perf_counter() - start < 5


def test_the_model_is_the_installed_one() -> None:
    assert service_model.has_operation(RUNTIME, "Converse") and not service_model.has_operation(RUNTIME, "NoSuch")


def test_a_shape_that_holds_itself(tmp_path: Path) -> None:
    from tenet.serving.protocol.shape_checks import Checks, Wrong

    tree = {"type": "structure", "members": {"left": {"shape": "Tree"}, "name": {"shape": "Name"}}}
    check = Checks({"Tree": tree, "Name": {"type": "string", "min": 1}}).of("Tree")
    check({"left": {"left": {"name": "x"}}})
    with pytest.raises(Wrong) as caught:
        check({"left": {"left": {"name": ""}}})
    assert caught.value.steps == ["left", "left", "name"]


def test_answers_are_what_the_model_says(house: LocalServer) -> None:
    from tenet.serving.protocol.shape_checks import Checks

    headers = {"Authorization": f"Bearer {house.keys.api_key}"}
    guarded = {"guardrailConfig": {"guardrailIdentifier": "house", "guardrailVersion": "1", "trace": "enabled_full"}}
    entities = {"sensitiveInformation": {"entities": [{"type": "EMAIL"}]}}
    account = user("my account is 123456789012, mail a@b.org")
    asked = [
        ("Converse", BODIES[0][2], {"messages": account, **guarded, "serviceTier": {"type": "flex"}}),
        ("Converse", BODIES[0][2], {"messages": user("a forbidden stock tip"), **guarded}),
        ("CountTokens", BODIES[2][2], {"input": {"converse": {"messages": account}}}),
        (
            "ApplyGuardrail",
            BODIES[3][2],
            {"source": "INPUT", "outputScope": "FULL", "content": [{"text": account[0]["content"][0]}]},
        ),
        ("InvokeGuardrailChecks", BODIES[4][2], {"messages": account, "checks": entities}),
    ]
    for operation, path, body in asked:
        answer = post(house, path, json.dumps(body).encode(), headers)
        assert answer.status == 200, answer.body
        fits(RUNTIME, operation, json.loads(answer.body), Checks(model(RUNTIME)["shapes"]))
    looked_up = [
        *LISTS,
        ("GetFoundationModel", f"/foundation-models/{MODEL}"),
        ("GetInferenceProfile", f"/inference-profiles/us.{MODEL}"),
    ]
    for operation, path in looked_up:
        fits(CONTROL, operation, json.loads(get(house, path, headers).body), Checks(model(CONTROL)["shapes"]))


def fits(service: str, operation: str, answer: dict[str, Any], checks: Any) -> None:
    """Every member that is there is one of the model's, with a value that it allows."""
    before = json.dumps(answer)
    checks.of(model(service)["operations"][operation]["output"]["shape"])(answer)
    assert json.dumps(answer) == before, "nothing is null"
