"""The pipeline's tasks as a job array of Slurm, waited for: datatrove submits it and leaves, and a task that fails or is
cancelled is no error there, so whoever waits for all of them waits for ever."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from datatrove.executor.slurm import SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from tenet.errors import StageError

#: Why a job waits that will wait for ever, as Slurm names it -> what to do.
HOPELESS = {
    "PartitionTimeLimit": "TENET_SLURM_TIME is longer than the partition allows",
    "QOSMaxWallDurationPerJobLimit": "TENET_SLURM_TIME is longer than the quality of service allows",
    "AssocMaxWallDurationPerJobLimit": "TENET_SLURM_TIME is longer than the account allows",
    "PartitionNodeLimit": "TENET_SLURM_PARTITION has no nodes for it",
    "BadConstraints": "TENET_SLURM_PARTITION has no node with a core and 2 GB for a task",
    "InvalidAccount": "this account may not use the partition; ask the cluster's people",
    "InvalidQOS": "this account may not use the quality of service `normal`; ask the cluster's people",
}
#: Seconds between two looks, and how often the job must be seen to be gone: the last task's mark comes over a network disk.
PAUSE, GONE = 2.0, 3


class SlurmExecutor(SlurmPipelineExecutor):  # type: ignore[misc]  # datatrove is untyped
    """At most `workers` of the tasks at once, in the partition that `TENET_SLURM_PARTITION` names (cpu), each for at most
    `TENET_SLURM_TIME` (08:00:00).

    Args:
        pipeline: the steps.
        tasks: shares of the input.
        workers: most of them at once; each takes one core.
        logging_dir: where tasks leave their marks and logs; every node sees it under the same name.
    """

    def __init__(self, pipeline: list[PipelineStep], tasks: int, workers: int, logging_dir: str) -> None:
        super().__init__(
            pipeline=pipeline,
            tasks=tasks,
            workers=workers,
            time=os.environ.get("TENET_SLURM_TIME", "08:00:00"),
            partition=os.environ.get("TENET_SLURM_PARTITION", "cpu"),
            job_name="tenet-corpus",
            logging_dir=logging_dir,
            venv_path=str(Path(sys.prefix) / "bin" / "activate"),
        )

    def launch_merge_stats(self) -> None:
        """Nobody reads them, and behind a task that failed the job that adds them up would stay in the queue."""

    def wait(self, check: Callable[[], None]) -> None:
        """Until all tasks are done.

        Args:
            check: called between two looks; raises where the run was asked to stop.

        Raises:
            StageError: the job is over and tasks are missing, or Slurm will never start it.
        """
        seen_gone = 0
        while left := self.get_incomplete_ranks():
            check()
            why = waits_for(str(self.job_id))
            if why in HOPELESS:
                subprocess.run(["scancel", str(self.job_id)])
                raise StageError(f"corpus: Slurm will never start job {self.job_id} ({why}): {HOPELESS[why]}. It was cancelled")
            seen_gone = 0 if why is not None else seen_gone + 1
            if seen_gone == GONE:
                raise StageError(
                    f"corpus: {len(left)} of {self.tasks} tasks ended on Slurm (job {self.job_id}) without being done; their last words "
                    f"are in {self.logging_dir.resolve_paths('slurm_logs')}. Run the same command to go on with what is missing"
                )
            time.sleep(PAUSE)


def waits_for(job: str) -> str | None:
    """Why a job waits, in Slurm's word; "" where it runs, or where Slurm cannot be asked just now; None when it is gone."""
    asked = subprocess.run(["squeue", "--noheader", "--jobs", job, "--format", "%T %r"], capture_output=True, text=True)
    if asked.returncode:
        return None if "invalid job id" in asked.stderr.lower() else ""
    parts = [line.split(maxsplit=1) for line in asked.stdout.splitlines() if line.strip()]
    waiting = [part[1].strip("()") for part in parts if part[0] == "PENDING" and len(part) > 1]
    return (waiting[0] if len(waiting) == len(parts) else "") if parts else None
