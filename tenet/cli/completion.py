"""`tenet completion bash` and `zsh`: a script that completes commands, flags, choices and files.

shtab writes it out of one parser that holds all of them; that one is made of the very parsers which read the words, each
stopped where it would begin to. A script answers the tabulator by itself, without starting Python.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from tenet.errors import ConfigError
from tenet.flags import REPEATED, field_types

SHELLS = ("bash", "zsh")
HELP = """usage: tenet completion bash|zsh

bash   tenet completion bash > ~/.local/share/bash-completion/completions/tenet
zsh    tenet completion zsh > ~/.zfunc/_tenet      with `fpath+=(~/.zfunc); autoload -Uz compinit; compinit` in ~/.zshrc
now    eval "$(tenet completion bash)"             in this shell alone

Write it anew after an update: it holds the flags of this version."""


def completion_command(words: Sequence[str]) -> int:
    """Print the script of a shell.

    Raises:
        ConfigError: no shell of these.
    """
    if list(words) in (["-h"], ["--help"]):
        print(HELP)
        return 0
    if len(words) != 1 or words[0] not in SHELLS:
        raise ConfigError(f"tenet completion {' '.join(words)}: name one shell, {' or '.join(SHELLS)}; --help says where it goes")
    import shtab

    print(shtab.complete(whole_parser(), shell=words[0], root_prefix="tenet"))
    return 0


@cache
def whole_parser() -> argparse.ArgumentParser:
    """Every command below one parser, for completion alone: it reads nothing."""
    from tenet.cli.answers.feedback import feedback_command
    from tenet.cli.commands import COMMANDS, release_command
    from tenet.cli.corpus.corpus_tools import corpus_command
    from tenet.cli.evaluate_tools import evaluate_command
    from tenet.cli.redteam import probe_command
    from tenet.cli.stage import stage_parser
    from tenet.pipeline.table import STAGES
    from tenet.settings.preset import load_preset

    root = argparse.ArgumentParser("tenet", add_help=False)
    commands = root.add_subparsers()
    beside = {"corpus": corpus_command, "redteam": probe_command, "deploy": release_command, "evaluate": evaluate_command}
    preset = load_preset("tiny")
    for name, stage in STAGES.items():
        made = commands.add_parser(name, help=_plain(stage.about), add_help=False)
        _take(made, stage_parser(stage, preset, "tiny"), field_types(stage.settings))
        if name in beside:
            _take(made, _reached(beside[name], []))
    for name, command in COMMANDS.items():
        parser = _reached(command, [])
        made = commands.add_parser(name, help=_plain(parser.description), add_help=False)
        _take(made, parser)
        if name == "feedback":
            words = made.add_subparsers()
            for word in ("report", "export"):
                _take(words.add_parser(word, add_help=False), _reached(feedback_command, [word]))
    shells = commands.add_parser("completion", help="a script that completes these words in bash or zsh", add_help=False)
    shells.add_argument("shell", choices=SHELLS)
    return root


class _ReachedError(Exception):
    """Holds the parser that was about to read."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def _reached(command: Callable[[list[str]], int], words: list[str]) -> argparse.ArgumentParser:
    """The parser of a command, which is let run up to where it reads its words."""
    with _stopped():
        try:
            command(words)
        except _ReachedError as reached:
            return reached.parser
    raise AssertionError(f"{command.__name__} reads no words")


@contextlib.contextmanager
def _stopped() -> Iterator[None]:
    before = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, *_: Any, **__: Any) -> Any:
        raise _ReachedError(self)

    argparse.ArgumentParser.parse_args = stop  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        argparse.ArgumentParser.parse_args = before  # type: ignore[method-assign]


def _take(target: argparse.ArgumentParser, source: argparse.ArgumentParser, kinds: Any = None) -> None:
    """The flags, words and inner commands of a parser, as people type them."""
    kinds = kinds or {}
    for action in source._actions:
        if isinstance(action, argparse._SubParsersAction):
            inner = target.add_subparsers()
            for name, parser in action.choices.items():
                _take(inner.add_parser(name, help=_plain(parser.description), add_help=False), parser)
        elif action.help is not argparse.SUPPRESS:
            _take_one(target, action, kinds.get(action.dest))


def _take_one(target: argparse.ArgumentParser, action: argparse.Action, kind: Any) -> None:
    flags = [flag.replace("_", "-") for flag in action.option_strings]
    flags += [f"--{word}" for word, setting in REPEATED.items() if setting == action.dest]
    flags = [flag for flag in flags if flag not in target._option_string_actions]
    about = _plain(action.help)
    if not action.option_strings:
        _completed(target.add_argument(action.dest, nargs="*", help=about), action, kind)
    elif kind is bool:
        for flag in (*flags, *(f"--no-{flag[2:]}" for flag in flags)):
            target.add_argument(flag, action="store_true", help=about)
    elif flags and action.nargs == 0:
        target.add_argument(*flags, action="store_true", dest=action.dest, help=about)
    elif flags:
        _completed(target.add_argument(*flags, dest=action.dest, help=about), action, kind)


def _completed(made: argparse.Action, action: argparse.Action, kind: Any) -> None:
    """What may follow: choices where they are known, nothing for a number, else files."""
    import shtab

    if action.choices and not isinstance(action.choices, dict):
        made.choices = [str(choice) for choice in action.choices]
    elif found := _choices(action.dest):
        made.choices = found
    elif not {kind, action.type} & {int, float}:
        made.complete = shtab.FILE  # type: ignore[attr-defined]


def _choices(name: str) -> list[str]:
    """Of flags that take a name or a path, the names."""
    from tenet.serving.engines.factory import NAMES
    from tenet.settings.preset import PRESETS

    known = {"preset": lambda: sorted(path.stem for path in PRESETS.glob("*.yaml")), "engine": lambda: list(NAMES)}
    return known[name]() if name in known else []


def _plain(text: str | None) -> str:
    """The first sentence, without what argparse or a shell would read as its own."""
    line = " ".join((text or "").partition("\n\n")[0].split()).partition(". ")[0]
    return "".join(letter for letter in line if letter not in "%`$\"'\\")
