"""`tenet sky check` passes what stands in sky/, and catches each way in which a file can be wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tenet.cli.main import flags_of, main
from tenet.errors import ConfigError
from tenet.launch import words
from tenet.launch.check import Given, check_all, check_file

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "sky").glob("*.yaml"))
#: What is wrong -> text of a file, what takes its place, what the error says.
MUTANTS: dict[str, tuple[str, str, str]] = {
    "a wrong key": ("workdir: .", "workdirs: .", "workdir"),
    "a key twice": ("workdir: .", "workdir: .\nworkdir: .", "uplicate"),
    "no such preset": ("PRESET: 160m ", "PRESET: 161m ", "161m"),
    "broken bash": ('source "$VENV/bin/activate"', 'source "$VENV/bin/activate', "run: bash"),
    "a renamed flag": ('--preset "$PRESET"', '--size "$PRESET"', "has no --size"),
    "no such command": ("report|serve", "repeat", "`tenet repeat` is not a command"),
    "no such script": ("sky/setup.sh", "sky/start.sh", "sky/start.sh"),
    "errors passed over": ("set -euo pipefail\n  ", "", "begin with `set -euo pipefail`"),
    "a secret": ("VENV: .venv", "VENV: hf_" + "a" * 30, "a secret is written"),
    "a secret among the envs": ("  RUN: null", "  MY_TOKEN: null\n  RUN: null", "envs.MY_TOKEN: belongs under secrets"),
    "several nodes on a bucket": ("workdir: .", "workdir: .\nnum_nodes: 2", "a bucket; several nodes need LUSTRE"),
    "Lustre beside the folder of runs": ('  LUSTRE: ""', "  LUSTRE: fs@tcp:/a", "give RUNS=/fsx/checkpoints"),
    "not YAML": ("envs:", "envs: [", "not YAML"),
}


def errors(path: Path, text: str, tmp_path: Path) -> str:
    """What the check says of a text in place of a file."""
    changed = tmp_path / path.name
    changed.write_text(text)
    return "\n".join(check_file(changed, ROOT).errors)


def test_all_files_pass_and_machines_are_chosen(sky: ModuleType) -> None:
    said: list[str] = []
    found = {one.path.stem: one for one in check_all([], ROOT, said.append)}
    assert set(found) == {path.stem for path in FILES} and len(said) == len(FILES)
    assert found["pretrain"].rents == ["1 x p5.48xlarge spot"]
    assert found["corpus"].rents == ["1 x c6i.16xlarge spot"]
    assert found["service"].rents == ["1 x g5.xlarge spot"]
    assert found["deploy"].needs == [
        "RUN", "RUNS_BUCKET", "WEIGHTS_BUCKET", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    ]  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(sky: ModuleType, path: Path, name: str, tmp_path: Path) -> None:
    old, new, message = MUTANTS[name]
    if name == "no such command":
        old, new = ("tenet serve", "tenet repeat") if path.stem == "service" else ("tenet report", "tenet repeat")
    if name == "several nodes on a bucket" and "\nnum_nodes: 1\n" in path.read_text():
        old, new = "num_nodes: 1", "num_nodes: 2"
    head, run = path.read_text().split("\nsetup:", 1)  # comments above are no part of what runs
    assert old in head or old in run, f"{path.name} has no {old!r}"
    changed = f"{head.replace(old, new, 1)}\nsetup:{run}" if old not in run else f"{head}\nsetup:{run.replace(old, new, 1)}"
    assert message in errors(path, changed, tmp_path)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("--env RUN=", "--env RUNN=", "--env RUNN: {file} has"),
        (" --env RUN=", " --environment RUN=", "has no --environment"),
        ("launch   sky ", "launch   sky please ", "`sky please` is not a command"),
        ("   cost     ", "   cost     tenet plan --size 1; ", "`tenet plan` has no --size"),
        ("output checkpoints_bucket", "output checkpoint_bucket", "exports no checkpoint_bucket"),
        ("   stop ", "   stop     make stop; ", "the Makefile has no stop"),
    ],
)
def test_the_head_tells_commands_that_exist(sky: ModuleType, path: Path, old: str, new: str, message: str) -> None:
    head = path.read_text().split("\nname:")[0]
    assert old in head
    told = words.commands_of_head(head.replace(old, new, 1))
    assert message.format(file=path.name) in "\n".join(problem for line in told for problem in words.wrong(line, ROOT))


def test_the_check_reads_the_head(sky: ModuleType, tmp_path: Path) -> None:
    text = (ROOT / "sky" / "rlhf.yaml").read_text().replace("--env RUN=", "--env RUNN=", 1)
    assert "head: --env RUNN: rlhf.yaml has" in errors(Path("rlhf.yaml"), text, tmp_path)


def test_a_launch_is_checked_with_the_words_that_it_would_be_given(sky: ModuleType, tmp_path: Path) -> None:
    pretrain = ROOT / "sky" / "pretrain.yaml"
    file = tmp_path / "first.env"
    file.write_text("# of the stack\nexport RUN=first\nRUNS_BUCKET='b'\nLUSTRE=fs@tcp:/a\nRUNS=/fsx/checkpoints\nPRESET=8b\n")
    found = check_file(pretrain, ROOT, Given.read(32, [], file))
    assert not found.errors and found.rents == ["32 x p5.48xlarge spot"] and not found.needs
    for nodes, pairs, message in (
        (32, ["RUNS=/runs"], "give RUNS=/fsx/checkpoints"),
        (32, ["LUSTRE=", "RUNS=/runs"], "num_nodes is 32 and envs.RUNS is /runs, a bucket"),
        (16, [], "8b on 16 nodes: parallel.shard x replicate is 64 x 4 and 128 processes were started; start 256"),
        (32, ["PRESET=9b"], "--preset 9b: no such preset"),
        (32, ["SIZE=8b"], "--env SIZE: the file has INSTANCE, LUSTRE"),
    ):
        assert message in "\n".join(check_file(pretrain, ROOT, Given.read(nodes, pairs, file)).errors)
    assert "tenet sky pipeline --num-nodes 2" in "\n".join(check_file(ROOT / "sky" / "pipeline.yaml", ROOT, Given(2)).errors)
    for nodes, pairs, file_, message in ((-1, [], None, "--num-nodes is -1"), (1, ["RUN"], None, "'RUN' is not NAME=VALUE")):
        with pytest.raises(ConfigError, match=message):
            Given.read(nodes, pairs, file_)
    with pytest.raises(ConfigError, match="there is no such file"):
        Given.read(1, [], tmp_path / "none.env")


@pytest.mark.parametrize("path", [path for path in FILES if "accelerators" in path.read_text()], ids=lambda path: path.stem)
def test_machines_that_nobody_sells(sky: ModuleType, path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    for sold in ("H100:8", "L40S:1", "A10G:1"):
        text = text.replace(f'"{sold}"', '"H100:3"')
    said = errors(path, text, tmp_path)
    assert "H100" in said and "Try one of these" in said, said


@pytest.mark.parametrize("path", [path for path in FILES if "\nsecrets:" in path.read_text()], ids=lambda path: path.stem)
def test_literal_secrets(sky: ModuleType, path: Path, tmp_path: Path) -> None:
    head, body = path.read_text().split("\nsecrets:\n", 1)
    said = errors(path, f"{head}\nsecrets:\n{body.replace(': null', ': swordfish', 1)}", tmp_path)
    assert "its value is written in the file" in said and "swordfish" not in said


def test_a_flag_that_is_renamed_in_the_command_line_fails_the_files(
    sky: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = flags_of("corpus")
    assert known is not None and {"--preset", "--run", "--executor", "--workers"} <= known
    monkeypatch.setattr(words, "flags_of", lambda command: known - {"--workers"})
    assert "`tenet corpus` has no --workers" in "\n".join(check_file(ROOT / "sky" / "corpus.yaml", ROOT).errors)


def test_an_instance_that_is_not_what_skypilot_takes(sky: ModuleType, tmp_path: Path) -> None:
    text = (
        (ROOT / "sky" / "pretrain.yaml")
        .read_text()
        .replace('"H100:8", cpus: 188+, memory: 1904+', '"A100:8", cpus: 94+, memory: 1071+')
    )
    assert "envs.INSTANCE is p5.48xlarge and SkyPilot takes p4d.24xlarge" in errors(Path("pretrain.yaml"), text, tmp_path)


@pytest.mark.parametrize("path", [path for path in FILES if "accelerators" in path.read_text()], ids=lambda path: path.stem)
def test_a_pod_that_would_get_a_sixth_of_its_machine(sky: ModuleType, path: Path, tmp_path: Path) -> None:
    text = path.read_text()
    for row in ("cpus: 188+, memory: 1904+, ", "cpus: 3+, memory: 29+, "):
        text = text.replace(row, "", 1)
    said = errors(path, text, tmp_path)
    assert "with cpus no number and memory no number; write cpus: " in said and ", what " in said


def test_the_command_names_the_files_that_are_wrong(
    sky: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    wrong = tmp_path / "finetune.yaml"
    wrong.write_text((ROOT / "sky" / "finetune.yaml").read_text().replace("name: finetune", "name: tune"))
    assert main(["sky", "check", str(wrong), str(ROOT / "sky" / "reward.yaml")]) == 2
    said = capsys.readouterr()
    assert "FAIL finetune.yaml" in said.out and "name is 'tune'" in said.out and "ok   reward.yaml" in said.out
    assert "1 of 2 launch files are wrong: finetune.yaml" in said.err
    with pytest.raises(ConfigError, match="no launch file"):
        check_all([], tmp_path, print)


def test_help_and_check_stay_light() -> None:
    """Neither torch nor SkyPilot is loaded before it is needed."""
    script = (
        "import sys; from tenet.cli.main import main; main(['--help']); import tenet.launch.check, tenet.launch.variants; "
        "assert not {'torch', 'lightning', 'transformers', 'sky', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd="/", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_fault_leaves_the_tracebacks_of_everything_after(tmp_path: Path) -> None:
    before, after, said = MUTANTS["a wrong key"]
    assert said in errors(FILES[0], FILES[0].read_text().replace(before, after, 1), tmp_path)
    assert getattr(sys, "tracebacklimit", 1000) != 0
