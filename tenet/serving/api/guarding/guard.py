"""A guardrail on one request: what it found in the prompt and in the answer, and how that is shown."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tenet.serving.api.guarding.scan import Scan, scanned
from tenet.serving.api.guardrails import Guardrail
from tenet.serving.protocol.chat_request import Begun, End, GuardrailTrace, Part, ToolCall, Words
from tenet.serving.protocol.json_bytes import dumps


@dataclass
class Guard:
    """A guardrail on one request.

    Args:
        trace: what the client wants to be told.
        later: a stream sends its text at once and is stopped when something is found.

    Attributes:
        inputs, outputs: what was looked through.
        unguarded: characters of the prompt that were not.
        pieces: parts that the model made, seen or not.
    """

    guardrail: Guardrail
    trace: GuardrailTrace = "disabled"
    later: bool = False
    inputs: list[Scan] = field(default_factory=list)
    outputs: list[Scan] = field(default_factory=list)
    unguarded: int = 0
    pieces: int = 0

    @property
    def intervened(self) -> bool:
        """It blocked or masked something."""
        return any(scan.intervened for scan in (*self.inputs, *self.outputs))

    def refuses(self, text: str, all_characters: int) -> bool:
        """Look through a prompt, which is part of so many characters."""
        self.unguarded = max(0, all_characters - len(text))
        self.inputs.append(scanned(self.guardrail, text)[0])
        return self.inputs[-1].blocked

    def shown(self, first: str = "inputAssessment", second: str = "outputAssessments") -> dict[str, Any] | None:
        """The trace, if the client wants one; InvokeModel has other names for its two halves."""
        if self.trace == "disabled":
            return None
        full, name = self.trace == "enabled_full", self.guardrail.id
        shown: dict[str, Any] = {"actionReason": reason(self.inputs + self.outputs)}
        if self.inputs:
            shown[first] = {name: assessment(self.inputs[0], full, len(self.inputs[0].text) + self.unguarded)}
        if outputs := [scan for scan in self.outputs if scan.text]:
            shown[second] = {name: [assessment(scan, full) for scan in outputs]}
            shown["modelOutput"] = [scan.text for scan in outputs]
        return {"guardrail": shown}

    async def looked_through(self, batches: AsyncIterator[list[Part]]) -> AsyncGenerator[list[Part], None]:
        """The same answer as it may leave. After a block the model's further words are counted, and nobody sees them."""
        scan, over = self._scan(), False
        async for parts in batches:
            self.pieces += len(parts)
            out: list[Part] = []
            for part in parts:
                if isinstance(part, Begun):
                    out.append(part)
                elif not over:
                    made, scan = self._judged(part, scan)
                    over = self._blocked
                    out += [Words(self.guardrail.blocked_output)] if over else made
                if isinstance(part, End):
                    out.append(replace(part, reason="guardrail_intervened", stop=None) if over else part)
            if out:
                yield out

    def _judged(self, part: Part, scan: Scan) -> tuple[list[Part], Scan]:
        """What a part lets go, and the text that the next one belongs to. A tool call ends a text and is one of its own."""
        if isinstance(part, Words):
            return _words(scan.feed(part.text)), scan
        made = _words(scan.finish())
        if isinstance(part, ToolCall):
            call = self._scan()
            call.text = dumps(part.arguments).decode()
            call.finish()
            return [*made, part], self._scan()
        return made, scan

    def whole(self, parts: Sequence[Part]) -> list[Part]:
        """An answer that is sent at once: where something was blocked, nothing else is left of it."""
        if not self._blocked:
            return list(parts)
        return [Words(self.guardrail.blocked_output), *(part for part in parts if isinstance(part, End))]

    @property
    def _blocked(self) -> bool:
        return any(scan.blocked for scan in self.outputs)

    def _scan(self) -> Scan:
        self.outputs.append(Scan(self.guardrail, self.later))
        return self.outputs[-1]


def _words(text: str) -> list[Part]:
    return [Words(text)] if text else []


# --- as the service model shows it -----------------------------------------------------------------------------------


def assessment(scan: Scan, full: bool, characters: int | None = None) -> dict[str, Any]:
    """What was found in a text.

    Args:
        full: topics that were not found stand in it too; for words and expressions Amazon has no such entries.
        characters: of all that was given, where only this text is guarded.
    """
    found: dict[str, Any] = {}
    if topics := [_topic(name, name in scan.topics) for name, _ in scan.guardrail.topics if full or name in scan.topics]:
        found["topicPolicy"] = {"topics": topics}
    if scan.words:
        words = [{"match": word, "action": "BLOCKED", "detected": True} for word in scan.words]
        found["wordPolicy"] = {"customWords": words, "managedWordLists": []}
    if scan.expressions:
        found["sensitiveInformationPolicy"] = {"piiEntities": [], "regexes": list(scan.expressions.values())}
    return {
        **found,
        "invocationMetrics": {
            "guardrailProcessingLatency": round(scan.seconds * 1000),
            "usage": usage_of(scan.guardrail, [scan.text]),
            "guardrailCoverage": coverage(len(scan.text), len(scan.text) if characters is None else characters),
        },
        "appliedGuardrailDetails": {
            "guardrailId": scan.guardrail.id,
            "guardrailVersion": scan.guardrail.version,
            "guardrailArn": scan.guardrail.arn,
            "guardrailOrigin": ["REQUEST"],
            "guardrailOwnership": "SELF",
        },
    }


def _topic(name: str, found: bool) -> dict[str, Any]:
    return {"name": name, "type": "DENY", "action": "BLOCKED" if found else "NONE", "detected": found}


def reason(scans: Sequence[Scan]) -> str:
    """Why the guardrail did what it did."""
    if any(scan.blocked for scan in scans):
        return "Guardrail blocked."
    return "Guardrail masked." if any(scan.intervened for scan in scans) else "No action."


def coverage(guarded: int, total: int) -> dict[str, Any]:
    """How many characters were looked through."""
    return {"textCharacters": {"guarded": guarded, "total": total}}


def usage_of(guardrail: Guardrail, texts: Sequence[str]) -> dict[str, int]:
    """Text units of a thousand characters, by policy."""
    units = sum(max(1, -(-len(text) // 1000)) for text in texts)
    return {
        "topicPolicyUnits": units if guardrail.topics else 0,
        "contentPolicyUnits": 0,
        "wordPolicyUnits": units if guardrail.words else 0,
        "sensitiveInformationPolicyUnits": 0,
        "sensitiveInformationPolicyFreeUnits": units if guardrail.expressions else 0,
        "contextualGroundingPolicyUnits": 0,
        "contentPolicyImageUnits": 0,
        "automatedReasoningPolicyUnits": 0,
        "automatedReasoningPolicies": 0,
    }
