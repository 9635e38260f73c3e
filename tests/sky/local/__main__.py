"""Launch corpus, pretraining on two nodes, its report and a job that loses its machines; compare with runs that nothing
disturbed.

    make sky-local
    make test SKY_LOCAL=1                                # after the tests, where this machine can; else one line says why not
    python -m tests.sky.local --patience 5 --keep        # on a busy machine; the folder is kept to look at

Everything happens in a world of its own (namespace.py): no network, a home folder that is thrown away, nothing left
running.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from tenet.launch.catalog import tables
from tenet.launch.variants import slurm_text
from tests.sky import acceptance
from tests.sky.acceptance import (
    ENDED,
    STARTED,
    OutOfTime,
    Patience,
    first_step,
    healthy,
    last_step,
    run,
    sealed,
    sky,
    steps,
    wait,
    weights,
)
from tests.sky.local import cluster, namespace

ROOT = Path(__file__).resolve().parents[3]
#: What machines must see even where it lies in /tmp.
KEEP = [ROOT, Path(sys.executable).parents[1]]
#: Relative difference of a step's loss that two processes may show against one: sums in another order, grown over the
#: steps.
TOLERANCE = 1e-3
TOKEN = secrets.token_hex(16)


def say(text: str) -> None:
    """One line of progress."""
    acceptance.say("sky-local", text)


def options(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("tests.sky.local", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patience", type=float, default=1.0, help="every limit of seconds times this (default 1)")
    parser.add_argument("--minutes", type=float, default=8.0, help="all of it must be over then (default 8, times the patience)")
    parser.add_argument("--keep", action="store_true", help="keep the folder, to look at it")
    parser.add_argument("--if-possible", action="store_true", help="where this machine cannot, say why and end with 0")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """0 when all of it holds, 1 when something does not, 2 when this machine cannot."""
    chosen = options(words)
    Patience.times = chosen.patience
    seconds = chosen.minutes * 60 * chosen.patience
    if namespace.INSIDE in os.environ:
        return inside(Path(os.environ[namespace.INSIDE]), seconds)
    try:
        namespace.have_programs()
        if chosen.if_possible:
            namespace.have_room()
    except namespace.Missing as missing:
        if chosen.if_possible:
            print(f"sky-local was not run: {missing}")
            return 0
        print(f"sky-local cannot run here: {missing}", file=sys.stderr)
        return 2
    # Installing counts too.
    left = max(1.0, seconds - (time.monotonic() - STARTED))
    return namespace.enter("tests.sky.local", [*words, "--minutes", str(left / 60 / chosen.patience)], left, chosen.keep)


def inside(base: Path, seconds: float) -> int:
    """All of it in the world that was made for it; 1 with the ends of the logs when something does not hold or takes
    too long."""

    def over(number: int, frame: object) -> None:
        raise OutOfTime(f"not over after {seconds:.0f} s")

    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        Acceptance(base).all()
    except (AssertionError, RuntimeError, OSError, subprocess.TimeoutExpired, OutOfTime) as error:
        say(f"FAILED: {error}\n{namespace.log_ends(base)}")
        return 1
    say("all of it holds")
    return 0


class Acceptance:
    """The launches, in order."""

    def __init__(self, base: Path) -> None:
        self.base, self.runs = base, base / "runs"
        self.preset = base / "smoke.yaml"

    def all(self) -> None:
        """Everything; the first thing that does not hold raises."""
        self.settle()
        self.up()
        self.corpus()
        self.array()
        self.two_nodes()
        self.one_process()
        self.lost_machines()
        self.nothing_leaked()
        self.down()

    def settle(self) -> None:
        """This world, and what SkyPilot reads in it."""
        namespace.settle(self.base, list(cluster.NODES), KEEP)
        home = Path(os.environ["HOME"])
        os.environ |= {
            "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # which means: none; SkyPilot packs its own wheel, with the setuptools that is here
            "PIP_NO_INDEX": "1",
            "OMP_NUM_THREADS": "1",
            "NO_COLOR": "1",
            "PYTHONPATH": str(ROOT),
        }
        os.environ.pop("AWS_PROFILE", None)
        (home / ".sky").mkdir()
        (home / ".sky" / "config.yaml").write_text(yaml.safe_dump({"jobs": {"controller": {"consolidation_mode": True}}}))
        from sky.skylet.constants import CATALOG_SCHEMA_VERSION

        for name, table in tables().items():
            path = home / ".sky" / "catalogs" / CATALOG_SCHEMA_VERSION / name
            path.parent.mkdir(parents=True, exist_ok=True)
            table.to_csv(path, index=False)
        smoke = yaml.safe_load((ROOT / "tests" / "presets" / "smoke.yaml").read_text())
        smoke["pretrain"]["tokens"] *= 4  # long enough to lose machines in the middle
        self.preset.write_text(yaml.safe_dump(smoke, sort_keys=False))

    def up(self) -> None:
        """Slurm, then SkyPilot's server."""
        cluster.start(self.base, KEEP)
        say("Slurm: two nodes are idle")
        offline = {
            "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "sky" / "local" / "site"), str(ROOT)]),
            # It starts workers and controllers for the memory that it sees; one job at a time needs few of them.
            "SKYPILOT_POD_MEMORY_GB_LIMIT": "5",
        }
        # The command gives up after a minute; on a busy machine the server that it has started comes later.
        with contextlib.suppress(RuntimeError):
            sky("api", "start", environment=offline, timeout=120)
        wait(healthy, 120, "SkyPilot's server")
        shown = sky("check", "slurm")
        assert "enabled" in shown, f"SkyPilot does not see the cluster:\n{shown}"
        say("SkyPilot: Slurm is enabled")

    def corpus(self) -> None:
        """One node, CPUs."""
        self.launch("corpus", "base")
        for stage in ("corpus", "plan", "model"):
            assert (self.runs / "base" / stage / "report.html").is_file(), f"no report of {stage}"
        say("corpus: launched, with plan, model and reports")

    def array(self) -> None:
        """The corpus as a job array of its own: what never starts is told, a cancelled array too, and what it makes then
        is what one machine made."""
        words = ["corpus", "--preset", self.preset, "--run", self.runs / "array", "--executor", "slurm", "--workers", 2]
        command = [sys.executable, "-m", "tenet.cli", *words]
        partition = {"TENET_SLURM_PARTITION": "main"}
        try:
            run(command, 120, {**partition, "TENET_SLURM_TIME": "02:00:00"})  # the partition allows one hour
        except RuntimeError as error:
            assert "PartitionTimeLimit" in str(error), error
        else:
            raise AssertionError("an array that may never start ended well")
        environment = {**os.environ, **partition, "TENET_SLURM_TIME": "00:30:00"}
        under_way = subprocess.Popen(
            [str(word) for word in command], env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        wait(lambda: bool(squeue("running")), 120, "the array's first task")
        run(["scancel", "--name", "tenet-corpus"])
        told = under_way.communicate(timeout=120 * Patience.times)[1]
        assert under_way.returncode == 1 and "ended on Slurm" in told, (
            f"a cancelled array ended with {under_way.returncode}: {told}"
        )
        run(command, 240, {**partition, "TENET_SLURM_TIME": "00:30:00"})
        for path in sorted((self.runs / "base" / "corpus" / "tokens").glob("*.ds")):
            assert path.read_bytes() == (self.runs / "array" / "corpus" / "tokens" / path.name).read_bytes(), path.name
        say("corpus: as a job array, cancelled once, the same tokens")

    def two_nodes(self) -> None:
        """Pretraining on both nodes, one process each, with its report."""
        self.copied("two")
        self.launch("pretrain", "two", "--num-nodes", "2")
        record = self.record("two")
        assert record["processes"] == 2, f"{record['processes']} processes trained"
        assert (self.runs / "two" / "pretrain" / "report.html").is_file(), "no report of pretrain"
        say(f"pretrain: 2 nodes, 2 processes, {len(self.losses('two'))} steps, weights {self.weights('two')[:12]}")

    def one_process(self) -> None:
        """The same run without any of it: same losses."""
        self.copied("one")
        command = [sys.executable, "-m", "tenet.cli", "pretrain", "--preset", self.preset, "--run", self.runs / "one"]
        run(command, timeout=240)
        one, two = self.losses("one"), self.losses("two")
        assert len(one) == len(two) > 0, f"{len(one)} steps against {len(two)}"
        worst = max(abs(a - b) / a for a, b in zip(one, two, strict=True))
        assert worst <= TOLERANCE, f"the loss differs by {worst:.1e} from one process's; {TOLERANCE:.0e} is allowed"
        say(f"pretrain: one process, the same losses within {worst:.1e}")

    def lost_machines(self) -> None:
        """A managed job whose machines are taken away goes on from its checkpoint and ends with the same weights."""
        self.copied("lost")
        partial = self.runs / "lost" / "pretrain.partial"
        file = self.written("pretrain")
        sky("jobs", "launch", "-y", "-d", "-n", "lost", file, "--num-nodes", "2", *self.words("lost"), timeout=240)
        # A step's losses that are written before it stay in metrics.csv when the job goes on from there, and show that
        # it did.
        wait(lambda: 0 < first_step(partial / "metrics.csv") < sealed(partial), 240, "a whole checkpoint")
        machines = squeue()
        run(["scancel", "--full", *machines])
        wait(lambda: not machines & squeue("running,completing"), 60, "the end of the machines")
        assert not (self.runs / "lost" / "pretrain").exists(), "the run was over before its machines could be taken"
        kept, whole = last_step(partial / "metrics.csv"), sealed(partial)
        say(f"job: machines taken away after step {kept}, the newest whole checkpoint is of step {whole}")
        lowest = kept

        def recovered() -> bool:
            nonlocal lowest
            lowest = min(lowest, last_step(partial / "metrics.csv", lowest))
            return (self.runs / "lost" / "pretrain").exists()

        wait(recovered, 240, "the job's recovery", pause=0.05)
        wait(lambda: self.job("lost")["status"] in ENDED, 120, "the job's end", pause=1)
        job, attempts = self.job("lost"), self.record("lost")["attempts"]
        assert job["status"] == "SUCCEEDED", f"the job ended as {job['status']}"
        assert job["recovery_count"] >= 1 and attempts >= 2, f"recoveries {job['recovery_count']}, attempts {attempts}"
        logged = max(step for step in steps(self.runs / "two" / "pretrain" / "metrics.csv") if step < whole)
        assert 0 < logged <= lowest, f"the job went on before step {logged}, though the checkpoint of step {whole} was whole"
        assert self.weights("lost") == self.weights("two"), "the weights are not those of the run that nothing disturbed"
        say(f"job: {job['recovery_count']} recovery, on from step {lowest} or later, the same weights as without")

    def nothing_leaked(self) -> None:
        """The secret that the launches were given stands in no file of a run, in no log and not in SkyPilot's
        tables."""
        home = Path(os.environ["HOME"])
        folders = [self.runs, home / "sky_logs", home / ".sky" / "api_server", *home.glob(".sky_clusters/*/sky_logs")]
        for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
            assert TOKEN.encode() not in path.read_bytes(), f"the secret stands in {path.relative_to(self.base)}"
        assert TOKEN not in sky("status", "-v"), "`sky status` shows the secret"
        say("secret: in no file of any run, no log and no table")

    def down(self) -> None:
        """Clusters and server, as a person ends them; the kernel ends whatever is left."""
        sky("down", "-a", "-y", timeout=120)
        # A managed job's machines are given back by its controller, some seconds after the job has ended.
        wait(lambda: not squeue(), 90, "the end of Slurm's last job")
        sky("api", "stop")
        say("clusters are down")

    def job(self, name: str) -> dict[str, Any]:
        """What SkyPilot says of a managed job."""
        jobs = json.loads(sky("jobs", "queue", "-a", "-o", "json"))
        found: dict[str, Any] = next(job for job in jobs if job["job_name"] == name)
        return found

    def written(self, stage: str) -> Path:
        """A stage's file for this cluster."""
        path = self.base / f"{stage}.yaml"
        path.write_text(slurm_text(ROOT / "sky" / f"{stage}.yaml", cluster.NAME, str(self.runs)))
        return path

    def words(self, name: str) -> list[object]:
        """What each launch is told."""
        envs = {
            "PRESET": self.preset,
            "RUN": name,
            "VENV": Path(sys.executable).parents[1],
            "NPROC": 1,
            "WORKERS": 1,
            "PYTHONPATH": ROOT,
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": 1,
            "HF_HUB_OFFLINE": 1,
        }
        return [word for key, value in envs.items() for word in ("--env", f"{key}={value}")]

    def launch(self, stage: str, name: str, *more: str) -> None:
        """`sky launch`, which waits for the end and fails where the job does."""
        secret = ["--secret", f"HF_TOKEN={TOKEN}"] if stage == "corpus" else []
        sky("launch", "-y", "-c", stage, self.written(stage), *more, *self.words(name), *secret, timeout=300)

    def copied(self, name: str) -> None:
        """A run that has what pretraining reads."""
        for stage in ("corpus", "plan", "model"):
            shutil.copytree(self.runs / "base" / stage, self.runs / name / stage)

    def record(self, name: str) -> dict[str, int]:
        """run.json of a run's pretraining."""
        found: dict[str, int] = json.loads((self.runs / name / "pretrain" / "run.json").read_text())
        return found

    def losses(self, name: str) -> list[float]:
        """Training loss of each step."""
        with (self.runs / name / "pretrain" / "metrics.csv").open() as file:
            return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]

    def weights(self, name: str) -> str:
        """SHA-256 of the trained weights."""
        return weights(self.runs / name / "pretrain")


def squeue(states: str = "") -> set[str]:
    """Numbers of Slurm's jobs, all that are not over or those in the given states."""
    return set(run(["squeue", "-h", "-o", "%i", *(["-t", states] if states else [])]).split())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
