"""`tenet serve` takes the flags that people type (--model-id, --alias, --chat); its settings have Python's names."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from tenet.settings.serving import ServeConfig


def plain_flags(words: Sequence[str]) -> list[str]:
    """The same words with names of settings in place of flags, aliases as one list, `--chat` as `--chat true` and `--no-chat` as
    `--chat false`.
    """
    names = {field.name: field.type for field in dataclasses.fields(ServeConfig)}
    plain: list[str] = []
    aliases: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if flag == "--alias":
            aliases.append(value if equals else rest.pop(0) if rest else "")
        elif flag.startswith("--") and name in names:
            plain.append(f"--{name}{equals}{value}")
            if names[name] == "bool" and not equals and (not rest or rest[0].lower() not in ("true", "false")):
                plain.append("true")
        elif flag.startswith("--no-") and names.get(name.removeprefix("no_")) == "bool" and not equals:
            plain += [f"--{name.removeprefix('no_')}", "false"]
        else:
            plain.append(word)
    return [*plain, "--aliases", json.dumps(aliases)] if aliases else plain
