"""What becomes of a job array whose tasks end badly; Slurm's programs are stand-ins here, `make sky-local` has real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenet.corpus.executors import slurm_executor
from tenet.corpus.executors.slurm_executor import SlurmExecutor, waits_for
from tenet.errors import Interrupted, StageError


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs of a Slurm whose queue is the file `queue`; what was submitted is appended to `submitted`."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(slurm_executor, "PAUSE", 0.0)
    program(tmp_path, "sbatch", f"echo sbatch >> {tmp_path}/submitted; echo Submitted batch job 17")
    program(tmp_path, "squeue", f"cat {tmp_path}/queue")
    (tmp_path / "queue").write_text("")
    return tmp_path


def submitted(folder: Path) -> SlurmExecutor:
    executor = SlurmExecutor([], tasks=3, workers=2, logging_dir=str(folder / "state"))
    executor.run()
    return executor


def done(folder: Path, rank: int) -> None:
    marks = folder / "state" / "completions"
    marks.mkdir(parents=True, exist_ok=True)
    (marks / f"{rank:05}").touch()


def test_tasks_that_ended_without_being_done_are_an_error(slurm: Path) -> None:
    executor = submitted(slurm)
    assert (slurm / "submitted").read_text() == "sbatch\n", "one job, and none that waits behind it"
    done(slurm, 1)
    with pytest.raises(StageError, match=r"2 of 3 tasks ended on Slurm \(job 17\).*slurm_logs.*same command"):
        executor.wait(lambda: None)


def test_it_waits_while_the_job_is_in_the_queue_and_for_the_last_mark(slurm: Path) -> None:
    executor, looks = submitted(slurm), 0
    (slurm / "queue").write_text("RUNNING None\n")

    def check() -> None:
        nonlocal looks
        looks += 1
        if looks == 5:  # gone, and the mark comes a look later
            (slurm / "queue").write_text("")
        if looks == 6:
            for rank in range(3):
                done(slurm, rank)

    executor.wait(check)
    assert looks == 6

    def stop() -> None:
        raise Interrupted("asked to")

    (slurm / "state" / "completions" / "00000").unlink()
    with pytest.raises(Interrupted):
        executor.wait(stop)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("echo 'PENDING Resources'", "Resources"),
        ("echo 'PENDING JobArrayTaskLimit'; echo 'RUNNING None'", ""),
        ("echo 'RUNNING None'", ""),
        ("true", None),
        ("echo slurm_load_jobs error: Invalid job id specified >&2; exit 1", None),
        ("echo slurm_load_jobs error: Unable to contact slurm controller >&2; exit 1", ""),
    ],
)
def test_only_a_job_that_is_known_to_be_gone_is_gone(slurm: Path, words: str, why: str | None) -> None:
    program(slurm, "squeue", words)
    assert waits_for("17") == why


def test_a_job_that_will_never_start_is_cancelled_and_says_why(slurm: Path) -> None:
    program(slurm, "squeue", "echo 'PENDING PartitionTimeLimit'")
    program(slurm, "scancel", f"echo $1 > {slurm}/cancelled")
    with pytest.raises(StageError, match=r"never start job 17 \(PartitionTimeLimit\): TENET_SLURM_TIME"):
        submitted(slurm).wait(lambda: None)
    assert (slurm / "cancelled").read_text() == "17\n"
