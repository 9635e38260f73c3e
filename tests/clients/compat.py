"""Clients that people use, unchanged, against running endpoints: one test a behaviour, one parameter a client.

Not collected by `make test` (the file's name says so): `make clients` builds .venv-clients from requirements.txt beside
this file and runs it there; the servers run in the project's own environment. `MODEL=` names what answers: `echo` (the
question comes back), model folders, `smollm2` (real weights out of a package), or the peer `ministack` in the place of
our endpoint. The end prints which client can do what, for docs/wire.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest

from tests.clients import bare, conftest, frameworks, llama, openai_package
from tests.clients.endpoint import NARROW, Endpoint, Endpoints, large
from tests.clients.kinds import Answer, Choice, Client, Door, LacksError, as_mcp_servers_write, column

#: What clients say of themselves and their libraries is none of the endpoint's business.
pytestmark = [pytest.mark.filterwarnings(f"ignore:{words}") for words in (":DeprecationWarning", "Item:UserWarning")]
CLIENTS: list[type[Client]] = [*bare.ALL, *frameworks.ALL, *llama.ALL, *openai_package.ALL]
QUESTION = "What is the capital of France?"
TALE = "Write a very long story about the sea, in many chapters."
AT_ONCE = 16
#: Tokens that a key of the narrow endpoint owes when it is used up; four come back in a second. Who waits needs not
#: wait long.
FOR_LONG, FOR_SHORT = 200, 24
#: A client that went away is forgotten within a step; much less than the answers would take.
FREE_SECONDS = 10


class Reach:
    """Makes clients of one kind, each after the variables of its endpoint were pasted."""

    def __init__(self, kind: type[Client], paste: Callable[..., None]) -> None:
        self.kind, self.paste, self.column = kind, paste, column(kind)

    def __call__(self, endpoint: Endpoint, bearer: bool = False, patient: bool = True, **changed: str) -> Client:
        """A client with the key pair or the API key; `changed` variables are pasted last."""
        tries = self.kind.tries if patient else "1"
        self.paste(endpoint, bearer, **changed, **({"AWS_MAX_ATTEMPTS": tries} if tries else {}))
        return _made(self.kind, Door(endpoint.url, patient), endpoint, bearer, tuple(changed.items()))


@cache
def _made(kind: type[Client], door: Door, *other: object) -> Client:
    """Most take longer to be made than to be answered; `other` is what else makes a difference."""
    return kind(door)


@pytest.fixture(params=CLIENTS, ids=[kind.name for kind in CLIENTS])
def reach(request: pytest.FixtureRequest, paste: Callable[..., None]) -> Reach:
    return Reach(request.param, paste)


@pytest.fixture
def client(reach: Reach, endpoints: Endpoints) -> Client:
    """With a key pair over http."""
    return reach(endpoints.http)


@cache
def alone(endpoints: Endpoints) -> Answer:
    """What boto3 gets for the question; the others are told the same, to the letter."""
    with pytest.MonkeyPatch.context() as patch:
        conftest.pasted(patch, endpoints.http)
        return bare.Boto3(Door(endpoints.http.url)).ask(QUESTION)


def agree(answer: Answer, wanted: Answer, endpoints: Endpoints) -> bool:
    """To the letter and the token; a peer's canned text names the id that was asked for, so there it is enough to have one."""
    if endpoints.http.peer:
        return bool(answer.text.strip() and answer.input_tokens and answer.output_tokens)
    return (answer.text, answer.input_tokens, answer.output_tokens) == (wanted.text, wanted.input_tokens, wanted.output_tokens)


def continued(choice: Choice, city: str, tool: str = "weather") -> str:
    """What makes the echo engine write a call: a forced answer begins inside of one, and goes on with the question."""
    rest = f'{{"city": "{city}"}}}}\n</tool_call>'
    begun = {"auto": f'<tool_call>\n{{"name": "{tool}", "arguments": ', "any": f'{tool}", "arguments": ', "tool": ""}
    return begun[choice] + rest


def asked(client: Client, endpoints: Endpoints, choice: Choice, city: str) -> str:
    """A question to which the answer is a call."""
    return continued(client.says.get(choice, choice), city) if endpoints.echo else "What is the weather in Oslo?"


# --- answers -----------------------------------------------------------------------------------------------------------


def test_converse(client: Client, endpoints: Endpoints) -> None:
    """a whole answer"""
    answer, wanted = client.ask(QUESTION), alone(endpoints)
    assert wanted.text.strip() and (not endpoints.echo or wanted.text == QUESTION)
    assert agree(answer, wanted, endpoints)


def test_stream(client: Client, endpoints: Endpoints) -> None:
    """a stream"""
    pieces, whole = client.stream(QUESTION)
    assert "".join(pieces) == whole.text and len(pieces) > 1
    assert agree(whole, alone(endpoints), endpoints)


def test_tools_auto(client: Client, endpoints: Endpoints) -> None:
    """tools, auto"""
    answer = client.call(asked(client, endpoints, "auto", "Oslo"), "auto", ("Oslo", "Bergen"))
    if endpoints.echo:
        assert answer.calls == [("weather", {"city": "Oslo"})]
    # A model may rather talk; if it calls, the call fits the tool.
    assert answer.text or answer.calls
    assert all(name == "weather" and made["city"] in ("Oslo", "Bergen") for name, made in answer.calls)


@pytest.mark.parametrize("choice", ["any", "tool"])
def test_tools_forced(client: Client, endpoints: Endpoints, choice: Choice) -> None:
    """tools, any and forced"""
    (call,) = client.call(asked(client, endpoints, choice, "Oslo"), choice, ("Oslo", "Bergen")).calls
    assert call[0] == "weather" and call[1] in ({"city": "Oslo"}, {"city": "Bergen"})


