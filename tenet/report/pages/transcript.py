"""`serve/transcript.json` for people: what an unchanged boto3 asked the endpoint and what came back, call by call."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tenet.report.data import Stage
from tenet.report.pages.cells import absent
from tenet.report.render.html import Html, details, join, tag


@dataclass(frozen=True)
class Call:
    """One call of the transcript in words.

    Args:
        name: operation.
        asked, answered: text where there is text, else JSON.
        rest: what else the answer holds, as JSON.
        tokens: tokens that the model made.
        problem: what was not as Bedrock does it; empty when all was.
    """

    name: str
    asked: str
    answered: str
    rest: str
    tokens: int
    problem: str


def calls_of(content: Any) -> list[Call]:
    """The calls of a transcript; a transcript without the member `calls` has none."""
    listed = content.get("calls", []) if isinstance(content, dict) else []
    return [_call(call, number) for number, call in enumerate((c for c in listed if isinstance(c, dict)), 1)]


def _call(call: dict[str, Any], number: int) -> Call:
    asked, answered = call.get("asked"), call.get("answered")
    question = asked.get("question") if isinstance(asked, dict) else asked
    said = answered.get("text") if isinstance(answered, dict) else answered
    rest = {k: v for k, v in answered.items() if k != "text"} if isinstance(answered, dict) else {}
    return Call(
        str(call.get("call") or f"call {number}"),
        _words(question if question else asked),
        _words(said) if said else "",
        json.dumps(rest, ensure_ascii=False) if rest else "",
        int(call.get("output_tokens") or 0),
        str(call.get("problem") or ""),
    )


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def transcript(stage: Stage) -> Html:
    """Every call with its question, its answer and what was wrong with it."""
    content = stage.json("transcript.json")
    if content is None:
        return absent("transcript.json is not there")
    calls = calls_of(content)
    return join(_shown(call) for call in calls) if calls else absent("transcript.json lists no calls")


def _shown(call: Call) -> Html:
    verdict = tag("p", f"Not as Bedrock does it: {call.problem}", cls="bad") if call.problem else Html("")
    parts = [tag("h3", call.name.replace("_", " ")), verdict, tag("p", call.asked, cls="soft")]
    parts.append(tag("pre", call.answered) if call.answered else tag("p", "no text in the answer", cls="soft"))
    return join([*parts, details("the rest of the answer", tag("pre", call.rest)) if call.rest else ""])
