"""Step 10: start the endpoint on the weights that deploy put in place and call it with an unchanged boto3.

Every call is greedy and made alone, so the transcript is the same on every run; ids and times are left out of it, times
are in timings.json.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tenet.domains.domain import Probe
from tenet.errors import StageError
from tenet.files import read_json, write_json
from tenet.runs.summary import Figure, Summary
from tenet.runs.workspace import Workspace
from tenet.serving.access.credentials import Keys
from tenet.serving.clients.client import client, errors, stream_answer
from tenet.serving.releases.publish import weights
from tenet.serving.server.server import LocalServer
from tenet.settings.serving import ServeConfig

__all__ = ["run", "served_model", "stream_answer"]

MAX_TOKENS = 64
Reply = dict[str, Any]


def served_model(run: Path) -> Path:
    """The folder of a run's served weights, every file verified.

    Args:
        run: run folder whose deploy stage is finished.
    """
    deployed = run / "deploy"
    store = read_json(deployed / "deployment.json")["store"]
    # The run's own store moves with the run; any other address is taken as it is.
    return weights(deployed / "store" if store == "store" else store, deployed / "checkpoints" / "weights")


def run(config: ServeConfig, ws: Workspace) -> Summary:
    """See the module."""
    ws.progress(0, len(CALLS), "loading weights")
    model_dir = served_model(ws.input("deploy").parent)
    rows: list[Reply] = []
    milliseconds: dict[str, float] = {}
    probe = ws.domain.probe if ws.domain else Probe()
    calls = CALLS if probe.tool else {name: call for name, call in CALLS.items() if call is not _tool}
    with LocalServer(model_dir, config) as server:
        caller = _Caller(server, probe)
        for i, (name, call) in enumerate(calls.items()):
            ws.check()
            ws.progress(i, len(calls), name)
            start = time.perf_counter()
            row = _attempt(call, caller)
            milliseconds[name] = round((time.perf_counter() - start) * 1000, 1)
            rows.append({"call": name, **row})
    ws.progress(len(rows), len(rows), "answered")
    wrong = [f"{row['call']}: {row['problem']}" for row in rows if row["problem"]]
    write_json(ws.dir / "transcript.json", {"model": config.model_id, "calls": rows})
    write_json(ws.dir / "timings.json", {"milliseconds": milliseconds})
    if wrong:
        raise StageError(f"the endpoint did not answer as Bedrock does: {'; '.join(wrong)}; see {ws.dir / 'transcript.json'}")
    return _summary(rows, probe.question)


def _attempt(call: Callable[[_Caller], Reply], caller: _Caller) -> Reply:
    """One call; an error that was not expected is a row like any other, so that the transcript shows all of them."""
    try:
        return call(caller)
    except errors() as error:
        return _row("", {}, 0, str(error))


class _Caller:
    """A boto3 client and what the calls share."""

    def __init__(self, server: LocalServer, probe: Probe) -> None:
        self.probe, self.question = probe, probe.question
        self.endpoint, self.keys, self.model = server.endpoint, server.keys, server.model_id
        self.boto = client(server.endpoint, server.keys)
        self.context = server.gateway.runner.need().engine.max_context
        self.converse: Reply = {}

    def ask(self, text: str, tokens: int = MAX_TOKENS) -> Reply:
        """Members of a Converse request."""
        messages = [{"role": "user", "content": [{"text": text}]}]
        return {"modelId": self.model, "messages": messages, "inferenceConfig": {"maxTokens": tokens, "temperature": 0.0}}

    def messages_body(self, text: str) -> bytes:
        """An Anthropic Messages body."""
        messages = [{"role": "user", "content": text}]
        return json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": MAX_TOKENS, "messages": messages}).encode()


def _row(asked: Any, answered: Any, tokens: int, problem: str = "") -> Reply:
    return {"asked": asked, "answered": answered, "output_tokens": tokens, "problem": problem}


def _converse(caller: _Caller) -> Reply:
    reply = caller.boto.converse(**caller.ask(caller.question))
    caller.converse = reply
    text = _text_of(reply["output"]["message"])
    known = reply["stopReason"] in ("end_turn", "max_tokens", "model_context_window_exceeded")
    answered = {"text": text, "stopReason": reply["stopReason"], "usage": reply["usage"]}
    return _row(caller.question, answered, reply["usage"]["outputTokens"], "" if known else f"stopReason {reply['stopReason']}")


def _converse_stream(caller: _Caller) -> Reply:
    events = list(caller.boto.converse_stream(**caller.ask(caller.question))["stream"])
    text = "".join(e["contentBlockDelta"]["delta"].get("text", "") for e in events if "contentBlockDelta" in e)
    usage: Reply = next((e["metadata"]["usage"] for e in events if "metadata" in e), {})
    same = text == _text_of(caller.converse["output"]["message"]) and usage == caller.converse["usage"]
    kinds = list(dict.fromkeys(next(iter(event)) for event in events))
    problem = "" if same else "text or usage differ from converse"
    return _row(caller.question, {"text": text, "usage": usage, "events": kinds}, usage.get("outputTokens", 0), problem)


def _invoke(caller: _Caller) -> Reply:
    reply = json.loads(caller.boto.invoke_model(modelId=caller.model, body=caller.messages_body(caller.question))["body"].read())
    text = "".join(block.get("text", "") for block in reply["content"])
    problem = "" if text == _text_of(caller.converse["output"]["message"]) else "text differs from converse"
    answered = {"text": text, "stop_reason": reply["stop_reason"], "usage": reply["usage"]}
    return _row(caller.question, answered, reply["usage"]["output_tokens"], problem)


def _invoke_stream(caller: _Caller) -> Reply:
    stream = caller.boto.invoke_model_with_response_stream(modelId=caller.model, body=caller.messages_body(caller.question))[
        "body"
    ]
    events = [json.loads(event["chunk"]["bytes"]) for event in stream]
    text = "".join(e["delta"].get("text", "") for e in events if e["type"] == "content_block_delta")
    tokens = next((e["usage"]["output_tokens"] for e in events if e["type"] == "message_delta"), 0)
    problem = "" if text == _text_of(caller.converse["output"]["message"]) else "text differs from converse"
    return _row(caller.question, {"text": text, "events": list(dict.fromkeys(e["type"] for e in events))}, tokens, problem)


def _count(caller: _Caller) -> Reply:
    counted = caller.boto.count_tokens(
        modelId=caller.model, input={"converse": {"messages": caller.ask(caller.question)["messages"]}}
    )
    used = caller.converse["usage"]["inputTokens"]
    problem = "" if counted["inputTokens"] == used else f"usage.inputTokens was {used}"
    return _row(caller.question, {"inputTokens": counted["inputTokens"]}, 0, problem)


def _stop_sequence(caller: _Caller) -> Reply:
    """The first word boundary of the answer known from `converse` must end it."""
    whole = _text_of(caller.converse["output"]["message"])
    stop = " " if " " in whole else whole[-1:] or " "
    request = caller.ask(caller.question)
    request["inferenceConfig"]["stopSequences"] = [stop]
    reply = caller.boto.converse(**request)
    text = _text_of(reply["output"]["message"])
    right = not whole or (text, reply["stopReason"]) == (whole.partition(stop)[0], "stop_sequence")
    problem = "" if right else "not cut at the stop sequence"
    answered = {"text": text, "stopReason": reply["stopReason"]}
    return _row({"question": caller.question, "stopSequences": [stop]}, answered, reply["usage"]["outputTokens"], problem)


def _tool(caller: _Caller) -> Reply:
    """The wire must carry the call; whether the model can write one at all is a figure, not a condition."""
    tool = caller.probe.tool or {}
    name = tool["toolSpec"]["name"]
    config = {"tools": [tool], "toolChoice": {"tool": {"name": name}}}
    reply = caller.boto.converse(**caller.ask(caller.probe.tool_question), toolConfig=config)
    uses = [block["toolUse"] for block in reply["output"]["message"]["content"] if "toolUse" in block]
    named = all(use["name"] == name for use in uses) and (reply["stopReason"] == "tool_use") == bool(uses)
    text = _text_of(reply["output"]["message"])
    answered = {"calls": [use["input"] for use in uses], "stopReason": reply["stopReason"], "text": text}
    problem = "" if named else "stopReason and toolUse blocks do not agree"
    asked = {"question": caller.probe.tool_question, "tool": tool, "toolChoice": "tool"}
    return _row(asked, answered, reply["usage"]["outputTokens"], problem)


def _refusal(code: str, status: int, words: str, call: Callable[[_Caller], Any]) -> Callable[[_Caller], Reply]:
    """A call that must be refused with this code, status and words."""

    def attempt(caller: _Caller) -> Reply:
        try:
            call(caller)
        except caller.boto.exceptions.ClientError as error:
            told, got = error.response["Error"], error.response["ResponseMetadata"]["HTTPStatusCode"]
            right = (told["Code"], got) == (code, status) and words in told["Message"]
            answered = {"code": told["Code"], "status": got}
            return _row(f"refusal: {code}", answered, 0, "" if right else f"expected {code} {status} with {words!r}")
        return _row(f"refusal: {code}", {}, 0, f"expected {code} {status}, was answered")

    return attempt


def _unknown_model(caller: _Caller) -> Any:
    return caller.boto.converse(**{**caller.ask(caller.question), "modelId": "no.such-v1:0"})


def _too_long(caller: _Caller) -> Any:
    """A word is at least one token."""
    return caller.boto.converse(**caller.ask("word " * caller.context))


def _with_wrong_key(caller: _Caller) -> Any:
    keys = Keys(caller.keys.access_key, "not-the-secret")
    return client(caller.endpoint, keys).converse(**caller.ask(caller.question))


CALLS: dict[str, Callable[[_Caller], Reply]] = {
    "Converse": _converse,
    "ConverseStream": _converse_stream,
    "InvokeModel": _invoke,
    "InvokeModelWithResponseStream": _invoke_stream,
    "CountTokens": _count,
    "Converse, stop sequence": _stop_sequence,
    "Converse, tool": _tool,
    "Converse, wrong key": _refusal("InvalidSignatureException", 403, "signature", _with_wrong_key),
    "Converse, unknown model": _refusal("ResourceNotFoundException", 404, "model", _unknown_model),
    "Converse, prompt too long": _refusal("ValidationException", 400, "Input is too long", _too_long),
}


def _text_of(message: Reply) -> str:
    return "".join(block.get("text", "") for block in message["content"])


def _summary(rows: list[Reply], question: str) -> Summary:
    right = sum(not row["problem"] for row in rows)
    tokens = sum(row["output_tokens"] for row in rows)
    calls = next((row["answered"]["calls"] for row in rows if row["call"] == "Converse, tool"), None)
    text = rows[0]["answered"]["text"]
    return Summary(
        headline=f"{right} of {len(rows)} calls through boto3 were answered as Bedrock does. {question} The model: {text!r}",
        figures=[
            Figure("API calls answered right", right / len(rows), "share", n=len(rows)),
            *(
                []
                if calls is None
                else [Figure("tool calls that the model wrote as valid JSON", float(len(calls)), "calls", n=1)]
            ),
            Figure("output tokens", float(tokens), "tokens", better="neither"),
            Figure(
                "input tokens, CountTokens as usage",
                float(next(row["answered"]["inputTokens"] for row in rows if row["call"] == "CountTokens")),
                "tokens",
                better="neither",
            ),
        ],
        tokens=tokens,
        details={"question": question, "answer": text},
    )
