"""What docs/researcher.md tells a person to type exists and fits together: commands, flags, targets, files, outputs,
and the preset that it makes."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tenet.launch.check import Given, check_file
from tenet.launch.words import commands_of_head, commands_of_page, wrong
from tenet.settings.preset import load_preset

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "researcher.md").read_text()
TYPED = commands_of_page(PAGE)


def test_every_command_of_the_page_exists(sky: ModuleType) -> None:
    for start in ("make ", "tenet sky check", "tenet sky pipeline", "sky jobs launch sky/pretrain.yaml", "pulumi stack output"):
        assert any(line.startswith(start) for line in TYPED), f"the page tells nobody to type {start!r} any more?"
    assert [problem for line in TYPED for problem in wrong(line, ROOT)] == []


@pytest.mark.parametrize("page", ["README.md", "docs/infra.md", "docs/scale.md", "docs/analyst.md", "CONTRIBUTING.md"])
def test_other_pages_tell_commands_that_exist(sky: ModuleType, page: str) -> None:
    assert [problem for line in commands_of_page((ROOT / page).read_text()) for problem in wrong(line, ROOT)] == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tenet sky chekc", "`tenet sky chekc` is not a command"),
        ("cd x && .venv/bin/tenet plan --presets 8b  # what it costs", "`tenet plan` has no --presets"),
        ("python -m tenet.torchrun --nproc-per-node 2 -m tenet.cli netcheck --biggest 64", "`tenet netcheck` has no --biggest"),
        ("python -m tenet.torchrun --nproc-per-gpu 2 -m tenet.cli netcheck", "tenet.torchrun has no --nproc-per-gpu"),
        ("make lunch PRESET=tiny", "the Makefile has no lunch"),
        ("sky jobs lunch sky/pretrain.yaml", "`sky jobs lunch` is not a command"),
        ("sky jobs launch sky/pretrain.yaml --nodes 16", "`sky jobs launch` has no --nodes"),
        ("sky jobs launch sky/pretrian.yaml", "there is no sky/pretrian.yaml"),
        ("sky jobs launch sky/pretrain.yaml --secret HF_TOKEN", "--secret HF_TOKEN: pretrain.yaml has none"),
        ('export BUCKET="$(pulumi stack output checkpoint_bucket)"', "infra/ exports no checkpoint_bucket"),
        ("tenet plan --preset 8c --cluster p5.48xlarge:16", "no such preset"),
    ],
)
def test_what_does_not_exist_is_told(sky: ModuleType, line: str, message: str) -> None:
    assert message in "\n".join(wrong(line, ROOT))
    assert wrong("git clone ... && cd tenet; ls --nonsense", ROOT) == []


def test_a_head_is_read_over_its_line_breaks() -> None:
    found = commands_of_head((ROOT / "sky" / "deploy.yaml").read_text())
    assert any("--env RUN=first" in line and "--secret AWS_SESSION_TOKEN" in line for line in found)


def test_the_page_from_its_preset_to_its_launch(sky: ModuleType, tmp_path: Path) -> None:
    """Its `sed` line makes a preset, its env file and its numbers of nodes pass the check."""
    (line,) = re.findall(r"^    (sed .*) > presets/8b-16.yaml$", PAGE, re.MULTILINE)
    preset = tmp_path / "8b-16.yaml"
    preset.write_text(subprocess.run(shlex.split(line), cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    pretrain = load_preset(str(preset)).pretrain
    assert pretrain.compute.nodes == 16 and pretrain.parallel.world == 128
    (written,) = re.findall(r"^    cat > first.env <<END\n(.*?)^    END$", PAGE, re.MULTILINE | re.DOTALL)
    file = tmp_path / "first.env"
    file.write_text(re.sub(r"\$\([^)]*\)", "x", "\n".join(row.strip() for row in written.splitlines())))
    (nodes,) = set(
        re.findall(r"^    tenet sky check sky/pretrain.yaml --env-file first.env --num-nodes (\d+)", PAGE, re.MULTILINE)
    )
    given = Given.read(int(nodes), [f"PRESET={preset}"], file)
    assert check_file(ROOT / "sky" / "pretrain.yaml", ROOT, given).errors == []
    assert check_file(ROOT / "sky" / "pretrain.yaml", ROOT, Given(8, given.envs)).errors != []


def test_files_and_modules_are_there() -> None:
    for name in re.findall(r"\b(?:sky|presets|tenet)/[\w-]+\.\w+", PAGE):
        assert (ROOT / name).is_file() or f"> {name}" in PAGE, name
    assert all((ROOT / "docs" / name).is_file() for name in re.findall(r"\]\(([\w.]+\.md)\)", PAGE))


def test_no_gap_was_left_to_fill() -> None:
    assert not re.search(r"^[A-Z_]{6,}$|TODO|TBD", PAGE, re.MULTILINE)
