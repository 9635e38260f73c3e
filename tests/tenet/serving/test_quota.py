"""One key cannot use up what is there for all."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from tenet.serving.access.quota import Quota
from tenet.serving.clients.client import client
from tenet.serving.protocol.exceptions import ServiceError
from tests.tenet.serving.conftest import MODEL, echo_server, post, user


def test_requests_at_once() -> None:
    quota = Quota(requests=2)
    with quota.place("a"), quota.place("a"), quota.place("b"):
        with pytest.raises(ServiceError) as caught, quota.place("a"):
            pass
        assert caught.value.code == "ThrottlingException"
    with quota.place("a"):
        pass


def test_tokens_come_back_with_time() -> None:
    now = [0.0]
    quota = Quota(tokens=600, clock=lambda: now[0])  # ten a second
    with quota.place("a"):
        quota.charge("a", 650)
    with pytest.raises(ServiceError) as caught, quota.place("a"):
        pass
    assert caught.value.retry_ms == 5100
    with quota.place("b"):  # another key is not concerned
        pass
    now[0] = 5.2
    with quota.place("a"):
        pass
    now[0] = 1e6
    with quota.place("a"):
        quota.charge("a", 599)  # never more than a minute's worth is saved up
    with quota.place("a"):
        quota.charge("a", 2)
    with pytest.raises(ServiceError), quota.place("a"):
        pass


def test_a_key_over_its_tokens_is_told_when_to_come_back() -> None:
    with echo_server(key_tokens_per_minute=100) as server:
        boto = client(server.endpoint, server.keys)
        assert boto.converse(modelId=MODEL, messages=user("y" * 120))["stopReason"] == "end_turn"
        for operation in ("converse", "converse-stream"):
            answer = post(server, f"/model/{MODEL}/{operation}", json.dumps({"messages": user("x")}).encode())
            assert (answer.status, answer.code) == (429, "ThrottlingException") and "tokens" in answer.message
            assert int(answer.headers["x-amz-retry-after"]) > 30_000 and int(answer.headers["retry-after"]) > 30
        # Counting costs nothing, and the other kind of key has a bucket of its own.
        assert boto.count_tokens(modelId=MODEL, input={"converse": {"messages": user("x")}})["inputTokens"] > 0
        bearer = {"Authorization": f"Bearer {server.keys.api_key}"}
        assert post(server, f"/model/{MODEL}/converse", json.dumps({"messages": user("x")}).encode(), bearer).status == 200


def test_a_refused_prompt_costs_nothing() -> None:
    with echo_server(key_tokens_per_minute=100) as server:
        long = json.dumps({"messages": user("y" * 200_000)}).encode()
        for _ in range(2):
            answer = post(server, f"/model/{MODEL}/converse", long)
            assert (answer.status, answer.code) == (400, "ValidationException") and "too long" in answer.message
        assert post(server, f"/model/{MODEL}/converse", json.dumps({"messages": user("x")}).encode()).status == 200


def test_a_full_key_through_the_wire() -> None:
    with (
        echo_server(key_concurrency=1) as server,
        server.gateway.answering.quota.place(server.keys.access_key),
        pytest.raises(ClientError, match="open at once"),
    ):
        client(server.endpoint, server.keys).converse(modelId=MODEL, messages=user("x"))