def test_tools_streamed(client: Client, endpoints: Endpoints) -> None:
    """tools, streamed"""
    answer = client.call(asked(client, endpoints, "tool", "Bergen"), "tool", ("Bergen",), stream=True)
    assert answer.calls == [("weather", {"city": "Bergen"})]


def test_tools_of_mcp(client: Client, endpoints: Endpoints) -> None:
    """a tool as MCP servers write them"""
    with as_mcp_servers_write():
        (call,) = client.call(asked(client, endpoints, "any", "Oslo"), "any", ("Oslo", "Bergen")).calls
    assert call[0] == "weather" and call[1]["city"] in ("Oslo", "Bergen")


def test_json(client: Client, endpoints: Endpoints) -> None:
    """JSON output"""
    tool, choice = client.shape or ("", "auto")
    said = continued(choice, "Oslo", tool) if tool else '{"city": "Oslo"}'
    made = client.shaped(said if endpoints.echo else "Which town?")
    assert set(made) == {"city"} and isinstance(made["city"], str)
    assert not endpoints.echo or made == {"city": "Oslo"}


def test_stop(client: Client, endpoints: Endpoints) -> None:
    """stop sequences"""
    whole = alone(endpoints).text
    stop = whole.split()[2]
    before = whole.partition(stop)[0]
    answer = client.ask(QUESTION, stop=stop)
    assert answer.text.rstrip() == before.rstrip() and answer.output_tokens < alone(endpoints).output_tokens


def test_count(client: Client) -> None:
    """count = usage"""
    counted = client.count(QUESTION)
    assert counted == client.ask(QUESTION).input_tokens > 0


def test_api_key_over_tls(reach: Reach, endpoints: Endpoints) -> None:
    """an API key over TLS"""
    assert agree(reach(endpoints.https, bearer=True).ask(QUESTION), alone(endpoints), endpoints)


# --- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["key", "secret"])
def test_wrong_credentials(reach: Reach, endpoints: Endpoints, what: str) -> None:
    """wrong credentials"""
    name = {"key": "AWS_ACCESS_KEY_ID", "secret": "AWS_SECRET_ACCESS_KEY"}[what]
    client = reach(endpoints.http, patient=False, **{name: "TENETWRONG"})
    kind, words = client.raises[what]
    with pytest.raises(kind, match=f"(?is){words}"):
        client.ask(QUESTION)


def test_oversize(client: Client) -> None:
    """a prompt that is too long"""
    kind, words = client.raises["oversize"]
    with pytest.raises(kind, match=f"(?is){words}"):
        client.ask("word " * 9000)


def test_throttled_raises(reach: Reach, endpoints: Endpoints) -> None:
    """throttled: its own exception"""
    narrow = endpoints.narrow[f"{reach.column}_hasty"]
    hasty = reach(narrow, patient=False)
    use_up(narrow, FOR_LONG)
    kind, words = hasty.raises["throttled"]
    with pytest.raises(kind, match=f"(?is){words}"):
        hasty.ask(QUESTION)


def test_throttled_retries(reach: Reach, endpoints: Endpoints) -> None:
    """throttled: tries again and succeeds"""
    narrow = endpoints.narrow[f"{reach.column}_patient"]
    patient = reach(narrow)
    use_up(narrow, FOR_SHORT)
    throttled = 'tenet_requests_total{code="ThrottlingException"'
    before = narrow.metric(throttled)
    assert patient.ask(QUESTION).text == alone(endpoints).text
    assert narrow.metric(throttled) > before


def use_up(narrow: Endpoint, beyond: int) -> None:
    """Take all that the key may use in a minute and some tokens more, so that it has to wait for some seconds.

    In two steps: while a slow machine reads the long prompt, tokens come back, and the second one takes them, too.
    """
    if narrow.peer:
        raise LacksError("MiniStack throttles nobody")
    boto = bare.Boto3(Door(narrow.url))
    ten, twenty = boto.count("word " * 10), boto.count("word " * 20)

    def take(tokens: float) -> None:
        boto.ask("word " * round(10 + 10 * (tokens - ten) / (twenty - ten)), most=1)

    kept, start = NARROW / 3, time.monotonic()
    take(NARROW - kept)
    take(kept + (time.monotonic() - start) * NARROW / 60 + beyond)


# --- many at once ------------------------------------------------------------------------------------------------------


def test_at_once(client: Client, endpoints: Endpoints) -> None:
    """16 at once, none mixed up"""

    def call(city: str) -> Answer:
        return client.call(asked(client, endpoints, "tool", city), "tool", (city,))

    cities = [f"Town{number}" for number in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(call, cities))
    assert [answer.calls for answer in answers] == [[("weather", {"city": city})] for city in cities]


def test_cancelled(client: Client, endpoints: Endpoints) -> None:
    """16 broken off, all places free again"""
    if endpoints.http.peer:
        raise LacksError("MiniStack does not tell how many requests are open")
    here, before = endpoints.http, endpoints.http.metric("tenet_cancelled_requests_total")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(client.leave, [TALE * 30 if endpoints.echo else TALE] * AT_ONCE))
    # A few layers have said all that they have to say before anybody can leave.
    least = AT_ONCE if endpoints.echo or large(endpoints.model) else 0
    if isinstance(client, (frameworks.Strands, llama.LlamaIndex)):
        least = min(least, 1)  # see their `leave`

    def state() -> tuple[bool, bool]:
        return here.metric("tenet_open_requests") == 0, here.metric("tenet_cancelled_requests_total") - before >= least

    deadline = time.monotonic() + FREE_SECONDS
    while state() != (True, True) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state() == (True, True), "places free, leavers counted"
    assert client.ask(QUESTION).text == alone(endpoints).text
