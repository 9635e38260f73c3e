"""The whole house at the size of a test: ten steps, killed and gone on with, refused where it must refuse."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from lightning_modules.config import ParallelConfig
from tenet.cli.main import main
from tenet.errors import ConfigError, StageError
from tenet.files import read_jsonl
from tenet.pipeline import run_stage, table
from tenet.runs.lineage import lineage, stages_of, verify
from tenet.runs.verify import verify_run
from tenet.settings.preset import load_preset
from tests.processes import free_port

#: Of a preset that names no pipeline.
STAGES = [name for name, stage in table.STAGES.items() if stage.usual]
PRESET = str(Path(__file__).resolve().parents[1] / "presets" / "smoke.yaml")
#: Nothing that a run starts may open a connection beyond loopback.
LOOPBACK_ONLY = str(Path(__file__).resolve().parents[1] / "loopback_only")
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "GOMP_SPINCOUNT": "1000",
    "GLOO_SOCKET_IFNAME": "lo",
    "PYTHONPATH": os.pathsep.join(filter(None, (LOOPBACK_ONLY, os.environ.get("PYTHONPATH")))),
}
COMMAND = [sys.executable, "-m", "tenet.cli", "run", "--preset", PRESET, "--no-reports", "--run"]


def models(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.glob("*/model/*")) if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run."""
    run = tmp_path_factory.mktemp("pipeline") / "whole"
    subprocess.run([*COMMAND, str(run)], env=ENVIRONMENT, check=True, timeout=280)
    return run


def test_every_stage_is_finished_and_its_files_are_what_it_says(whole: Path) -> None:
    assert set(stages_of(whole)) == set(STAGES)
    for name in STAGES:
        verify(whole / name)
        summary = json.loads((whole / name / "summary.json").read_text())
        assert summary["headline"] and summary["figures"][0]["name"]


def test_the_served_model_leads_back_to_licences(whole: Path) -> None:
    chain = lineage(whole, "serve")
    assert {link["stage"] for link in chain} >= {"serve", "deploy", "redteam", "pretrain", "corpus"}
    assert not any(link["broken_links"] for link in chain)
    card = json.loads((whole / "corpus" / "card.json").read_text())
    assert "Apache-2.0" in json.dumps(card["licences"])


def test_transformers_agree_with_every_model_folder(whole: Path) -> None:
    said: list[str] = []
    verify_run(whole, said.append)
    folders = [line for line in said if "transformers" in line]
    assert len(folders) >= 6 and all(line.startswith("ok") and "tokens equal" in line for line in folders)
    assert {stage for stage in STAGES if any(f"/{stage}/" in line for line in folders)} >= {
        "pretrain",
        "finetune",
        "rlhf",
        "redteam",
    }


def test_boto3_got_an_answer(whole: Path) -> None:
    assert json.loads((whole / "serve" / "transcript.json").read_text())


def test_a_finished_run_returns_at_once(whole: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in whole.glob("*/run.json")}
    for name in STAGES:
        run_stage(whole, name, PRESET)
    assert {p: p.stat().st_mtime_ns for p in whole.glob("*/run.json")} == before


def test_other_settings_are_refused_with_the_key_and_the_way_out(whole: Path) -> None:
    with pytest.raises(ConfigError, match=r"seed: 0 -> 1.*--fresh"):
        run_stage(whole, "finetune", PRESET, seed=1)


def test_the_guard_around_these_runs_refuses_other_machines() -> None:
    for code, refused in (
        ("import socket; socket.create_connection(('192.0.2.1', 80))", "refused"),
        ("import socket; socket.getaddrinfo('example.org', 80)", "refused"),
        ("import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())", ""),
    ):
        done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
        assert (refused in done.stderr and done.returncode == 1) if refused else done.returncode == 0, done.stderr


