"""Guardrails: what they find, what may leave a stream before all of it is there, and how it is told."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from tenet.errors import ConfigError
from tenet.serving.api import guardrails
from tenet.serving.api.guarding.personal import KINDS, personal
from tenet.serving.api.guarding.scan import Scan, scanned
from tenet.serving.clients.client import client
from tenet.serving.engines.echo import EchoEngine
from tenet.serving.server.server import LocalServer
from tenet.settings.serving import ServeConfig
from tests.tenet.serving.conftest import MODEL, messages_body, user

FILE = r"""
guardrails:
  - id: house
    version: "1"
    blocked_input: no such questions
    blocked_output: no such answers
    words: ["forbidden"]
    regexes: [{name: account, pattern: '\b\d{12}\b', action: ANONYMIZE}, {name: slow, pattern: '(a+)+b$', action: BLOCK}]
    topics: [{name: investing, phrases: ["stock tip", shares]}]
"""
NAMED = {"guardrailIdentifier": "house", "guardrailVersion": "1"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    folder = tmp_path_factory.mktemp("house")
    (folder / "guardrails.yaml").write_text(FILE)
    with LocalServer(folder, ServeConfig(engine="echo", guardrails=str(folder / "guardrails.yaml"))) as running:
        yield running


def rules(tmp_path: Path, text: str = FILE) -> guardrails.Guardrail:
    (tmp_path / "rules.yaml").write_text(text)
    return guardrails.load(tmp_path / "rules.yaml").find("house", "DRAFT")


# --- ApplyGuardrail ------------------------------------------------------------------------------------------------------


def test_apply_guardrail(house: LocalServer) -> None:
    boto = client(house.endpoint, house.keys)

    def apply(text: str, source: str = "INPUT", **more: Any) -> dict[str, Any]:
        named = {"guardrailIdentifier": "arn:aws:bedrock:us-east-1:1:guardrail/house", "guardrailVersion": "DRAFT"}
        return dict(boto.apply_guardrail(**named, source=source, content=[{"text": {"text": text}}], **more))

    assert (apply("hello")["action"], apply("hello")["outputs"], apply("hello")["actionReason"]) == ("NONE", [], "No action.")
    blocked = apply("A FORBIDDEN stock  tip")
    assert (blocked["action"], blocked["outputs"]) == ("GUARDRAIL_INTERVENED", [{"text": "no such questions"}])
    [assessment] = blocked["assessments"]
    assert assessment["wordPolicy"]["customWords"] == [{"match": "forbidden", "action": "BLOCKED", "detected": True}]
    assert assessment["topicPolicy"]["topics"] == [{"name": "investing", "type": "DENY", "action": "BLOCKED", "detected": True}]
    assert assessment["appliedGuardrailDetails"]["guardrailId"] == "house" and blocked["actionReason"] == "Guardrail blocked."
    assert apply("forbiddenly shared")["action"] == "NONE"  # whole words only
    masked = apply("from 123456789012 to 12", "OUTPUT")
    assert masked["outputs"] == [{"text": "from {account} to 12"}] and masked["actionReason"] == "Guardrail masked."
    assert apply("a" * 5000)["action"] == "GUARDRAIL_INTERVENED"  # an expression that takes too long counts as found
    [full] = apply("hello", outputScope="FULL")["assessments"]
    assert full["topicPolicy"]["topics"] == [{"name": "investing", "type": "DENY", "action": "NONE", "detected": False}]
    with pytest.raises(ClientError) as caught:
        boto.apply_guardrail(guardrailIdentifier="house", guardrailVersion="7", source="INPUT", content=[{"text": {"text": "x"}}])
    assert caught.value.response["Error"]["Code"] == "ResourceNotFoundException"


def test_only_what_is_guarded_is_looked_through(house: LocalServer) -> None:
    boto = client(house.endpoint, house.keys)
    content = [{"text": {"text": "forbidden", "qualifiers": ["grounding_source"]}}, {"text": {"text": "fine"}}]
    answer = boto.apply_guardrail(**NAMED, source="INPUT", content=content)
    assert (answer["action"], answer["guardrailCoverage"]) == ("NONE", {"textCharacters": {"guarded": 4, "total": 13}})
    image = [{"image": {"format": "png", "source": {"bytes": b"x"}}}]
    with pytest.raises(ClientError, match=r"content\.0\.image"):
        boto.apply_guardrail(**NAMED, source="INPUT", content=image)


# --- on a model ----------------------------------------------------------------------------------------------------------


def without_times(trace: Any) -> Any:
    """The same trace; how long it took is never the same."""
    if isinstance(trace, dict):
        return {key: without_times(value) for key, value in trace.items() if key != "guardrailProcessingLatency"}
    return [without_times(value) for value in trace] if isinstance(trace, list) else trace


def test_guardrails_of_converse_and_its_stream(house: LocalServer) -> None:
    boto = client(house.endpoint, house.keys)

    def both(messages: list[dict[str, Any]], trace: str = "enabled") -> tuple[str, str, dict[str, Any]]:
        config = {**NAMED, "trace": trace}
        reply = boto.converse(modelId=MODEL, messages=messages, guardrailConfig=config)
        events = list(boto.converse_stream(modelId=MODEL, messages=messages, guardrailConfig=config)["stream"])
        text = "".join(e["contentBlockDelta"]["delta"]["text"] for e in events if "contentBlockDelta" in e)
        stop = next(e["messageStop"]["stopReason"] for e in events if "messageStop" in e)
        assert (text, stop) == (reply["output"]["message"]["content"][0]["text"], reply["stopReason"])
        assert without_times(events[-1]["metadata"].get("trace")) == without_times(reply.get("trace"))
        return text, stop, reply.get("trace", {}).get("guardrail", {})

    text, stop, trace = both(user("is it forbidden?"))
    assert (text, stop) == ("no such questions", "guardrail_intervened") and "wordPolicy" in trace["inputAssessment"]["house"]
    text, stop, trace = both(user("my account is 123456789012"))
    assert (text, stop) == ("my account is {account}", "end_turn") and trace["modelOutput"] == ["my account is 123456789012"]
    [found] = trace["outputAssessments"]["house"]
    assert found["sensitiveInformationPolicy"]["regexes"][0]["action"] == "ANONYMIZED"
    assert found["invocationMetrics"]["guardrailCoverage"] == {"textCharacters": {"guarded": 26, "total": 26}}
    assert both(user("nothing to see"))[:2] == ("nothing to see", "end_turn") and both(user("x"), "disabled")[2] == {}
    topics = both(user("nothing"), "enabled_full")[2]["inputAssessment"]["house"]["topicPolicy"]["topics"]
    assert [topic["detected"] for topic in topics] == [False]
    # Only what is marked is looked through on the way in; the answer always is.
    marked = [{"role": "user", "content": [{"text": "shares"}, {"guardContent": {"text": {"text": "fine"}}}]}]
    text, stop, trace = both(marked)
    assert (text, stop) == ("no such answers", "guardrail_intervened") and "topicPolicy" not in trace["inputAssessment"]["house"]


def test_guardrail_of_invoke_model_and_its_chunks(house: LocalServer) -> None:
    boto = client(house.endpoint, house.keys)

    def both(text: str, **more: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        whole = boto.invoke_model(modelId=MODEL, body=messages_body(text), **NAMED, **more)
        stream = boto.invoke_model_with_response_stream(modelId=MODEL, body=messages_body(text), **NAMED, **more)
        return json.loads(whole["body"].read()), [json.loads(event["chunk"]["bytes"]) for event in stream["body"]]

    whole, chunks = both("forbidden", trace="ENABLED")
    assert whole["amazon-bedrock-guardrailAction"] == "INTERVENED" and whole["content"][0]["text"] == "no such questions"
    assert whole["amazon-bedrock-trace"]["guardrail"]["input"]["house"]["wordPolicy"]["customWords"][0]["detected"] is True
    assert {chunk["amazon-bedrock-guardrailAction"] for chunk in chunks} == {"INTERVENED"}
    assert without_times(chunks[-1]["amazon-bedrock-trace"]) == without_times(whole["amazon-bedrock-trace"])
    assert not any("amazon-bedrock-trace" in chunk for chunk in chunks[:-1])
    whole, chunks = both("fine")
    assert {chunk["amazon-bedrock-guardrailAction"] for chunk in [whole, *chunks]} == {
        "NONE"
    } and "amazon-bedrock-trace" not in whole
    with pytest.raises(ClientError, match="guardrailVersion"):
        boto.invoke_model(modelId=MODEL, body=messages_body("x"), guardrailIdentifier="house")


def test_the_mode_of_an_invoke_body_is_that_of_its_stream(house: LocalServer) -> None:
    boto = client(house.endpoint, house.keys)
    body = messages_body("see 123456789012", **{"amazon-bedrock-guardrailConfig": {"streamProcessingMode": "ASYNCHRONOUS"}})
    whole = json.loads(boto.invoke_model(modelId=MODEL, body=body, **NAMED)["body"].read())
    assert whole["content"][0]["text"] == "see {account}", "an answer that is sent at once is masked all the same"
    stream = boto.invoke_model_with_response_stream(modelId=MODEL, body=body, **NAMED)["body"]
    chunks = [json.loads(event["chunk"]["bytes"]) for event in stream]
    assert "".join(chunk["delta"]["text"] for chunk in chunks if chunk["type"] == "content_block_delta") == "see 123456789012"
    for config, words in (({"tagSuffix": "x"}, "tagSuffix"), ({"streamProcessingMode": "later"}, "streamProcessingMode")):
        with pytest.raises(ClientError, match=words):
            boto.invoke_model(modelId=MODEL, body=messages_body("x", **{"amazon-bedrock-guardrailConfig": config}), **NAMED)


@pytest.mark.parametrize(("mode", "text"), [("sync", "one two forbidden three"), ("async", "one two 123456789012 three")])
def test_a_stream_need_not_wait_for_its_end(tmp_path: Path, mode: str, text: str) -> None:
    (tmp_path / "guardrails.yaml").write_text(FILE)
    from tenet.serving.engines.echo import ByteText
    from tenet.serving.engines.runner import Backend

    config = ServeConfig(guardrails=str(tmp_path / "guardrails.yaml"))
    marked = [{"role": "user", "content": [{"guardContent": {"text": {"text": "fine"}}}, {"text": text}]}]
    with LocalServer(lambda: Backend(EchoEngine(step_seconds=0.01), ByteText()), config) as server:
        boto = client(server.endpoint, server.keys)
        start, seen = time.perf_counter(), list[tuple[float, str]]()
        stream = boto.converse_stream(modelId=MODEL, messages=marked, guardrailConfig={**NAMED, "streamProcessingMode": mode})
        for event in stream["stream"]:
            if "contentBlockDelta" in event:
                seen.append((time.perf_counter() - start, event["contentBlockDelta"]["delta"]["text"]))
            if "metadata" in event:
                end, usage = time.perf_counter() - start, event["metadata"]["usage"]
    said = "".join(piece for _, piece in seen)
    assert said == ("fine\none two no such answers" if mode == "sync" else f"fine\n{text}")
    assert seen[0][0] < end / 2, "words left before the answer was whole"
    assert usage["outputTokens"] == len(f"fine\n{text}") + 1, "what the model made is counted, seen or not"


# --- piece by piece ------------------------------------------------------------------------------------------------------

WORDS = [
    "forbidden",
    "stock",
    "tip",
    "shares",
    "123456789012",
    "12345678901",
    "1234567890123",
    "x123456789012",
    " ",
    "  ",
    "ab",
    "\n",
    ".",
]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=8), st.integers(0, 2**32))
def test_pieces_leave_as_the_whole_would(tmp_path_factory: pytest.TempPathFactory, words: list[str], seed: int) -> None:
    guardrail = RULES.setdefault("house", rules(tmp_path_factory.mktemp("rules"))) if not RULES else RULES["house"]
    text, chance = "".join(words), random.Random(seed)
    whole, masked = scanned(guardrail, text)
    scan, out, rest = Scan(guardrail), "", text
    while rest:
        size = chance.randint(1, 5)
        out, rest = out + scan.feed(rest[:size]), rest[size:]
    out += scan.finish()
    assert scan.blocked == whole.blocked
    if not whole.blocked:
        assert out == masked and list(scan.expressions) == list(whole.expressions)
    else:  # a block cannot take back what left before, but nothing of what it found is in that
        patterns = [guardrail.phrases, *(one.pattern for one in guardrail.expressions if one.blocks)]
        assert scan._left <= min(match.start() for pattern in patterns if (match := pattern.search(text)))


RULES: dict[str, guardrails.Guardrail] = {}


def test_held_back_is_only_what_could_still_match(tmp_path: Path) -> None:
    scan = Scan(rules(tmp_path))
    assert scan.feed("hello wor") == "hello wor" and scan.feed("ld, a stock") == "ld, a "
    assert scan.feed("ing ") == "stocking " and scan.feed("number 123") == "number "
    assert scan.feed("4 and ") == "1234 and "
    assert scan.feed("123456789012") == "" and scan.feed(" is") == "{account} is"
    assert scan.feed(" forbid") == " " and scan.feed("den") == "" and not scan.blocked
    assert scan.feed("!") == "" and scan.blocked and scan.words == ["forbidden"]


def test_matches_that_overlap_are_masked_as_one(tmp_path: Path) -> None:
    text = "guardrails: [{id: house, regexes: [{name: a, pattern: 'xy+', action: ANONYMIZE}, {name: b, pattern: 'y+z', action: ANONYMIZE}]}]"
    assert scanned(rules(tmp_path, text), "1 xyyz 2")[1] == "1 {a} 2"


def test_what_is_looked_through_besides_is_not_masked(tmp_path: Path) -> None:
    scan = Scan(rules(tmp_path), later=True)
    assert scan.feed("see 123456789012") + scan.feed(" now") == "see 123456789012 now" and not scan.intervened
    assert scan.expressions["account"]["action"] == "NONE" and scan.expressions["account"]["detected"] is True
    assert scan.feed(" forbidden ") == "" and scan.blocked


def test_a_slow_expression_cannot_hold_a_stream_for_long(tmp_path: Path) -> None:
    scan, start = Scan(rules(tmp_path)), time.process_time()
    for _ in range(60):
        scan.feed("a" * 100)
    scan.finish()
    assert scan.blocked and time.process_time() - start < 5


def test_a_long_answer_is_not_taken_for_a_slow_one(tmp_path: Path) -> None:
    scan = Scan(rules(tmp_path))
    scan.seconds = 3600.0  # of quick looks
    assert scan.feed("word " * 2000) and scan._time() == 0.25 and not scan.blocked


# --- InvokeGuardrailChecks -----------------------------------------------------------------------------------------------


def test_personal_data_by_its_form(house: LocalServer) -> None:
    boto = client(house.endpoint, house.keys)
    text = "Write to jane@example.org from 10.0.0.1, card 4111 1111 1111 1111, not 4111 1111 1111 1112."
    wanted = [{"type": kind} for kind in ("EMAIL", "IP_ADDRESS", "CREDIT_DEBIT_CARD_NUMBER")]
    messages = [{"role": "user", "content": [{"text": "nothing"}, {"text": text}]}]
    answer = boto.invoke_guardrail_checks(messages=messages, checks={"sensitiveInformation": {"entities": wanted}})
    found = answer["results"]["sensitiveInformation"]["results"]
    assert [(one["type"], text[one["beginOffset"] : one["endOffset"]]) for one in found] == [
        ("EMAIL", "jane@example.org"),
        ("IP_ADDRESS", "10.0.0.1"),
        ("CREDIT_DEBIT_CARD_NUMBER", "4111 1111 1111 1111"),
    ]
    assert {(one["messageIndex"], one["contentIndex"]) for one in found} == {(0, 1)}
    for checks, words in (
        ({"contentFilter": {"categories": [{"category": "HATE"}]}}, r"checks\.contentFilter"),
        ({"sensitiveInformation": {"entities": [{"type": "NAME"}]}}, r"entities\.0\.type: NAME"),
        ({}, "checks"),
    ):
        with pytest.raises(ClientError, match=words):
            boto.invoke_guardrail_checks(messages=messages, checks=checks)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        ("EMAIL", "a.b+c@mail.example.com", "a.b@example"),
        ("URL", "https://example.org/a?b=1", "example.org"),
        ("IP_ADDRESS", "2001:db8::1", "300.1.1.1"),
        ("MAC_ADDRESS", "00:1b:44:11:3a:b7", "00:1b:44:11:3a"),
        ("AWS_ACCESS_KEY", "AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPL"),
        ("CREDIT_DEBIT_CARD_NUMBER", "4012888888881881", "4012888888881882"),
        ("INTERNATIONAL_BANK_ACCOUNT_NUMBER", "GB82 WEST 1234 5698 7654 32", "GB83 WEST 1234 5698 7654 32"),
        ("US_SOCIAL_SECURITY_NUMBER", "536-90-4399", "666-90-4399"),
        ("UK_NATIONAL_INSURANCE_NUMBER", "AB 12 34 56 C", "QQ 12 34 56 C"),
    ],
)
def test_each_kind_of_personal_data(kind: str, right: str, wrong: str) -> None:
    assert [(one["beginOffset"], one["endOffset"]) for one in personal(f"is {right} it", KINDS) if one["type"] == kind] == [
        (3, 3 + len(right))
    ]
    assert personal(f"is {wrong} it", [kind]) == []


def test_every_kind_has_its_example() -> None:
    assert len(KINDS) == 9


# --- the file ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "needs a list"),
        ("guardrails: [{id: a, colour: red}]", "colour"),
        ("guardrails: [{id: a, regexes: [{name: b, pattern: '('}]}]", "no regular expression"),
        ("guardrails: [{id: a, topics: [{name: b}]}]", "phrases"),
        ("guardrails: [{id: a, regexes: [{name: b, pattern: c, action: LOG}]}]", "BLOCK or ANONYMIZE"),
    ],
)
def test_a_wrong_guardrail_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "g.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        guardrails.load(tmp_path / "g.yaml")
