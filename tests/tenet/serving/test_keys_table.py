"""Keys in a DynamoDB table: who is added may call, who is removed may not, and an outage of the table locks nobody
out."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.server import ThreadedMotoServer

from tenet.errors import ConfigError
from tenet.serving.access.credentials import Credentials, Keys
from tenet.serving.access.credentials_dynamodb import KeyTable, main, open_table
from tenet.serving.clients.client import client

from .conftest import MODEL, echo_server, user


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[KeyTable]:
    for name, value in (("ACCESS_KEY_ID", "testing"), ("SECRET_ACCESS_KEY", "testing"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    with mock_aws():
        made = boto3.client("dynamodb")
        made.create_table(
            TableName="keys",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield open_table("keys")


def ask(endpoint: str, keys: Keys) -> Any:
    return client(endpoint, keys).converse(modelId=MODEL, messages=user("hello"))


def test_keys_come_and_go(table: KeyTable) -> None:
    assert table.read() == Credentials({}, {})
    alice, bob = table.add("alice"), table.add("bob")
    found = table.read()
    assert found.access_keys == {alice.access_key: alice.secret_key, bob.access_key: bob.secret_key}
    assert found.api_key_name(alice.api_key) == "alice" and found.api_key_name("wrong") is None
    assert alice.api_key not in json.dumps(table.client.scan(TableName="keys")["Items"]), "API keys are kept as hashes only"
    assert sorted(table.remove("alice")) == sorted(["api:alice", alice.access_key])
    assert table.read().access_keys == {bob.access_key: bob.secret_key}


def test_one_name_has_one_set_of_keys(table: KeyTable) -> None:
    first = table.add("alice")
    with pytest.raises(ConfigError, match="table keys: 'alice' has keys already"):
        table.add("alice")
    assert list(table.read().access_keys) == [first.access_key], "a refused call leaves nothing behind"
    with pytest.raises(ConfigError, match="table keys: 'carol' has no keys"):
        table.remove("carol")


def test_more_keys_than_one_page(table: KeyTable) -> None:
    padding = {"note": {"S": "x" * 300_000}}  # a scan gives a megabyte at a time
    for i in range(8):
        table.client.put_item(TableName="keys", Item={"id": {"S": f"K{i}"}, "secret": {"S": "s"}, **padding})
    assert len(table.read().access_keys) == 8


def test_what_cannot_be_read_is_said(table: KeyTable) -> None:
    table.client.put_item(TableName="keys", Item={"id": {"S": "K"}})
    with pytest.raises(ConfigError, match="table keys: item 'K' has neither secret nor sha256"):
        table.read()
    with pytest.raises(ConfigError, match=r"table other: .*ResourceNotFound.*AWS_REGION"):
        open_table("other").read()
    with pytest.raises(ConfigError, match="needs a table's name"):
        open_table("")


def test_a_running_server_follows_the_table(table: KeyTable, caplog: pytest.LogCaptureFixture) -> None:
    alice = table.add("alice")
    with echo_server() as server:
        with pytest.raises(ClientError, match="UnrecognizedClientException"):
            ask(server.endpoint, alice)
        read = threading.Event()

        def changed(credentials: Credentials) -> None:
            server.gateway.accept(credentials)
            read.set()

        def read_anew() -> None:
            for _ in range(2):  # the first may have begun before the table changed
                read.clear()
                assert read.wait(10)

        stop = table.follow(changed, seconds=0.05)
        try:
            read_anew()
            assert ask(server.endpoint, alice)["stopReason"]
            table.remove("alice")
            read_anew()
            with pytest.raises(ClientError, match="UnrecognizedClientException"):
                ask(server.endpoint, alice)
            bob = table.add("bob")
            read_anew()
            with caplog.at_level(logging.ERROR, "tenet.serving"):
                table.client.delete_table(TableName="keys")
                end = time.monotonic() + 10
                while time.monotonic() < end and not any("stay in force" in record.message for record in caplog.records):
                    time.sleep(0.05)
            assert any("stay in force" in record.message for record in caplog.records)
            assert ask(server.endpoint, bob)["stopReason"], "an outage of the table locks nobody out"
        finally:
            stop.set()


SERVER = """
import sys
from pathlib import Path
from tenet.settings.serving import ServeConfig
from tenet.serving.server import server
server.serve(ServeConfig(port=0, engine="echo", load_seconds=1), Path(sys.argv[1]), "dynamodb:keys")
"""


def test_a_process_that_reads_a_table_over_the_wire(tmp_path: Path) -> None:
    """As a task of the endpoint does: keys from DynamoDB, a line about the load on the log, a clean end at SIGTERM."""
    cloud = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    cloud.start()
    host, port = cloud.get_host_and_port()
    aws = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    where = f"http://{host}:{port}"
    direct = boto3.client(
        "dynamodb", endpoint_url=where, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    direct.create_table(
        TableName="keys",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    alice = KeyTable("keys", direct).add("alice")
    environment = {**os.environ, **aws, "AWS_ENDPOINT_URL_DYNAMODB": where}
    command = [sys.executable, "-c", SERVER, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None and process.stderr is not None
    try:
        endpoint = process.stdout.readline().split(" at ")[1].strip()
        assert process.stdout.readline() == "keys: table keys, read again every minute\n"
        for line in process.stderr:  # a replica speaks of its load once it is ready
            if '"load"' in line:
                break
        assert json.loads(line) == {"load": 0, "most": 80}
        assert ask(endpoint, alice)["stopReason"] == "end_turn"
        with pytest.raises(ClientError, match="UnrecognizedClientException"):
            ask(endpoint, Keys("TENETNOBODY", "secret"))
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()
        cloud.stop()


def test_command(table: KeyTable, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["add", "keys", "alice"]) == 0
    shown = capsys.readouterr().out
    (access_key,) = table.read().access_keys
    assert f"AWS_ACCESS_KEY_ID={access_key}" in shown and "AWS_BEARER_TOKEN_BEDROCK=tenet-api-key-" in shown
    assert main(["list", "keys"]) == 0 and access_key in capsys.readouterr().out
    assert main(["remove", "keys", "alice"]) == 0 and access_key in capsys.readouterr().out
    assert main(["remove", "keys", "alice"]) == 2 and "'alice' has no keys" in capsys.readouterr().err
    assert main(["add", "keys"]) == 2 and "whose keys?" in capsys.readouterr().err


def test_the_log_says_how_much_a_replica_carries(caplog: pytest.LogCaptureFixture) -> None:
    """The line that CloudWatch reads; nothing while weights load, or idle new replicas would hide busy old ones."""
    import asyncio

    from tenet.serving.engines.echo import ByteText, EchoEngine
    from tenet.serving.engines.runner import Backend
    from tenet.serving.server.build import gateway_for
    from tenet.serving.server.uvicorn_server import Server
    from tenet.settings.serving import ServeConfig

    gateway = gateway_for(ServeConfig(), lambda: Backend(EchoEngine(), ByteText()), Credentials())
    server = Server(gateway, load_seconds=2)
    with caplog.at_level(logging.INFO, "tenet.serving"):
        asyncio.run(server.on_tick(0))
        assert not caplog.records
        gateway.runner.start()
        gateway.runner.wait(10)
        with gateway.runner.place(), gateway.runner.place():
            for tick in range(21, 41):
                asyncio.run(server.on_tick(tick))
        gateway.runner.close()
    assert [json.loads(record.message) for record in caplog.records] == [{"load": 2, "most": 80}]
