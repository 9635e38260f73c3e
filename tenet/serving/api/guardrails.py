"""Guardrails from a file: words, regular expressions and topics that are blocked or masked in prompts and answers.

    guardrails:
      - id: house                       # guardrailIdentifier; an ARN that ends in /house names it too
        version: "1"                    # guardrailVersion; DRAFT names the newest
        blocked_input: "I cannot talk about that."
        blocked_output: "I cannot answer that."
        words: [blockedword, "two words"]
        regexes: [{name: account, pattern: '\\b\\d{12}\\b', action: ANONYMIZE}]     # or BLOCK
        topics: [{name: investing, phrases: ["buy shares", "stock tip"]}]

Words and phrases are matched as whole words, in any case. A topic is found by its phrases alone: no model judges it. An
expression that takes too long on a text counts as found, where it blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import regex
import yaml

from tenet.errors import ConfigError
from tenet.serving.protocol.exceptions import ServiceError, invalid

#: An expression of the file may be slow on a hostile text; seconds.
_TIMEOUT = 0.25


@dataclass
class Verdict:
    """What a guardrail says of one text.

    Attributes:
        text: with what is masked replaced by `{name}`.
        blocked: the text must not pass.
        assessment: in the service model's shape; empty when nothing was found.
    """

    text: str
    blocked: bool = False
    assessment: dict[str, Any] = field(default_factory=dict)

    @property
    def intervened(self) -> bool:
        """Something was blocked or masked."""
        return bool(self.assessment)


@dataclass(frozen=True)
class Guardrail:
    """One guardrail of the file, its expressions compiled."""

    id: str
    version: str
    blocked_input: str
    blocked_output: str
    words: tuple[tuple[str, Any], ...] = ()
    regexes: tuple[tuple[str, str, Any, bool], ...] = ()
    topics: tuple[tuple[str, Any], ...] = ()

    def check(self, text: str) -> Verdict:
        """Look through a text."""
        verdict = Verdict(text)
        topics = [{"name": name, "type": "DENY", "action": "BLOCKED"} for name, pattern in self.topics if pattern.search(text)]
        if topics:
            verdict.blocked, verdict.assessment["topicPolicy"] = True, {"topics": topics}
        words = [{"match": word, "action": "BLOCKED"} for word, pattern in self.words if pattern.search(text)]
        if words:
            verdict.blocked = True
            verdict.assessment["wordPolicy"] = {"customWords": words, "managedWordLists": []}
        found = [entry for each in self.regexes if (entry := _expression(verdict, *each))]
        if found:
            verdict.assessment["sensitiveInformationPolicy"] = {"piiEntities": [], "regexes": found}
        return verdict


def _expression(verdict: Verdict, name: str, source: str, pattern: Any, blocks: bool) -> dict[str, Any] | None:
    """One expression on a text; masks in place."""
    try:
        match = pattern.search(verdict.text, timeout=_TIMEOUT)
        if match is None:
            return None
        shown = match.group()
        if not blocks:
            verdict.text = pattern.sub(lambda _: f"{{{name}}}", verdict.text, timeout=_TIMEOUT)
    except TimeoutError:
        shown, blocks = "", True
    verdict.blocked = verdict.blocked or blocks
    return {"name": name, "match": shown, "regex": source, "action": "BLOCKED" if blocks else "ANONYMIZED"}


class Guardrails:
    """All guardrails of a file.

    Args:
        guardrails: in the order of the file; a later version of the same id is the newer one.
    """

    def __init__(self, guardrails: Sequence[Guardrail] = ()) -> None:
        self._found = {(one.id, one.version): one for one in guardrails} | {(one.id, "DRAFT"): one for one in guardrails}

    def find(self, identifier: str, version: str) -> Guardrail:
        """By id or ARN.

        Raises:
            ServiceError: ResourceNotFoundException.
        """
        one = self._found.get((identifier.rpartition("/")[2], version))
        if one is None:
            raise ServiceError("ResourceNotFoundException", "The guardrail or its version does not exist on this endpoint.")
        return one


def load(path: Path) -> Guardrails:
    """Read a file.

    Raises:
        ConfigError: names the entry and what is wrong with it.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"serve.guardrails {path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError):
        raise ConfigError(f"serve.guardrails {path}: not valid YAML") from None
    if not isinstance(content, dict) or not isinstance(content.get("guardrails"), list):
        raise ConfigError(f"serve.guardrails {path}: needs a list `guardrails`; docs/wire.md shows one")
    return Guardrails([_guardrail(entry, f"{path}: guardrails[{i}]") for i, entry in enumerate(content["guardrails"])])


