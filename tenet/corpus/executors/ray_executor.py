"""The pipeline's tasks on a Ray cluster, one Ray task each: a task whose process dies is started again, one that fails
ends the run with its reason.

datatrove has a Ray executor, and it is not used: it runs each task in a pool inside an actor, which waits for ever when
the process in the pool is killed (out of memory); a failed task is a line in its log and no error, so whoever waits for
all tasks waits for ever; and `ray.init` takes SIGTERM away from this process, so a stopped run would not be saved.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

from datatrove.executor.base import DistributedEnvVars, PipelineExecutor
from datatrove.pipeline.base import PipelineStep

from tenet.errors import StageError, TenetError

#: How often Ray starts a task again whose process died; a document that kills it every time must not do so for ever.
RETRIES = 3


class RayExecutor(PipelineExecutor):
    """At most `workers` of the tasks at once on the cluster that `RAY_ADDRESS` names, or one that runs on this machine,
    else on a Ray that is started here and ended afterwards.

    Files lie under `logging_dir` and wherever the steps write: folders that every machine of the cluster sees under the
    same name, with this package installed.

    Args:
        pipeline: the steps.
        tasks: shares of the input.
        workers: most of them at once; each takes one core.
        logging_dir: where tasks leave their marks and logs.
    """

    def __init__(self, pipeline: list[PipelineStep], tasks: int, workers: int, logging_dir: str) -> None:
        super().__init__(list(pipeline), logging_dir)
        self.tasks, self.workers = tasks, workers

    @property
    def world_size(self) -> int:
        """Shares of the input."""
        return self.tasks

    def get_distributed_env(self, node_rank: int = -1) -> DistributedEnvVars:
        """What datatrove tells the steps of a task about where they run: one core of one machine."""
        return DistributedEnvVars(
            datatrove_node_ips="localhost",
            datatrove_cpus_per_task="1",
            datatrove_mem_per_cpu="",
            datatrove_gpus_on_node="0",
            datatrove_executor="RAY",
        )

    def run(self) -> None:
        """Run what is not done yet.

        Raises:
            StageError: a task failed, or its process died more than `RETRIES` times.
        """
        if not (left := self.get_incomplete_ranks()):
            return
        import ray

        with _cluster():
            task = ray.remote(num_cpus=1, max_retries=RETRIES)(_run_task)
            shared = ray.put(self)
            running: dict[Any, int] = {}
            while left or running:
                while left and len(running) < self.workers:
                    rank = left.pop(0)
                    running[task.remote(shared, rank)] = rank
                for finished in ray.wait(list(running), num_returns=1, timeout=1.0)[0]:
                    _outcome(finished, running.pop(finished))


def _run_task(executor: RayExecutor, rank: int) -> None:
    """One task, in a process of Ray's; what datatrove logs is in the task's own file."""
    with contextlib.redirect_stderr(io.StringIO()):
        executor._run_for_rank(rank, 1)


def _outcome(finished: Any, rank: int) -> None:
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        ray.get(finished)
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, TenetError):
            raise cause from None
        raise StageError(
            f"corpus: task {rank} failed on Ray ({type(cause).__name__}: {cause}); its log is below logs/"
        ) from error
    except RayError as error:
        told = str(error).strip().splitlines()
        raise StageError(
            f"corpus: task {rank} was lost on Ray {RETRIES + 1} times ({told[0] if told else type(error).__name__}); run the same "
            "command to go on with what is missing, with fewer --workers if memory was short"
        ) from None


@contextlib.contextmanager
def _cluster() -> Iterator[None]:
    """A connection to Ray, with signals left to this process: Ray would end it on SIGTERM before anything is saved."""
    import ray

    own = not ray.is_initialized()
    if own:
        held = signal.getsignal(signal.SIGTERM)
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else each start warns that this will change
        ray.init(include_dashboard=False, logging_level="ERROR", log_to_driver=False)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, held)
    try:
        if ray.cluster_resources().get("CPU", 0) < 1:
            raise StageError("corpus: the Ray cluster has no core to give; start a worker node, or use --executor local")
        yield
    finally:
        if own:
            ray.shutdown()