def at_work(run: Path, since: int) -> list[str]:
    """Stages that were started, or started again, after a time in nanoseconds."""
    return [p.parent.stem for p in run.glob("*.partial/started.json") if p.exists() and p.stat().st_mtime_ns >= since]


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("in_time")
def test_killed_anywhere_it_ends_with_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    run.mkdir()
    # The corpus has tests of its own for this (tests/tenet/corpus); its folder is taken over to spend the time on
    # training.
    shutil.copytree(whole / "corpus", run / "corpus")
    rng = random.Random(time.time_ns())
    hits = []
    # Three different stages in a random draw: left to the clock, every kill falls on the slow imports of the first one.
    training = ("pretrain", "finetune", "reward", "rlhf", "constitutional", "redteam", "evaluate")
    for stage in sorted(rng.sample(training, 3), key=training.index):
        begun = time.time_ns()
        process = subprocess.Popen([*COMMAND, str(run)], env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        while process.poll() is None and stage not in at_work(run, begun) and not (run / stage).exists():
            time.sleep(0.01)
        wait = round(rng.uniform(0.0, 0.8), 2)
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            found_at = at_work(run, begun)
            process.send_signal(signal.SIGKILL)
            process.wait()
            hits.append(f"{', '.join(found_at) or 'between stages'} ({wait} s after {stage} began)")
    print(f"killed {len(hits)} times: {'; '.join(hits)}")
    assert len(hits) == 3, f"the run was over too soon to be killed: {hits}"
    subprocess.run([*COMMAND, str(run)], env=ENVIRONMENT, check=True, timeout=280)
    expected, found = models(whole), models(run)
    assert expected.keys() == found.keys()
    differing = [name for name in expected if expected[name] != found[name]]
    assert not differing, f"killed {hits}: {differing} differ"


def test_sigterm_saves_and_exits_75(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "stopped"
    run.mkdir()
    for name in ("corpus", "model"):
        shutil.copytree(whole / name, run / name)
    command = [sys.executable, "-m", "tenet.cli", "pretrain", "--preset", PRESET, "--tokens", "4096000", "--run", str(run)]
    process = subprocess.Popen(command, env=ENVIRONMENT)
    for _ in range(400):
        if list(run.glob("pretrain.partial/checkpoints/*.sha256")):
            break
        time.sleep(0.1)
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    assert time.monotonic() - start < 30
    assert not (run / "pretrain").exists() and list(run.glob("pretrain.partial/checkpoints/*.ckpt"))


@pytest.mark.usefixtures("in_time")
def test_two_nodes_train_what_one_process_does(whole: Path, tmp_path: Path) -> None:
    """Stopped on one of them they both save and end with 75; one process goes on from there to the weights of an
    undisturbed run."""
    run = tmp_path / "nodes"
    run.mkdir()
    for name in ("corpus", "model"):
        shutil.copytree(whole / name, run / name)
    port, settings = str(free_port()), ["--checkpoint_every", "2"]
    nodes = [
        subprocess.Popen(
            [sys.executable, "-m", "tenet.torchrun", "--nnodes", "2", "--node-rank", rank, "--nproc-per-node", "1", "--master-addr", "127.0.0.1",
             "--master-port", port, "-m", "tenet.cli", "pretrain", "--preset", PRESET, "--run", str(run), *settings],
            env=ENVIRONMENT, stdout=subprocess.PIPE, text=True,
        )
        for rank in "01"
    ]  # fmt: skip
    try:
        while nodes[0].poll() is None and not list(run.glob("pretrain.partial/checkpoints/*.sha256")):
            time.sleep(0.01)
        nodes[1].send_signal(signal.SIGTERM)
        said = [node.communicate(timeout=150)[0] for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    assert [node.returncode for node in nodes] == [75, 75]
    assert "[4 pretrain] started" in said[0] and not said[1]
    stopped = max(int(p.stem.removeprefix("step-")) for p in run.glob("pretrain.partial/checkpoints/*.sha256"))
    assert 0 < stopped < 40
    subprocess.run(
        [sys.executable, "-m", "tenet.cli", "pretrain", "--preset", PRESET, "--run", str(run), *settings],
        env=ENVIRONMENT,
        check=True,
    )
    one, two = (load_file(folder / "pretrain" / "model" / "model.safetensors") for folder in (whole, run))
    assert max(float((one[k] - two[k]).norm() / one[k].norm()) for k in one) < 1e-5
    assert json.loads((run / "pretrain" / "run.json").read_text())["attempts"] == 2


@pytest.mark.parametrize(
    ("parallel", "words"),
    [
        (ParallelConfig(tensor=2), r"parallel\.tensor is 2.*--parallel\.shard 2"),
        (ParallelConfig(context=2), r"parallel\.context is 2"),
        (ParallelConfig(replicate=8), r"1 x 8 and 1 processes.*start 8"),
        (ParallelConfig(shard=4), r"4 x 1 and 1 processes.*a multiple of 4"),
    ],
)
def test_a_cut_that_is_not_built_or_not_started_is_refused(
    whole: Path, tmp_path: Path, parallel: ParallelConfig, words: str
) -> None:
    for name in ("corpus", "model"):
        (tmp_path / name).symlink_to(whole / name)
    settings = dataclasses.replace(load_preset(PRESET).pretrain, parallel=parallel)
    with pytest.raises(ConfigError, match=words):
        run_stage(tmp_path, "pretrain", PRESET, settings=settings)
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_changed_weight_is_noticed(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "changed"
    shutil.copytree(whole, run)
    for name in ("finetune", "reward", "rlhf", "constitutional", "redteam", "evaluate", "deploy", "serve"):
        shutil.rmtree(run / name)
    weights = run / "pretrain" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(StageError, match=r"model\.safetensors.*--fresh"):
        run_stage(run, "finetune", PRESET)
    assert not (run / "finetune").exists()
    said: list[str] = []
    with pytest.raises(StageError, match="checks failed"):
        verify_run(run, said.append)
    assert any(line.startswith("FAILED") and "model.safetensors" in line for line in said)


def test_a_cut_shard_is_noticed(whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "cut"
    run.mkdir()
    for name in ("corpus", "model"):
        shutil.copytree(whole / name, run / name)
    shard = run / "corpus" / "tokens" / "train.ds"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(StageError, match=r"train\.ds"):
        run_stage(run, "pretrain", PRESET)


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tenet corpus --run"):
        run_stage(tmp_path, "model", PRESET)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_disk_loses_nothing(whole: Path, tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(mount)], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    try:
        for name in ("corpus", "model"):
            (mount / name).symlink_to(whole / name)
        with pytest.raises(StageError, match="space"):
            run_stage(mount, "pretrain", PRESET)
        assert not (mount / "pretrain").exists()
        subprocess.run(["mount", "-o", "remount,size=50m", str(mount)], check=True)
        run_stage(mount, "pretrain", PRESET)
        assert (mount / "pretrain" / "model" / "model.safetensors").read_bytes() == (
            whole / "pretrain" / "model" / "model.safetensors"
        ).read_bytes()
    finally:
        subprocess.run(["umount", str(mount)], check=False)


@pytest.mark.usefixtures("in_time")
def test_a_preset_may_name_its_own_pipeline(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SFT > DPO > evaluate > serve: a list in the preset, each stage starts from the one before."""
    text = Path(PRESET).read_text()
    dpo = "dpo: {steps: 4, batch_pairs: 4, eval_rows: 10, checkpoint_every: 2, compute: {accelerator: cpu, threads: 1}}\n"
    order = "pipeline: [corpus, model, pretrain, finetune, dpo, reward, evaluate, deploy, serve]\n"
    preset = tmp_path / "mine.yaml"
    preset.write_text(f"{order}{dpo}{text}")
    run = tmp_path / "run"
    for name in ("corpus", "model", "pretrain", "finetune"):  # made from the same settings
        shutil.copytree(whole / name, run / name)
    assert main(["run", "--preset", str(preset), "--run", str(run), "--no-reports"]) == 0
    assert set(stages_of(run)) == {"corpus", "model", "pretrain", "finetune", "dpo", "reward", "evaluate", "deploy", "serve"}
    assert set(json.loads((run / "dpo" / "run.json").read_text())["inputs"]) == {"corpus", "finetune"}
    assert json.loads((run / "deploy" / "deployment.json").read_text())["chosen"] == "dpo"
    summary = json.loads((run / "evaluate" / "summary.json").read_text())
    assert list(summary["models"]) == ["pretrain", "finetune", "dpo"]
    rows = read_jsonl(run / "dpo" / "rows.jsonl")
    assert len(rows) == 10 and {row["right"] for row in rows} <= {0.0, 0.5, 1.0}
    pairs, out = tmp_path / "pairs.jsonl", tmp_path / "scores.jsonl"
    pairs.write_text(
        '{"prompt": "Hi", "chosen": "Hello.", "rejected": "No."}\n{"prompt": "Bye", "chosen": "Bye.", "rejected": "What?"}\n'
    )
    assert main(["score", "--model", str(run / "reward" / "reward"), "--data", str(pairs), "--out", str(out)]) == 0
    assert "2 pairs" in capsys.readouterr().out and len(read_jsonl(out)) == 2
