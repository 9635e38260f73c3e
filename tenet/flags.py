"""Flags as people type them: dashes in names, `--chat` and `--no-chat`, a list as the same flag again. Settings have
Python's names.

Both spellings are taken everywhere (`--max-concurrency` and `--max_concurrency`, `--optim.muon-lr`); the help shows the
one with dashes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

#: What `--domain` is where it is not given: launch files hand their subject to every stage by it.
DOMAIN_VARIABLE = "TENET_DOMAIN"
#: Flag that may be given several times -> the setting that takes the list.
REPEATED = {"alias": "aliases"}


def named_domain(given: str | None) -> str | None:
    """The subject that the command line or, where that is silent, the environment names; None where neither does."""
    return given if given is not None else os.environ.get(DOMAIN_VARIABLE) or None


def settings_flags(words: Sequence[str], settings: type) -> list[str]:
    """The same words with the names of settings in place of flags.

    Args:
        words: of the command line.
        settings: the stage's config class.

    Returns:
        `--max_concurrency 4` for `--max-concurrency 4`, `--chat true` for `--chat`, `--chat false` for `--no-chat`,
        `--aliases ["a", "b"]` for `--alias a --alias b`, and dashes in flags that are no settings.
    """
    kinds = field_types(settings)
    plain: list[str] = []
    lists: dict[str, list[str]] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--"):
            plain.append(word)
        elif REPEATED.get(name) in kinds:
            lists.setdefault(REPEATED[name], []).append(value if equals else rest.pop(0) if rest else "")
        elif name in kinds:
            plain.append(f"--{name}{equals}{value}")
            if kinds[name] is bool and not equals and (not rest or rest[0].lower() not in ("true", "false")):
                plain.append("true")
        elif name.startswith("no_") and kinds.get(name.removeprefix("no_")) is bool and not equals:
            plain += [f"--{name.removeprefix('no_')}", "false"]
        elif name == "print_config":  # jsonargparse's own
            plain.append(f"--{name}{equals}{value}")
        else:
            plain.append(dashed(word))
    for name, values in lists.items():
        plain += [f"--{name}", json.dumps(values)]
    return plain


def dashed(word: str) -> str:
    """`--max-tokens=a_b` for `--max_tokens=a_b`; what is no flag stays as it is."""
    flag, equals, value = word.partition("=")
    return f"{flag.replace('_', '-')}{equals}{value}" if re.fullmatch(r"--[a-z][\w-]*", flag) else word


def field_types(settings: type, prefix: str = "") -> Mapping[str, Any]:
    """Dotted name -> type of every setting, those of nested sections included."""
    found: dict[str, Any] = {}
    hints = typing.get_type_hints(settings)
    for field in dataclasses.fields(settings):
        kind = hints[field.name]
        found[prefix + field.name] = kind
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            found |= field_types(kind, f"{prefix}{field.name}.")
    return found


def help_formatter() -> type[argparse.HelpFormatter]:
    """jsonargparse's own, which shows defaults and types, with line breaks of the description kept, dashes in names
    and switches as `--chat, --no-chat`."""
    import jsonargparse

    def typed(shown: str, actions: Iterable[argparse.Action], between: str) -> str:
        for action in actions:
            for option in action.option_strings:
                dashed = option.replace("_", "-")
                shown = shown.replace(f"{option} {{true,false}}", f"{dashed}{between}--no-{dashed[2:]}")
                shown = re.sub(rf"(?<![\w-]){re.escape(option)}(?![\w.-])", dashed, shown)
        return shown

    class Formatter(jsonargparse.DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
        def _format_action_invocation(self, action: argparse.Action) -> str:
            return typed(super()._format_action_invocation(action), [action], ", ")

        def _format_usage(self, usage: Any, actions: Iterable[argparse.Action], groups: Any, prefix: Any) -> str:
            listed = list(actions)
            return typed(super()._format_usage(usage, listed, groups, prefix), listed, " | ")

    return Formatter
