"""Launch corpus, pretraining on two nodes, its report and a job that loses its machines; compare with runs that nothing disturbed.

    make sky-local
    python -m tests.sky.local --patience 5 --keep        # on a busy machine; the folder is kept to look at
    python -m tests.sky.local --or-skip                  # where the machine cannot, say so and end with 0 (`make test SKY_LOCAL=1`)

Everything happens in a world of its own (namespace.py): no network, a home folder that is thrown away, nothing left running.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from tenet.launch.catalog import tables
from tenet.launch.variants import slurm_text
from tests.sky.local import cluster, namespace

ROOT = Path(__file__).resolve().parents[3]
SKY = [sys.executable, "-c", "from sky.cli import cli; cli()"]
#: Relative difference of a step's loss that two processes may show against one: sums in another order, grown over the steps.
TOLERANCE = 1e-3
STARTED = time.monotonic()
#: Every limit of seconds times this.
PATIENCE = float(sys.argv[sys.argv.index("--patience") + 1]) if "--patience" in sys.argv else 1.0
#: Seconds that all of it may take (before patience); on two idle cores it takes about half.
DEADLINE = 480
TOKEN = secrets.token_hex(16)


def say(text: str) -> None:
    """With the seconds since the start."""
    print(f"sky-local {time.monotonic() - STARTED:5.0f} s  {text}", flush=True)


def main() -> int:
    """0 when all of it holds, 1 when something does not, 2 (0 with --or-skip) when this machine cannot."""
    if namespace.INSIDE in os.environ:
        return inside(Path(os.environ[namespace.INSIDE]))
    try:
        namespace.have_programs()
    except namespace.Missing as missing:
        print(f"sky-local was not run, this machine cannot: {missing}", file=sys.stderr)
        return 0 if "--or-skip" in sys.argv else 2
    # Not in /tmp: nodes have one of their own.
    base = Path(tempfile.mkdtemp(prefix="tenet-sky-", dir="/var/tmp"))
    base.chmod(0o755)
    # A stopped `make` must stop it too: the exception on the way out ends the first process inside, and the kernel all others.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return namespace.enter("tests.sky.local", sys.argv[1:], base, DEADLINE * PATIENCE)
    except subprocess.TimeoutExpired:
        say(f"FAILED: not over after {DEADLINE * PATIENCE:.0f} s; it was ended. Ends of the logs:\n{log_ends(base)}")
        return 1
    finally:
        if "--keep" not in sys.argv:
            shutil.rmtree(base, ignore_errors=True)


def inside(base: Path) -> int:
    """The acceptance, in the world that `main` made."""
    try:
        Acceptance(base).all()
    except (AssertionError, RuntimeError, subprocess.TimeoutExpired) as error:
        say(f"FAILED: {error}\n{log_ends(base)}")
        return 1
    say("all of it holds")
    return 0


def log_ends(base: Path) -> str:
    """The last lines of Slurm's, SSH's and SkyPilot's logs."""
    logs = [*sorted((base / "log").glob("*.log")), base / "home" / ".sky" / "api_server" / "server.log"]
    ends = [(path, path.read_text(errors="replace").splitlines()[-8:]) for path in logs if path.is_file()]
    return "\n".join(f"-- {path.name}\n" + "\n".join(lines) for path, lines in ends)


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
        self.two_nodes()
        self.one_process()
        self.lost_machines()
        self.nothing_leaked()
        self.down()

    def settle(self) -> None:
        """This world, and what SkyPilot reads in it."""
        namespace.settle(self.base, list(cluster.NODES))
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
        cluster.start(self.base, [ROOT, Path(sys.executable).parents[1]])
        say("Slurm: two nodes are idle")
        offline = {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "sky" / "local" / "site"), str(ROOT)])}
        for attempt in range(3):  # on a busy machine it comes later than its own command line waits
            try:
                sky("api", "start", environment=offline, timeout=120)
                break
            except (RuntimeError, subprocess.TimeoutExpired):
                if attempt == 2:
                    raise
        shown = sky("check", "slurm")
        assert "enabled" in shown, f"SkyPilot does not see the cluster:\n{shown}"
        say("SkyPilot: Slurm is enabled")

    def corpus(self) -> None:
        """One node, CPUs."""
        self.launch("corpus", "base")
        for stage in ("corpus", "plan", "model"):
            assert (self.runs / "base" / stage / "report.html").is_file(), f"no report of {stage}"
        say("corpus: launched, with plan, model and reports")

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
        wait(lambda: any((partial / "checkpoints").glob("step*")), 240, "the job's first checkpoint")
        run(["scancel", "--full", *run(["squeue", "-h", "-o", "%i"]).split()])
        wait(lambda: not run(["squeue", "-h", "-t", "running", "-o", "%i"]).split(), 60, "the end of the machines")
        assert not (self.runs / "lost" / "pretrain").exists(), "the run was over before its machines could be taken"
        kept = last_step(partial / "metrics.csv")
        say(f"job: machines taken away after step {kept}")
        lowest = kept

        def recovered() -> bool:
            nonlocal lowest
            lowest = min(lowest, last_step(partial / "metrics.csv", lowest))
            return (self.runs / "lost" / "pretrain" / "report.html").exists()

        wait(recovered, 300, "the job's recovery", pause=0.05)
        jobs = json.loads(sky("jobs", "queue", "-a", "-o", "json"))
        job = next(job for job in jobs if job["job_name"] == "lost")
        attempts = self.record("lost")["attempts"]
        assert job["recovery_count"] >= 1 and attempts >= 2, f"recoveries {job['recovery_count']}, attempts {attempts}"
        assert lowest > 0, "the job began again at step 0"
        assert self.weights("lost") == self.weights("two"), "the weights are not those of the run that nothing disturbed"
        say(f"job: {job['recovery_count']} recovery, on from step {lowest} or later, the same weights as without")

    def nothing_leaked(self) -> None:
        """The secret that the launches were given stands in no file of a run."""
        for path in (path for path in self.runs.rglob("*") if path.is_file()):
            assert TOKEN.encode() not in path.read_bytes(), f"the secret stands in {path.relative_to(self.base)}"
        say("secret: in no file of any run")

    def down(self) -> None:
        """Clusters and server, as a person ends them; the kernel ends whatever is left."""
        sky("down", "-a", "-y", timeout=120)
        # A managed job's machines are given back by its controller, some seconds after the job has ended.
        wait(lambda: not run(["squeue", "-h", "-o", "%i"]).split(), 90, "the end of Slurm's last job")
        sky("api", "stop")
        say("clusters are down")

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
        return hashlib.sha256((self.runs / name / "pretrain" / "model" / "model.safetensors").read_bytes()).hexdigest()


def run(command: list[object], timeout: float = 60, environment: dict[str, str] | None = None) -> str:
    """What a command says; its end is in the error where it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=timeout * PATIENCE, cwd=ROOT, env={**os.environ, **(environment or {})}
    )
    if done.returncode:
        raise RuntimeError(f"`{' '.join(words[:6])} ...` ended with {done.returncode}:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def sky(*words: object, timeout: float = 180, environment: dict[str, str] | None = None) -> str:
    """SkyPilot's command line."""
    return run([*SKY, *words], timeout, environment)


def wait(there: Callable[[], bool], seconds: float, what: str, pause: float = 0.2) -> None:
    """Until it is there.

    Raises:
        RuntimeError: it did not come.
    """
    deadline = time.monotonic() + seconds * PATIENCE
    while not there():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds:.0f} s for {what}")
        time.sleep(pause)


def last_step(path: Path, otherwise: int = 0) -> int:
    """Step of the last whole row of metrics.csv; `otherwise` while there is no such file."""
    try:
        rows = list(csv.DictReader(path.read_text().splitlines()))
        return max((int(row["step"]) for row in rows if row.get("step")), default=0)
    except (OSError, ValueError):
        return otherwise


if __name__ == "__main__":
    sys.exit(main())
