"""Keys that are not on the shelf: short-term API keys, keys that others could read, session tokens, paths that a proxy
wrote anew; and a credentials file that two servers make at once."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, quote

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from starlette.datastructures import Headers

from tenet.serving.access.auth import Authenticator, short_term_key
from tenet.serving.access.credentials import Credentials
from tenet.serving.protocol.exceptions import ServiceError
from tenet.serving.server.server import LocalServer
from tests.tenet.serving.conftest import MODEL, echo_server, messages_body, post, signed_headers, user

PATH = f"/model/{MODEL}/converse"
BODY = json.dumps({"messages": user("hi")}).encode()
PAIR = ("TENET0123", "a/secret+word")


def short_term(
    pair: tuple[str, str] = PAIR,
    expires: int = 43_200,
    service: str = "bedrock",
    action: str = "CallWithBearerToken",
    **more: str,
) -> str:
    """A key as Amazon's token generator for Python makes it (aws-bedrock-token-generator 1.1.0)."""
    host = more.pop("host", "bedrock.amazonaws.com")
    request = AWSRequest("POST", f"https://{host}/", headers={"host": host}, params={"Action": action})
    SigV4QueryAuth(BotoCredentials(*pair, *more.values()), service, "eu-west-1", expires=expires).add_auth(request)
    return "bedrock-api-key-" + base64.b64encode(f"{str(request.url).replace('https://', '')}&Version=1".encode()).decode()


def caller(key: str, at: float = 0.0, header: str = "authorization") -> str:
    checker = Authenticator(Credentials(dict([PAIR])), lambda: time.time() + at)
    return checker.identify(Headers({header: key if header != "authorization" else f"Bearer {key}"})).name


def test_a_short_term_key_of_our_pair() -> None:
    key = short_term()
    assert caller(key) == caller(key, header="x-api-key") == PAIR[0] == caller(key, at=43_000)
    assert caller(short_term(expires=60), at=30) == PAIR[0]
    with pytest.raises(ServiceError, match="expired"):
        caller(short_term(expires=60), at=61)


@pytest.mark.parametrize(
    "key",
    [
        short_term((PAIR[0], "another secret")),
        short_term(("NOBODY", PAIR[1])),
        short_term(service="s3"),
        short_term(action="Converse"),
        short_term(host="example.com"),
        short_term(token="a session token"),
        short_term(expires=43_201),
        short_term(expires=0),
        short_term()[:-8],
        "bedrock-api-key-",
        "bedrock-api-key-" + base64.b64encode(b"\xff\xfe").decode(),
        "bedrock-api-key-" + base64.b64encode(b"bedrock.amazonaws.com/?Action=a&Action=b").decode(),
        "bedrock-api-key-" + "A" * 8000,
    ],
    ids=lambda key: "",
)
def test_what_is_no_short_term_key(key: str) -> None:
    with pytest.raises(ServiceError) as caught:
        caller(key)
    assert caught.value.code == "AccessDeniedException"


def test_a_changed_short_term_key_is_none() -> None:
    url = base64.b64decode(short_term(expires=60).removeprefix("bedrock-api-key-")).decode()
    longer = url.replace("X-Amz-Expires=60", "X-Amz-Expires=600")
    with pytest.raises(ServiceError, match="valid"):
        caller("bedrock-api-key-" + base64.b64encode(longer.encode()).decode())
    with pytest.raises(ServiceError, match="valid"):
        caller(short_term(), at=-3600)  # made in the future


def test_one_of_our_own_making() -> None:
    """The chat link of a later start carries it: what Amazon's generator writes, but for time and signature."""
    ours, theirs = short_term_key(*PAIR, time.time()), short_term()
    assert caller(ours) == PAIR[0] == caller(ours, at=43_000)
    with pytest.raises(ServiceError, match="expired"):
        caller(ours, at=43_201)

    def fields(key: str) -> dict[str, list[str]]:
        query = parse_qs(base64.b64decode(key.removeprefix("bedrock-api-key-")).decode().partition("?")[2])
        return {name: [value[0].replace("eu-west-1", "us-east-1")] for name, value in query.items() if name[-1] != "e"}

    assert fields(ours) == fields(theirs) and "X-Amz-Expires" in fields(ours)


