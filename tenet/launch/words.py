"""Whether the commands that a text tells people to type exist: ours, make's and SkyPilot's, with their flags and what
they are given.

Heads of launch files and pages of docs/ are read as they are; words in capitals stand for what the reader puts there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tenet.errors import ConfigError

#: One command ends and another begins.
BETWEEN = re.compile(r"\|\|?|&&|;|\$\(|[()`]|(?:^|\s)#\s|\s{2,}#")
FLAG = re.compile(r"(?<!\S)--?[A-Za-z][\w-]*(?:\.[\w-]+)*")
#: What the head of a launch file says of itself: `#   launch   sky jobs launch ...`.
HEAD = re.compile(r"^#   (?:launch|watch|stop|back|cost) +(.+)$", re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")


def commands_of_head(text: str) -> list[str]:
    """Lines that the comment above a launch file tells people to type, and what stands between backticks there."""
    head = re.sub(r"\\\n#\s*", " ", text.split("\nname:")[0])
    return [*HEAD.findall(head), *INLINE.findall(head)]


def commands_of_page(text: str) -> list[str]:
    """Indented lines of a page, and what stands between backticks in it."""
    blocks = re.sub(r"\\\n\s*", " ", text)
    return [*re.findall(r"^    (\S.*)$", blocks, re.MULTILINE), *INLINE.findall(text)]


def wrong(command: str, root: Path) -> list[str]:
    """What a line of shell names that is not there.

    Args:
        command: one line; whatever in it is no call of ours, of make or of SkyPilot is passed over.
        root: folder of the repository.
    """
    problems = []
    for part in BETWEEN.split(command):
        words = [word.strip("\"'") for word in part.split()]
        while words and (re.fullmatch(r"[A-Z_]+=\S*", words[0]) or words[0] in ("export", "exec", "then", "do")):
            words.pop(0)
        problems += _call(words, root) if words else []
    return problems


def _call(words: list[str], root: Path) -> list[str]:
    name, rest = Path(words[0]).name, words[1:]
    if "tenet.cli" in rest:
        split = rest.index("tenet.cli")
        return _torchrun(rest[: split - 1]) + _ours(rest[split + 1 :])
    if words[0].endswith("/"):  # a folder
        return []
    if name == "tenet":
        return _ours(rest)
    if name == "make":
        return _make(rest, root)
    if [name, *rest[:2]] == ["pulumi", "stack", "output"]:
        return _output(rest[2:], root)
    return _skypilot(rest, root) if name == "sky" else []


def _ours(words: list[str]) -> list[str]:
    depth = 2 if words[:1] == ["sky"] else 1
    command = " ".join(words[:depth])
    if not re.fullmatch(r"[a-z][\w -]*", command):  # `tenet --help`, `tenet STAGE ...`
        return []
    # With a stack to deploy to it is another command, with flags of its own (tenet/cli/main.py).
    flags = flags_of(f"{command} --stack -" if command == "deploy" and "--stack" in words else command)
    if flags is None:
        return [f"`tenet {command}` is not a command; `tenet --help` lists them"]
    given = FLAG.findall(" ".join(words[depth:]))
    wrong = [f"`tenet {command}` has no {flag}; `tenet {command} --help` lists its flags" for flag in given if flag not in flags]
    return wrong + _preset(words)


def _preset(words: list[str]) -> list[str]:
    """A preset that is named; one that the text makes first has no file yet, and is known by the one that it is a copy
    of: 8b-16."""
    for name in [words[i + 1] for i, word in enumerate(words[:-1]) if word == "--preset"]:
        try:
            if re.fullmatch(r"[\w.-]+", name):
                preset(name.split("-")[0])
        except ConfigError as error:
            return [str(error)]
    return []


@cache
def preset(name: str) -> Any:
    """As `tenet.settings.preset.load_preset`, once for each: all files of sky/ name the same one, and reading it takes
    a quarter of a second.

    Raises:
        ConfigError: there is none, or it is wrong.
    """
    from tenet.settings.preset import load_preset

    return load_preset(name)


def _torchrun(words: list[str]) -> list[str]:
    if "tenet.torchrun" not in words:
        return []
    from torch.distributed.run import get_args_parser

    known = get_args_parser()._option_string_actions
    given = FLAG.findall(" ".join(words[words.index("tenet.torchrun") + 1 :]))
    return [f"tenet.torchrun has no {flag}" for flag in given if flag not in known]


#: What the command line takes; told by the floor above (`know`), which this one does not import.
_flags: Callable[[str], frozenset[str] | None] | None = None


def know(flags: Callable[[str], frozenset[str] | None]) -> None:
    """Say how the flags of a command of ours are looked up: `tenet.cli.main.flags_of`."""
    global _flags
    _flags = flags


def flags_of(command: str) -> frozenset[str] | None:
    """Flags that a command's own help shows; None where there is no such command."""
    if _flags is None:
        raise RuntimeError("nobody has said what the command line takes; call tenet.launch.words.know(tenet.cli.main.flags_of)")
    return _flags(command)


def _make(words: list[str], root: Path) -> list[str]:
    targets = re.findall(r"^([a-z][a-z-]*):", (root / "Makefile").read_text(), re.MULTILINE)
    asked = [word for word in words if re.fullmatch(r"[a-z][a-z-]*", word)]
    return [f"`make {word}`: the Makefile has no {word}; `make help` lists its targets" for word in asked if word not in targets]


def _output(words: list[str], root: Path) -> list[str]:
    """Outputs that the stack exports, by their name; those of buckets are made of the buckets' kinds."""
    program = "".join(path.read_text() for path in sorted((root / "infra").glob("*.py")))
    buckets = (root / "infra" / "ground" / "storage.py").read_text()
    asked = [word for word in words if re.fullmatch(r"[a-z][a-z_]*", word)]
    return [
        f"`pulumi stack output {word}`: infra/ exports no {word}"
        for word in asked
        if f'export("{word}"' not in program and f'"{word.removesuffix("_bucket")}"' not in buckets
    ]


def _skypilot(words: list[str], root: Path) -> list[str]:
    import click
    from sky.client.cli.command import cli

    command, called = cli, ["sky"]
    rest = list(words)
    while isinstance(command, click.Group) and rest:
        called.append(rest.pop(0))
        found = command.commands.get(called[-1])
        if found is None:
            return [f"`{' '.join(called)}` is not a command; `{' '.join(called[:-1])} --help` lists them"]
        command = found
    known = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    given = FLAG.findall(" ".join(rest))
    wrong = [f"`{' '.join(called)}` has no {flag}" for flag in given if flag not in known]
    return wrong + [problem for file in rest if file.startswith("sky/") for problem in _given(rest, root / file)]


def _given(words: list[str], file: Path) -> list[str]:
    """Values for a launch file, which must know their names."""
    if not file.is_file():
        return [f"there is no {file.parent.name}/{file.name}"]
    tasks = [task for task in yaml.safe_load_all(file.read_text()) if isinstance(task, dict)]
    wrong = []
    for kind, flag in (("envs", "--env"), ("secrets", "--secret")):
        known: set[Any] = {name for task in tasks for name in task.get(kind) or {}}
        names = [words[i + 1].split("=")[0] for i, word in enumerate(words[:-1]) if word == flag]
        wrong += [f"{flag} {name}: {file.name} has {', '.join(sorted(known)) or 'none'}" for name in names if name not in known]
    return wrong
