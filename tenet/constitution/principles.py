"""The constitution: principles as data, the prompts that exercise them and the rules that check them.

`constitution.yaml` is meant to be argued about and edited by people who write no code, so everything about a principle stands
there: its words, its phrasings (train and test apart), its check and what must not trigger it. This file reads it, asks its
questions and gives the verdict of its rules; `tenet.constitution.judges` critiques, revises and compares with these or with a model.
"""

from __future__ import annotations

import dataclasses
import inspect
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tenet.constitution import checks
from tenet.constitution.checks import CHECKS
from tenet.errors import ConfigError

SPLITS = ("train", "test")
#: Which operations may fill {name} and {service}, by the operation's name.
OPERATION_KINDS: dict[str, Callable[[str], bool]] = {
    "destructive": lambda name: bool(checks.DESTRUCTIVE.fullmatch(name)),
    "reading": lambda name: name.startswith(("Get", "List", "Describe", "Search")),
    "secret": lambda name: (
        not checks.DESTRUCTIVE.match(name) and bool(re.search("Key|Secret|Password|Token|Credential|Access|Role|User", name))
    ),
    "harmless": lambda name: not checks.DESTRUCTIVE.match(name),
    "any": lambda name: True,
    "none": lambda name: False,
}


# --- principles -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Phrasings:
    """How prompts are worded, train and test apart, and which operations fill them."""

    operations: str
    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Principle:
    """One principle; the fields are explained at the top of constitution.yaml."""

    id: str
    title: str
    principle: str
    opposite: str
    critique_request: str
    revision_request: str
    priority: int
    check: str
    arguments: dict[str, Any]
    continues: bool
    opening: tuple[str, ...]
    prompts: Phrasings
    look_alike: Phrasings | None = None
    slots: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)

    def opposed(self) -> Principle:
        """The same principle with its opposite in its place: a judge that listens must turn its verdicts round."""
        return dataclasses.replace(self, principle=self.opposite, opposite=self.principle)


@dataclass(frozen=True)
class Prompt:
    """One question to the assistant; on a look-alike the principle must not show."""

    text: str
    look_alike: bool
    id: str
    service: str


def violates(principle: Principle, prompt: str, answer: str) -> bool:
    """Does the answer break the principle, by its check?"""
    return not CHECKS[principle.check][0](prompt, answer, **principle.arguments)


def over_applies(principle: Principle, answer: str) -> bool:
    """Does the principle show in an answer to a look-alike, where it must not?"""
    return CHECKS[principle.check][1](answer)


def wrong(principle: Principle, prompt: Prompt, answer: str) -> bool:
    """`violates` on an ordinary prompt, `over_applies` on a look-alike: one verdict for training and for the figures."""
    return over_applies(principle, answer) if prompt.look_alike else violates(principle, prompt.text, answer)


# --- reading the file -------------------------------------------------------------------------------------------------


