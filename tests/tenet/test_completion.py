"""`tenet completion`: what the tabulator offers in a real bash and a real zsh, and that no command or setting is missing."""

from __future__ import annotations

import argparse
import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from tenet.cli.commands import COMMANDS
from tenet.cli.completion import SHELLS, whole_parser
from tenet.cli.main import main
from tenet.flags import field_types
from tenet.pipeline.table import STAGES

#: Typed words -> what is offered, exactly.
TYPED = {
    "se": "serve",
    "completion ": "bash zsh",
    "serve --ch": "--chat",
    "serve --max-c": "--max-concurrency",
    "serve --no-ch": "--no-chat",
    "serve --ali": "--aliases --alias",
    "serve --engine op": "openvino",
    "serve --preset ti": "tiny",
    "corpus inspect --fi": "--find --filter",
    "feedback ex": "export",
    "pretrain --optim.muon": "--optim.muon-lr",
    "deploy --sta": "--stack",
    "sky kub": "kubernetes",
    "show note": "notes",
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one script a shell, and a folder that can be named."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "notes").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for shell in SHELLS:
            said: list[str] = []
            patch.setattr("builtins.print", said.append)
            assert main(["completion", shell]) == 0
            (folder / ("_tenet" if shell == "zsh" else "tenet")).write_text("\n".join(said) + "\n")
    return folder


def inner(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return next(action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction))  # type: ignore[return-value]


def test_every_command_and_setting_is_there() -> None:
    commands = inner(whole_parser())
    assert set(commands) == {*STAGES, *COMMANDS, "completion"}
    for name, stage in STAGES.items():
        known = set(commands[name]._option_string_actions)
        assert {f"--{setting.replace('_', '-')}" for setting in field_types(stage.settings)} <= known, name
    assert "--endpoint" in commands["redteam"]._option_string_actions, "without a run, too"
    assert argparse.ArgumentParser().parse_args([]) == argparse.Namespace(), "parsers read words again"


def test_bash_offers_what_fits(scripts: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not installed")
    lines = ["source tenet"]
    for typed in TYPED:
        *before, last = ["tenet", *typed.split(" ")]
        lines.append(f"COMP_WORDS=({' '.join(before)} '{last}'); COMP_CWORD={len(before)}; COMPREPLY=()")
        lines.append(f"_shtab_tenet tenet '{last}' {before[-1]}; echo ${{COMPREPLY[*]}}")
    done = subprocess.run([bash, "--norc", "-c", "\n".join(lines)], cwd=scripts, capture_output=True, text=True, check=True)
    assert dict(zip(TYPED, done.stdout.splitlines(), strict=True)) == TYPED and not done.stderr


def test_zsh_completes_in_a_terminal(scripts: Path) -> None:
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("zsh is not installed")
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(scripts), "PS1": "> "}
    with subprocess.Popen([zsh, "-f", "-i"], cwd=scripts, env=environment, stdin=theirs, stdout=theirs, stderr=theirs) as shell:
        os.close(theirs)

        def type_in(keys: str, wanted: str) -> None:
            os.write(ours, keys.encode())
            seen, end = "", time.monotonic() + 20
            while wanted not in seen and time.monotonic() < end:
                if select.select([ours], [], [], 1)[0]:
                    seen += os.read(ours, 4096).decode(errors="replace")
            assert wanted in seen, f"{keys!r}: {seen!r}"

        try:
            type_in(f"fpath=({scripts} $fpath); autoload -Uz compinit; compinit -u -D; echo re''ady\n", "ready\r")
            for typed, whole in (("serv", "serve "), ("serve --max-c", "--max-concurrency"), ("corpus insp", "inspect ")):
                type_in(f"tenet {typed}\t", whole)
                type_in("\x15echo do''ne\n", "done\r")
        finally:
            shell.kill()
            os.close(ours)


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fish"]) == 2 and "bash or zsh" in capsys.readouterr().err
    assert main(["completion", "--help"]) == 0 and "bash-completion" in capsys.readouterr().out
