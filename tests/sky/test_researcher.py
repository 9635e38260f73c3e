"""What docs/researcher.md tells a person to type exists: commands, flags, targets, files and modules."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
from pathlib import Path
from types import ModuleType

import pytest

from tenet.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "researcher.md").read_text()
#: What is typed: indented lines up to their comment, and words between backticks.
TYPED = [line.split(" #")[0].strip() for line in PAGE.splitlines() if line.startswith("    ")] + re.findall(r"`([^`\n]+)`", PAGE)
FLAG = re.compile(r"(?<=\s)--[a-z][\w-]*")
#: A command of ours, with the word after `sky`, which is a command of its own.
TENET = re.compile(r"(?:\btenet|-m tenet\.cli) ((?:sky )?[a-z]+)([^|;`]*)")


def flags(words: list[str]) -> set[str] | None:
    """What a command's help lists; None where there is no such command."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
        if main([*words, "--help"]) != 0:
            return None
    return set(re.findall(r"--[a-z][\w-]*", shown.getvalue()))


def test_commands_of_ours_have_their_flags() -> None:
    found = [call for text in TYPED for call in TENET.findall(text)]
    assert len(found) >= 6, "the page names no commands any more?"
    for command, words in found:
        known = flags(command.split())
        assert known is not None, f"`tenet {command}` is not a command"
        assert set(FLAG.findall(words)) <= known, f"`tenet {command}`: {set(FLAG.findall(words)) - known}"


def test_launch_words_are_skypilots(sky: ModuleType) -> None:
    import click
    from sky.client.cli.command import cli

    found = [re.sub(r"\$WHERE", "--env A", text) for text in TYPED if text.startswith("sky ")]
    assert any(text.startswith("sky jobs launch") for text in found)
    for text in found:
        words, command = text.split()[1:], cli
        while isinstance(command, click.Group) and words:
            nested = command.get_command(click.Context(command), words.pop(0))
            assert nested is not None, f"SkyPilot has no `{text}`"
            command = nested
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(FLAG.findall(text)) <= known, f"`{text}`: {set(FLAG.findall(text)) - known}"


def test_files_targets_and_modules_are_there() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for text in TYPED:
        for target in re.findall(r"^make ([a-z-]+)", text):
            assert target in targets, f"`make {target}`"
        for name in re.findall(r"\b(?:sky|presets|tenet)/[\w-]+\.\w+", text):
            # The copy that the reader is told to make is the page's own.
            assert (ROOT / name).is_file() or f"cp presets/8b.yaml {name}" in PAGE, name
        for module in re.findall(r"-m (tenet[\w.]*)", text):
            assert importlib.util.find_spec(module) is not None, module
    assert all((ROOT / "docs" / name).is_file() for name in re.findall(r"\]\(([\w.]+\.md)\)", PAGE))


def test_no_gap_was_left_to_fill() -> None:
    assert not re.search(r"^[A-Z_]{6,}$|TODO|TBD", PAGE, re.MULTILINE)


@pytest.mark.parametrize("env", sorted(set(re.findall(r"--env ([A-Z_]+)=", PAGE))))
def test_envs_that_are_given_are_the_files(env: str) -> None:
    assert re.search(rf"^  {env}: ", (ROOT / "sky" / "pretrain.yaml").read_text(), re.MULTILINE), env
