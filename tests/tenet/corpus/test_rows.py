"""Conversations, preferences and requests: true answers, no leaks between splits, no shortcut by length."""

from __future__ import annotations

import json

import pytest

from tenet.domains.aws_api import service_models
from tenet.domains.aws_api.facts import ANSWER, Row, command_answer, describe_answer, goal_of, of_split, task_of
from tenet.domains.aws_api.instructions import MIX, instruction_rows
from tenet.domains.aws_api.preferences import preference_rows
from tenet.domains.aws_api.requests import request_rows
from tenet.domains.aws_api.validator import verify_request
from tenet.errors import ConfigError

SERVICES = ("dynamodb", "sqs", "sns", "kms", "iam", "transcribe", "glacier")


@pytest.fixture(scope="module")
def operations() -> list[service_models.Operation]:
    """A few hundred operations, of training and of test services."""
    return service_models.operations(SERVICES)


@pytest.fixture(scope="module")
def train(operations: list[service_models.Operation]) -> list[service_models.Operation]:
    """Those of training services."""
    return of_split(operations, "train", (0.04, 0.08))


@pytest.fixture(scope="module")
def rows(train: list[service_models.Operation]) -> list[Row]:
    """Conversations of the training split."""
    return instruction_rows(train, "train", seed=0, most=400)


def test_every_kind_is_there_in_its_share(rows: list[Row]) -> None:
    kinds = [row["kind"] for row in rows]
    assert {kind: kinds.count(kind) for kind in MIX} == {kind: round(400 * share) for kind, share in MIX.items()}


def test_rows_are_in_the_contract(rows: list[Row]) -> None:
    for row in rows:
        assert set(row) - {"tools", "exact"} == {"messages", "kind", "service", "id", "source", "licence"}
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"] * (len(row["messages"]) // 2)
    assert len({row["id"] for row in rows}) == len(rows)


def test_splits_share_no_service(operations: list[service_models.Operation], rows: list[Row]) -> None:
    test = instruction_rows(of_split(operations, "test", (0.04, 0.08)), "test", seed=0, most=100)
    services = [{row["service"] for row in part} - {""} for part in (rows, test)]
    assert services[0] and services[1] and not services[0] & services[1]
    questions = [{row["messages"][0]["content"] for row in part if row["kind"] == "identity"} for part in (rows, test)]
    assert questions[1] and not questions[0] & questions[1]


def test_a_question_for_a_name_has_one_answer(rows: list[Row]) -> None:
    asked: dict[tuple[str, str], str] = {}
    for row in rows:
        if row["kind"] == "find":
            question, answer = (message["content"] for message in row["messages"])
            assert asked.setdefault((row["service"], question), answer) == answer


def test_the_words_of_an_operation() -> None:
    found = {operation.name: operation for operation in service_models.operations(("sqs",))}
    assert (
        describe_answer(found["PurgeQueue"])
        == "Deletes available messages in a queue (including in-flight messages) specified by the QueueURL parameter."
    )
    assert task_of(found["PurgeQueue"]).startswith("deletes available messages")
    assert command_answer(found["PurgeQueue"]) == "aws sqs purge-queue --queue-url <queue-url>"


def test_a_tool_call_says_what_the_question_asked_for(rows: list[Row]) -> None:
    calls = [row for row in rows if row["kind"] == "tool"]
    for row in calls:
        call = row["messages"][1]["tool_calls"][0]["function"]
        assert call["name"] in row["messages"][0]["content"]
        names = [tool["function"]["name"] for tool in row["tools"]]
        assert call["name"] in names and len(names) <= 2
        for value in call["arguments"].values():
            for item in value if isinstance(value, list) else [value]:
                assert str(item).lower() in row["messages"][0]["content"].lower()
        assert verify_request(row["service"], call["name"], call["arguments"]) == []
    assert any(len(row["tools"]) == 2 for row in calls)
    assert max(len(json.dumps(row["tools"])) for row in calls) < 900


def test_preferences_cannot_be_told_apart_by_length(train: list[service_models.Operation]) -> None:
    pairs = preference_rows(train, seed=0, most=200)
    texts = [(pair["chosen"][0]["content"], pair["rejected"][0]["content"]) for pair in pairs]
    assert len(pairs) == 200
    assert sum(len(chosen) > len(rejected) for chosen, rejected in texts) == 100
    assert all(chosen != rejected and max(len(chosen), len(rejected)) <= ANSWER for chosen, rejected in texts)
    kinds = [pair["kind"] for pair in pairs]
    assert 70 < kinds.count("closest") < 130 and set(kinds) == {"closest", "random"}


def test_a_rejected_answer_is_about_the_same_service(train: list[service_models.Operation]) -> None:
    by_answer: dict[str, set[str]] = {}
    for operation in train:
        by_answer.setdefault(describe_answer(operation), set()).add(operation.service)
    assert all(pair["service"] in by_answer[pair["rejected"][0]["content"]] for pair in preference_rows(train, seed=0, most=60))


def test_requests_pass_their_own_verifier(train: list[service_models.Operation]) -> None:
    requests = request_rows(train, seed=0, most=80)
    assert len(requests) == 80
    for row in requests:
        assert row["verifier"] == "aws_request"
        assert verify_request(row["service"], row["operation"], row["expected"], row["expected"]) == []


def test_rows_depend_on_the_seed_alone(train: list[service_models.Operation]) -> None:
    assert request_rows(train, 1, 30) == request_rows(list(reversed(train)), 1, 30)
    assert request_rows(train, 1, 30) != request_rows(train, 2, 30)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, "Missing required parameter"),
        ({"TableName": 7}, "Invalid type"),
        ({"TableName": "orders", "Table": "x"}, "Unknown parameter"),
        ({"TableName": "other"}, "was asked for"),
        ("orders", "not an object"),
    ],
)
def test_the_verifier_says_what_is_wrong(arguments: object, error: str) -> None:
    errors = verify_request("dynamodb", "DeleteTable", arguments, {"TableName": "orders"})
    assert errors and error in " ".join(errors)


def test_the_verifier_knows_enumerations() -> None:
    arguments = {"TableName": "t", "BillingMode": "FREE"}
    assert any("FREE" in error for error in verify_request("dynamodb", "UpdateTable", arguments))


def test_the_verifier_knows_its_operations() -> None:
    with pytest.raises(ConfigError, match="DropTable"):
        verify_request("dynamodb", "DropTable", {})


@pytest.mark.parametrize(
    ("sentence", "goal"),
    [
        ("Deletes an old table.", "delete an old table"),
        ("Applies a policy to a role.", "apply a policy to a role"),
        ("Publishes one message.", "publish one message"),
        ("Releases an IP address.", "release an IP address"),
        ("Passes a role to a service.", "pass a role to a service"),
        ("This operation deletes a table.", ""),
        ("Lists " + "very " * 20 + "long things.", ""),
    ],
)
def test_a_goal_is_the_task_as_somebody_would_want_it(sentence: str, goal: str) -> None:
    operation = service_models.Operation("s", "Amazon S", "Name", "s", "name", sentence, sentence, (), "")
    assert goal_of(operation) == goal