_KEYS = {"id", "version", "blocked_input", "blocked_output", "words", "regexes", "topics"}


def _guardrail(entry: Any, where: str) -> Guardrail:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        raise ConfigError(f"{where}: needs an `id`")
    if unknown := set(entry) - _KEYS:
        raise ConfigError(f"{where}: unknown key {sorted(unknown)[0]!r}; known are {', '.join(sorted(_KEYS))}")
    try:
        regexes = tuple(
            (one["name"], one["pattern"], _compiled(one["pattern"], where), _blocks(one, where))
            for one in entry.get("regexes", ())
        )
        topics = tuple((one["name"], _phrases(one["phrases"])) for one in entry.get("topics", ()))
        words = tuple((word, _phrases([word])) for word in entry.get("words", ()))
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{where}: words are texts, regexes need name and pattern, topics need name and phrases ({error})"
        ) from None
    return Guardrail(
        id=entry["id"],
        version=str(entry.get("version", "1")),
        blocked_input=entry.get("blocked_input", "Sorry, the model cannot answer this question."),
        blocked_output=entry.get("blocked_output", "Sorry, the model cannot answer this question."),
        words=words,
        regexes=regexes,
        topics=topics,
    )


def _blocks(one: dict[str, Any], where: str) -> bool:
    action = one.get("action", "BLOCK")
    if action not in ("BLOCK", "ANONYMIZE"):
        raise ConfigError(f"{where}: action is {action!r}; BLOCK or ANONYMIZE")
    return bool(action == "BLOCK")


def _compiled(pattern: str, where: str) -> Any:
    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise ConfigError(f"{where}: {pattern!r} is no regular expression ({error})") from None


def _phrases(phrases: Sequence[str]) -> Any:
    """Whole words, any case, any white space between them."""
    bodies = [r"\s+".join(regex.escape(word) for word in phrase.split()) for phrase in phrases if phrase.strip()]
    if not bodies:
        raise TypeError("an empty phrase")
    return regex.compile(rf"(?<!\w)(?:{'|'.join(bodies)})(?!\w)", regex.IGNORECASE)


# --- ApplyGuardrail ----------------------------------------------------------------------------------------------------


def apply(guardrail: Guardrail, source: str, texts: Sequence[str]) -> dict[str, Any]:
    """The ApplyGuardrail response.

    Args:
        source: INPUT or OUTPUT.
        texts: what to look through.
    """
    if source not in ("INPUT", "OUTPUT"):
        raise invalid("source", "must be INPUT or OUTPUT.")
    verdicts = [guardrail.check(text) for text in texts]
    acted = any(verdict.intervened for verdict in verdicts)
    blocked = any(verdict.blocked for verdict in verdicts)
    told = guardrail.blocked_input if source == "INPUT" else guardrail.blocked_output
    outputs = [{"text": told}] if blocked else [{"text": verdict.text} for verdict in verdicts] if acted else []
    return {
        "usage": usage_of(guardrail, texts),
        "action": "GUARDRAIL_INTERVENED" if acted else "NONE",
        "outputs": outputs,
        "assessments": [verdict.assessment for verdict in verdicts if verdict.assessment],
    }


def usage_of(guardrail: Guardrail, texts: Sequence[str]) -> dict[str, int]:
    """Text units of a thousand characters, by policy."""
    units = sum(max(1, -(-len(text) // 1000)) for text in texts)
    return {
        "topicPolicyUnits": units if guardrail.topics else 0,
        "contentPolicyUnits": 0,
        "wordPolicyUnits": units if guardrail.words else 0,
        "sensitiveInformationPolicyUnits": 0,
        "sensitiveInformationPolicyFreeUnits": units if guardrail.regexes else 0,
        "contextualGroundingPolicyUnits": 0,
    }
