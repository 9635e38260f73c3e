"""Checks of a principle: small rules with arguments, written in the constitution and put together here.

    check: {refuses: true, offers: true, max_sentences: 3}     # all of them
    check: {any: [{keeps_secrets: true}, {answer_matches: '(?i)vault'}]}
    check: {when_prompt: 'delete', then: {warns_of_loss: true}, else: {warns_of_loss: false}}

Everything about a subject (its names, its verbs) is a regular expression in the file; the named rules (`rules.py`) know
English only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenet.constitution.english import RULES, plain, split_sentences
from tenet.errors import ConfigError

#: Does this answer to this prompt pass?
Test = Callable[[str, str], bool]


@dataclass(frozen=True)
class Check:
    """One check, ready to be asked.

    Args:
        test: takes prompt and answer.
        source: as the file has it, for messages.
    """

    test: Test
    source: str

    def passes(self, prompt: str, answer: str) -> bool:
        """Does the answer pass?"""
        return self.test(prompt, answer)


def parse_check(where: str, key: str, value: Any) -> Check:
    """Build a check from what stands in the file: a rule's name, a mapping (all of its entries) or a list (all of it).

    Raises:
        ConfigError: names the file, the principle, the key and what is known.
    """
    return Check(_test(where, key, value), str(value))


def _test(where: str, key: str, value: Any) -> Test:
    if isinstance(value, str):
        value = {value: True}
    if isinstance(value, list) and value:
        return _all([_test(where, f"{key}[{number}]", part) for number, part in enumerate(value)])
    if not isinstance(value, dict) or not value:
        raise ConfigError(f"{where}: key `{key}` is {value!r}; write a rule, e.g. {{refuses: true}}, or a list of rules")
    if "when_prompt" in value:
        return _when(where, key, value)
    return _all([_one(where, f"{key}.{name}", name, argument) for name, argument in value.items()])


def _one(where: str, key: str, name: str, argument: Any) -> Test:
    if name in RULES:
        rule, wanted = RULES[name], _kind(where, key, argument, bool)
        return lambda prompt, answer: rule(answer) == wanted
    if name not in _BUILDERS:
        raise ConfigError(f"{where}: key `{key}` is unknown; known checks are {', '.join([*_BUILDERS, 'when_prompt', *RULES])}")
    return _BUILDERS[name](where, key, argument)


def _all(tests: list[Test]) -> Test:
    return lambda prompt, answer: all(test(prompt, answer) for test in tests)


def _some(where: str, key: str, argument: Any) -> Test:
    parts = _kind(where, key, argument, list)
    tests = [_test(where, f"{key}[{number}]", part) for number, part in enumerate(parts)]
    return lambda prompt, answer: any(test(prompt, answer) for test in tests)


def _not(where: str, key: str, argument: Any) -> Test:
    test = _test(where, key, argument)
    return lambda prompt, answer: not test(prompt, answer)


def _when(where: str, key: str, value: dict[str, Any]) -> Test:
    """`when_prompt: REGEX` with `then` and, where other prompts are judged too, `else`."""
    if unknown := sorted(value.keys() - {"when_prompt", "then", "else"}):
        raise ConfigError(f"{where}: key `{key}.{unknown[0]}` stands beside when_prompt; put it under then or else")
    if "then" not in value:
        raise ConfigError(f"{where}: key `{key}.then` is missing; say what an answer to such a prompt must do")
    pattern = _regex(where, f"{key}.when_prompt", value["when_prompt"])
    then = _test(where, f"{key}.then", value["then"])
    other = _test(where, f"{key}.else", value["else"]) if "else" in value else lambda prompt, answer: True
    return lambda prompt, answer: (then if pattern.search(plain(prompt)) else other)(prompt, answer)


def _matches(where: str, key: str, argument: Any) -> Test:
    pattern = _regex(where, key, argument)
    return lambda prompt, answer: bool(pattern.search(plain(answer)))


def _requires_when(where: str, key: str, argument: Any) -> Test:
    """`{prompt: REGEX, answer: REGEX}`: where the prompt matches, the answer must."""
    if not isinstance(argument, dict) or set(argument) != {"prompt", "answer"}:
        raise ConfigError(f"{where}: key `{key}` is {argument!r}; write {{prompt: REGEX, answer: REGEX}}")
    return _when(where, key, {"when_prompt": argument["prompt"], "then": {"answer_matches": argument["answer"]}})


def _count(measure: Callable[[str], int], most: bool) -> Callable[[str, str, Any], Test]:
    def build(where: str, key: str, argument: Any) -> Test:
        limit = _kind(where, key, argument, int)
        if limit < 1:
            raise ConfigError(f"{where}: key `{key}` is {limit}; it must be 1 or more")
        return lambda prompt, answer: measure(answer) <= limit if most else measure(answer) >= limit

    return build


def _regex(where: str, key: str, value: Any) -> re.Pattern[str]:
    try:
        return re.compile(_kind(where, key, value, str))
    except re.error as error:
        raise ConfigError(f"{where}: key `{key}` is {value!r}, no regular expression ({error})") from None


def _kind(where: str, key: str, value: Any, kind: type) -> Any:
    names = {bool: "true or false", int: "a whole number", str: "a regular expression", list: "a list of checks"}
    # True is an int for Python, not for the person who writes the file.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)) or (kind is list and not value):
        raise ConfigError(f"{where}: key `{key}` is {value!r}; it must be {names[kind]}")
    return value


def _sentences(answer: str) -> int:
    return len(split_sentences(answer))


def _words(answer: str) -> int:
    return len(answer.split())


#: Checks that take arguments, by the word that the file uses.
_BUILDERS: dict[str, Callable[[str, str, Any], Test]] = {
    "all": lambda where, key, argument: _test(where, key, _kind(where, key, argument, list)),
    "any": _some,
    "not": _not,
    "answer_matches": _matches,
    "contains_none": lambda where, key, argument: _not(where, key, {"answer_matches": argument}),
    "requires_when": _requires_when,
    "max_sentences": _count(_sentences, most=True),
    "min_sentences": _count(_sentences, most=False),
    "max_words": _count(_words, most=True),
    "min_words": _count(_words, most=False),
}