def test_it_is_taken_over_the_wire(server: LocalServer) -> None:
    key = short_term((server.keys.access_key, server.keys.secret_key))
    assert post(server, PATH, BODY, {"Authorization": f"Bearer {key}"}).status == 200
    body = json.dumps({"model": MODEL, **json.loads(messages_body("hi"))}).encode()
    assert post(server, "/anthropic/v1/messages", body, {"x-api-key": key}).status == 200


def test_an_api_key_that_others_could_read() -> None:
    checker = Authenticator(Credentials(), time.time)
    with pytest.raises(ServiceError, match="plain http") as caught:
        checker.identify(Headers({"x-api-key": "any"}), private=False)
    assert caught.value.code == "AccessDeniedException"
    with echo_server(tls="proxy") as server:
        bearer = {"Authorization": f"Bearer {server.keys.api_key}"}
        assert post(server, PATH, BODY, bearer).status == 200
        refused = post(server, PATH, BODY, {**bearer, "X-Forwarded-Proto": "http"})
        assert (refused.status, refused.code) == (403, "AccessDeniedException") and "plain http" in refused.message
        signed = post(server, PATH, BODY, change=lambda headers: headers.update({"X-Forwarded-Proto": "http"}))
        assert signed.status == 200, "a signature shows nobody the secret"


def test_from_another_machine_without_tls(server: LocalServer) -> None:
    from tenet.serving.api.app import Gateway
    from tenet.serving.http.request import Call

    def private(gateway: Gateway, scheme: str, peer: str) -> bool:
        scope = {"type": "http", "method": "GET", "scheme": scheme, "client": (peer, 1), "headers": []}
        return gateway._is_private(Call(scope, None, None))  # type: ignore[arg-type]

    gateway = server.gateway
    assert private(gateway, "http", "127.0.0.1") and private(gateway, "https", "192.0.2.7") and private(gateway, "http", "::1")
    assert not private(gateway, "http", "192.0.2.7")


def test_a_made_up_session_token(server: LocalServer) -> None:
    signed = signed_headers(server, PATH, BODY, {"X-Amz-Security-Token": "made up"})
    answer = post(server, PATH, BODY, signed)
    assert (answer.status, answer.code) == (403, "UnrecognizedClientException") and "AWS_SESSION_TOKEN" in answer.message


def test_a_path_that_a_proxy_decoded(server: LocalServer) -> None:
    encoded, literal, lower = (f"/model/{m}/converse" for m in (quote(MODEL, safe=""), MODEL, quote(MODEL, safe="").lower()))
    for signed, sent in ((encoded, encoded), (encoded, literal), (encoded, lower), (literal, literal)):
        assert post(server, sent, BODY, signed_headers(server, signed, BODY)).status == 200, sent
    arn = f"arn:aws:bedrock:us-east-1:123456789012:custom-model/{MODEL}"
    signed = signed_headers(server, f"/model/{quote(arn, safe='')}/converse", BODY)
    assert post(server, f"/model/{quote(arn, safe=':')}/converse", BODY, signed).status == 200
    for other in (literal.replace("assistant", "assistanx"), literal + "-stream"):
        assert post(server, other, BODY, signed_headers(server, encoded, BODY)).code == "InvalidSignatureException"


def test_many_servers_make_one_credentials_file(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tenet.serving.access.credentials import load_or_create\n"
        "while time.time() < float(sys.argv[2]): pass\n"
        "_, keys = load_or_create(Path(sys.argv[1])); print(keys.access_key, keys.secret_key, keys.api_key)"
    )
    start = str(time.time() + 2)
    command = [sys.executable, "-c", code, str(tmp_path / "new" / "keys.json"), start]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate()[0].split() for process in running]
    assert len({(words[0], words[1]) for words in said}) == 1, "all speak of the same pair"
    assert sum(len(words) == 3 for words in said) == 1, "only who made the file knows the API key"