def load_constitution(path: str | Path) -> list[Principle]:
    """Read and check a constitution; the most important principle comes first.

    Raises:
        ConfigError: names the file, the principle and the key.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; set constitutional.constitution to a YAML file of principles") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({error})") from None
    entries = content.get("principles") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{path}: key `principles` must be a list with at least one principle")
    principles = [_principle(path, number, entry) for number, entry in enumerate(entries, 1)]
    for key in ("id", "priority"):
        values = [getattr(principle, key) for principle in principles]
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise ConfigError(f"{path}: {key} {twice!r} is used by two principles; give each its own")
    return sorted(principles, key=lambda principle: principle.priority)


_TEXTS = ("title", "principle", "opposite", "critique_request", "revision_request")
_KEYS = {"id", *_TEXTS, "priority", "check", "continues", "opening", "prompts"}


def _principle(path: Path, number: int, entry: Any) -> Principle:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        raise ConfigError(f"{path}: principle number {number} has no key `id` with a text; give it a short name")
    where = f"{path}: principle {entry['id']}"
    if missing := sorted(_KEYS - entry.keys()):
        raise ConfigError(f"{where}: key `{missing[0]}` is missing")
    if unknown := sorted(entry.keys() - _KEYS - {"look_alike", "slots"}):
        raise ConfigError(
            f"{where}: key `{unknown[0]}` is unknown; known are {', '.join(sorted(_KEYS | {'look_alike', 'slots'}))}"
        )
    for key, kind in [*((text, str) for text in _TEXTS), ("priority", int), ("continues", bool), ("opening", list)]:
        if not isinstance(entry[key], kind) or entry[key] == "":
            raise ConfigError(f"{where}: key `{key}` is {entry[key]!r}; it must be a {kind.__name__} with content")
    if not 2 <= len(entry["opening"]) <= 6 or not all(isinstance(text, str) for text in entry["opening"]):
        raise ConfigError(f"{where}: key `opening` must hold 2 to 6 texts, not {len(entry['opening'])}")
    name, arguments = _check(where, entry["check"])
    slots = {
        slot: {split: tuple(values[split]) for split in SPLITS} for slot, values in _slots(where, entry.get("slots", {})).items()
    }
    return Principle(
        **{key: entry[key] for key in ("id", *_TEXTS, "priority", "continues")},
        check=name,
        arguments=arguments,
        opening=tuple(entry["opening"]),
        prompts=_phrasings(where, "prompts", entry["prompts"], set(slots)),
        look_alike=_phrasings(where, "look_alike", entry["look_alike"], set(slots)) if "look_alike" in entry else None,
        slots=slots,
    )


def _check(where: str, value: Any) -> tuple[str, dict[str, Any]]:
    name = value.get("name") if isinstance(value, dict) else None
    if name not in CHECKS:
        raise ConfigError(f"{where}: key `check.name` is {name!r}; known checks are {', '.join(CHECKS)}")
    arguments = {key: argument for key, argument in value.items() if key != "name"}
    known = list(inspect.signature(CHECKS[name][0]).parameters)[2:]
    for key, argument in arguments.items():
        if key not in known or not isinstance(argument, int):
            raise ConfigError(
                f"{where}: key `check.{key}` is {argument!r}; {name} takes {', '.join(known) or 'no arguments'} as whole numbers"
            )
    return name, arguments


def _slots(where: str, value: Any) -> Mapping[str, Mapping[str, Sequence[str]]]:
    for slot, values in value.items() if isinstance(value, dict) else [("?", None)]:
        if not isinstance(values, dict) or any(not isinstance(values.get(split), list) or not values[split] for split in SPLITS):
            raise ConfigError(f"{where}: key `slots.{slot}` must hold two lists, train and test")
    return value  # type: ignore[no-any-return]


def _phrasings(where: str, key: str, value: Any, slots: set[str]) -> Phrasings:
    if not isinstance(value, dict) or value.get("operations") not in OPERATION_KINDS:
        found = value.get("operations") if isinstance(value, dict) else value
        raise ConfigError(f"{where}: key `{key}.operations` is {found!r}; known kinds are {', '.join(OPERATION_KINDS)}")
    known = slots | ({"name", "service", "goal"} if value["operations"] != "none" else set())
    for split in SPLITS:
        if not isinstance(value.get(split), list) or not value[split]:
            raise ConfigError(f"{where}: key `{key}.{split}` must be a list of phrasings")
        for text in value[split]:
            if unknown := set(re.findall(r"\{(\w+)\}", str(text))) - known:
                raise ConfigError(
                    f"{where}: key `{key}.{split}` uses {{{unknown.pop()}}} in {text!r}; known are {', '.join(sorted(known))}"
                )
    return Phrasings(value["operations"], tuple(value["train"]), tuple(value["test"]))


# --- prompts ----------------------------------------------------------------------------------------------------------


def prompts(principle: Principle, operations: Sequence[Mapping[str, str]], split: str, count: int, seed: int) -> list[Prompt]:
    """Questions that exercise a principle: half of them ordinary, half look-alikes (all ordinary where it has no look-alikes).

    Args:
        principle: what to exercise.
        operations: `{service, service_title, name, sentence, goal}` of this split's services only: that holds services apart.
        split: "train" or "test"; it chooses the phrasings and the slots' words.
        count: prompts in all; fewer come back when the phrasings cannot make as many different ones.
        seed: the same seed gives the same prompts.

    Raises:
        ConfigError: the split is unknown, or no operation of the needed kind is there.
    """
    if split not in SPLITS:
        raise ConfigError(f"split is {split!r}; it must be one of {', '.join(SPLITS)}")
    alike = count // 2 if principle.look_alike else 0
    made = _fill(principle, principle.prompts, False, operations, split, count - alike, seed)
    if principle.look_alike:
        made += _fill(principle, principle.look_alike, True, operations, split, alike, seed)
    random.Random(f"{principle.id}/{split}/{seed}/order").shuffle(made)
    return made


def _fill(
    principle: Principle,
    phrasings: Phrasings,
    look_alike: bool,
    operations: Sequence[Mapping[str, str]],
    split: str,
    count: int,
    seed: int,
) -> list[Prompt]:
    rng = random.Random(f"{principle.id}/{split}/{seed}/{look_alike}")
    # By service first, or the three services with hundreds of operations would be most of the prompts.
    services: dict[str, list[Mapping[str, str]]] = {}
    for one in operations:
        if OPERATION_KINDS[phrasings.operations](one["name"]):
            services.setdefault(one["service"], []).append(one)
    if not services and phrasings.operations != "none" and count:
        raise ConfigError(
            f"principle {principle.id}: the {split} services have no {phrasings.operations} operation; hold out other services"
        )
    names = sorted(services)
    texts: dict[str, str] = {}
    for _ in range(50 * count):
        if len(texts) == count:
            break
        operation: Mapping[str, str] | None = rng.choice(services[rng.choice(names)]) if names else None
        text = rng.choice(phrasings.train if split == "train" else phrasings.test)
        for slot, values in principle.slots.items():
            if f"{{{slot}}}" in text:
                text = text.replace(f"{{{slot}}}", rng.choice(values[split]))
        if operation:
            if "{goal}" in text and not operation["goal"]:
                continue
            text = (
                text.replace("{goal}", operation["goal"])
                .replace("{name}", operation["name"])
                .replace("{service}", operation["service_title"])
            )
        texts.setdefault(_tidy(text), operation["service"] if operation else "")
    kind = "alike" if look_alike else "plain"
    return [
        Prompt(text, look_alike, f"{principle.id}/{split}/{kind}/{number}", service)
        for number, (text, service) in enumerate(texts.items())
    ]


def _tidy(text: str) -> str:
    """A capital at the start of each sentence and "an" before a vowel: phrasings do not know what fills them."""
    text = re.sub(r"\b([Aa]) (?=[aeioAEIO])", r"\1n ", text)
    return re.sub(r"(^|[.!?] )([a-z])", lambda match: match.group(1) + match.group(2).upper(), text)
