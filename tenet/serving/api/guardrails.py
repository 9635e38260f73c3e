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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex
import yaml

from tenet.errors import ConfigError
from tenet.serving.protocol.exceptions import ServiceError


@dataclass(frozen=True)
class Expression:
    """A regular expression of the file; `blocks`, or masks what it finds."""

    name: str
    source: str
    pattern: Any
    blocks: bool


@dataclass(frozen=True)
class Guardrail:
    """One guardrail of the file, its expressions compiled.

    Args:
        words, topics: name and pattern each; `phrases` is all of these patterns in one, None where there are none.
    """

    id: str
    version: str
    blocked_input: str
    blocked_output: str
    words: tuple[tuple[str, Any], ...] = ()
    expressions: tuple[Expression, ...] = ()
    topics: tuple[tuple[str, Any], ...] = ()
    phrases: Any = None

    @property
    def arn(self) -> str:
        """As Amazon writes it, for an account that is nobody's."""
        return f"arn:aws:bedrock:us-east-1:000000000000:guardrail/{self.id}"


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
        expressions = tuple(
            Expression(one["name"], one["pattern"], _compiled(one["pattern"], where), _blocks(one, where))
            for one in entry.get("regexes", ())
        )
        spoken = [*entry.get("words", ()), *(phrase for one in entry.get("topics", ()) for phrase in one["phrases"])]
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
        expressions=expressions,
        topics=topics,
        phrases=_phrases(spoken) if spoken else None,
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
