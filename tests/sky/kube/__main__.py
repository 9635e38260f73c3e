"""Pretrain on two pods of a Kubernetes that exists for some minutes, lose one on the way, then serve from a pod;
compare with what nothing disturbed.

    make sky-kube
    make test SKY_KUBE=1                                # after the tests, where this machine can; else one line says why not
    python -m tests.sky.kube --patience 3 --keep        # on a busy machine; the folder is kept to look at
    python -m tests.sky.kube --only service             # half of it: no job, no pod lost

It needs root and a Kubernetes to start (tests/sky/kube/__init__.py). Processes, mounts and home folder are a world of
their own (tests/sky/local/namespace.py), the network is this machine's: SkyPilot installs itself in pods from the
package index.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tenet.launch.variants import kubernetes_text
from tests.sky import acceptance
from tests.sky.acceptance import ENDED, OutOfTime, Patience, first_step, healthy, last_step, run, sealed, sky, wait, weights
from tests.sky.kube import cluster, server
from tests.sky.local import namespace

ROOT = Path(__file__).resolve().parents[3]
KEEP = [ROOT, Path(sys.executable).parents[1]]
PRESET = ROOT / "tests" / "presets" / "smoke.yaml"
PORT, MODEL = 8080, "tenet.assistant-v1:0"


def say(text: str) -> None:
    """One line of progress."""
    acceptance.say("sky-kube", text)


def options(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("tests.sky.kube", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patience", type=float, default=1.0, help="every limit of seconds times this (default 1)")
    parser.add_argument(
        "--minutes", type=float, default=10.0, help="all of it must be over then (default 10, times the patience)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder, to look at it")
    parser.add_argument("--only", choices=("job", "service"), help="one half of it (default both)")
    parser.add_argument("--if-possible", action="store_true", help="where this machine cannot, say why and end with 0")
    parser.add_argument("--images", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """0 when all of it holds, 1 when something does not, 2 when this machine cannot."""
    chosen = options(words)
    Patience.times = chosen.patience
    seconds = chosen.minutes * 60 * chosen.patience
    if namespace.INSIDE in os.environ:
        return inside(Path(os.environ[namespace.INSIDE]), chosen, seconds)
    try:
        archives = possible(chosen.if_possible)
    except namespace.Missing as missing:
        if chosen.if_possible:
            print(f"sky-kube was not run: {missing}")
            return 0
        print(f"sky-kube cannot run here: {missing}", file=sys.stderr)
        return 2
    try:
        return namespace.enter("tests.sky.kube", [*words, "--images", str(archives)], seconds, chosen.keep, own_net=False)
    finally:
        subprocess.run(["ip", "link", "delete", cluster.BRIDGE], capture_output=True)


def possible(careful: bool) -> Path:
    """Archives of the pods' image.

    Raises:
        Missing: this machine cannot run it.
    """
    folder = os.environ.get(server.VARIABLE)
    if not folder or not (Path(folder) / "up").is_file():
        raise namespace.Missing(server.missing())
    namespace.have_programs(cluster.PROGRAMS, ("sky", "kubernetes"))
    if cluster.bridged():
        raise namespace.Missing(
            f"the network bridge {cluster.BRIDGE} is there: another cluster runs, or left it (`ip link delete {cluster.BRIDGE}`)"
        )
    if careful:
        namespace.have_room()
    return cluster.images()


def inside(base: Path, chosen: argparse.Namespace, seconds: float) -> int:
    """All of it in the world that was made for it; 1 with the ends of the logs when something does not hold or takes
    too long."""

    def over(number: int, frame: object) -> None:
        raise OutOfTime(f"not over after {seconds:.0f} s")

    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        Acceptance(base, chosen.images).all(chosen.only)
    except (AssertionError, RuntimeError, OSError, subprocess.TimeoutExpired, OutOfTime) as error:
        say(f"FAILED: {error}\n{namespace.log_ends(base)}")
        return 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        cluster.end(base)
    say("all of it holds")
    return 0


class Acceptance:
    """The launches, in order."""

    def __init__(self, base: Path, archives: Path) -> None:
        self.base, self.archives = base, archives
        self.runs = base / "fsx" / "checkpoints"
        self.lost = self.runs / "lost" / "pretrain"
        self.kubeconfig = base / "kube" / "config"
        self.keys = (f"TENET{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30))

    def all(self, only: str | None) -> None:
        """Everything, or one half; the first thing that does not hold raises."""
        self.settle()
        self.up()
        self.inputs()
        if only != "service":
            self.launch()
        self.undisturbed()
        if only != "service":
            self.lose_a_pod()
            self.recover()
        if only != "job":
            self.serve()
        self.down()

    def settle(self) -> None:
        """This world, and what SkyPilot reads in it."""
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        namespace.settle(self.base, [], KEEP, own_net=False)
        home = Path(os.environ["HOME"])
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        self.outputs = server.outputs("prod", self.base)["outputs"]
        settings = yaml.safe_dump(cluster.settings(self.outputs))
        os.environ |= server.settle(home, settings, self.kubeconfig)
        (home / ".sky" / "config.yaml").write_text(yaml.safe_dump(cluster.SERVER))
        os.environ |= {
            "XDG_CACHE_HOME": cache,
            "SKYPILOT_API_SERVER_LOCAL_PORT": str(server.free_port()),
            # It starts workers for the memory that it sees; one job at a time needs few of them.
            "SKYPILOT_POD_MEMORY_GB_LIMIT": "5",
            "OMP_NUM_THREADS": "1",
        }

    def up(self) -> None:
        """The cluster, then SkyPilot's server."""
        cluster.start(self.base, self.archives, self.outputs)
        say("Kubernetes: two nodes are ready, with the stack's objects")
        site = {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "sky" / "local" / "site"), str(ROOT)])}
        with contextlib.suppress(RuntimeError):  # the command gives up after a minute; the server comes later on a busy machine
            sky("api", "start", environment=site, timeout=120)
        wait(healthy, 120, "SkyPilot's server")
        shown = sky("check", "kubernetes")
        assert "enabled" in shown and cluster.CONTEXT in shown, f"SkyPilot does not see the cluster:\n{shown}"
        say("SkyPilot: Kubernetes is enabled")

    def inputs(self) -> None:
        """What pretraining reads, made here: its own launch is what is shown."""
        preset = yaml.safe_load(PRESET.read_text())
        preset["pretrain"]["tokens"] *= 4  # long enough to lose a pod in the middle
        self.preset = self.base / "fsx" / "smoke.yaml"
        self.preset.write_text(yaml.safe_dump(preset, sort_keys=False))
        for stage in ("corpus", "plan", "model"):
            run([sys.executable, "-m", "tenet.cli", stage, "--preset", self.preset, "--run", self.runs / "alone"], timeout=120)
        shutil.copytree(self.runs / "alone", self.runs / "lost")
        run(["chown", "-R", "1000:1000", self.base / "fsx"])  # the image's user
        say("corpus, plan and model are made")

    def launch(self) -> None:
        """A managed job on two pods, each with 8 GPUs and 32 network cards in name, one process each."""
        file = self.written("pretrain")
        sky("jobs", "launch", "-y", "-d", "-n", "lost", file, "--num-nodes", 2, *cluster.SIZE, *self.words("lost"), timeout=240)
        say("job: launched")

    def undisturbed(self) -> None:
        """The same training without any of it: two processes of this machine. Pods are made meanwhile."""
        command = [
            sys.executable,
            "-m",
            "tenet.torchrun",
            "--nproc-per-node",
            2,
            "-m",
            "tenet.cli",
            "pretrain",
            "--preset",
            self.preset,
        ]
        run([*command, "--run", self.runs / "alone"], timeout=240)
        say(f"pretrain: two processes here, weights {weights(self.runs / 'alone' / 'pretrain')[:12]}")

    def lose_a_pod(self) -> None:
        """The second pod is taken away when there is a whole checkpoint."""
        partial = self.lost.with_name("pretrain.partial")
        # A step's losses that are written before it stay in metrics.csv when the job goes on from there, and show that
        # it did.
        wait(lambda: 0 < first_step(partial / "metrics.csv") < sealed(partial), 360, "a whole checkpoint")
        found = cluster.pods(self.kubeconfig)
        places = {pod["spec"]["nodeName"] for pod in found.values()}
        assert len(found) == 2 == len(places), f"pods {sorted(found)} on {sorted(places)}"
        for pod in found.values():
            asked = pod["spec"]["containers"][0]["resources"]["limits"]
            assert (asked["nvidia.com/gpu"], asked["vpc.amazonaws.com/efa"]) == ("8", "32"), asked
            assert pod["spec"]["serviceAccountName"] == "training"
        (second,) = [name for name in found if not name.endswith("-head")]
        server.kubectl(self.kubeconfig, "delete", "pod", second, "--namespace", "tenet", "--grace-period=0", "--force")
        assert not self.lost.exists(), "the run was over before its pod could be taken"
        self.kept, self.whole = last_step(partial / "metrics.csv"), sealed(partial)
        say(f"job: pod {second} taken away after step {self.kept}, the newest whole checkpoint is of step {self.whole}")

    def recover(self) -> None:
        """The job goes on from its checkpoint and ends with the same weights."""
        partial, lowest = self.lost.with_name("pretrain.partial"), self.kept

        def recovered() -> bool:
            nonlocal lowest
            lowest = min(lowest, last_step(partial / "metrics.csv", lowest))
            return self.lost.exists()

        wait(recovered, 300, "the job's recovery", pause=0.05)
        wait(lambda: self.job()["status"] in ENDED, 120, "the job's end", pause=2)
        job, record = self.job(), json.loads((self.lost / "run.json").read_text())
        assert job["status"] == "SUCCEEDED" and job["recovery_count"] >= 1, f"{job['status']}, recoveries {job['recovery_count']}"
        assert record["processes"] == 2 and record["attempts"] >= 2, (
            f"processes {record['processes']}, attempts {record['attempts']}"
        )
        assert lowest > 0, "the job began again, though there was a whole checkpoint"
        assert weights(self.lost) == weights(self.runs / "alone" / "pretrain"), "the weights are not those of the undisturbed run"
        assert (self.lost / "report.html").is_file(), "no report of pretrain"
        say(f"job: {job['recovery_count']} recovery, on from step {lowest} or later, the same weights as without")

    def serve(self) -> None:
        """sky/service.yaml in a pod answers a signed call, and none that is signed with another key."""
        shutil.copytree(self.runs / "alone" / "pretrain" / "model", self.runs / "lost" / "redteam" / "model")
        keys = json.dumps({"access_keys": dict([self.keys]), "api_keys": {}})
        words = [*cluster.SIZE, *self.words("lost", "service"), "--secret", f"KEYS={keys}"]
        sky("launch", "-y", "-d", "-c", "service", self.written("service"), *words, timeout=300)
        (pod,) = [pod for name, pod in cluster.pods(self.kubeconfig).items() if name.startswith("service-")]
        url = f"http://{pod['status']['podIP']}:{PORT}"
        wait(lambda: answers(f"{url}/readyz"), 120, "the service")
        said = converse(url, *self.keys)
        assert said["stopReason"] and said["usage"]["outputTokens"] > 0, said
        refused = converse(url, self.keys[0], "another")
        assert refused == {"refused": "UnrecognizedClientException"} or "refused" in refused, refused
        say(
            f"service: a pod answered a signed call with {said['usage']['outputTokens']} tokens, another key: {refused['refused']}"
        )

    def down(self) -> None:
        """Clusters and server, as a person ends them."""
        sky("down", "-a", "-y", timeout=120)
        wait(lambda: not cluster.pods(self.kubeconfig), 90, "the end of the last pod")
        sky("api", "stop")
        say("clusters are down")

    def job(self) -> dict[str, Any]:
        """What SkyPilot says of the managed job."""
        (found,) = json.loads(sky("jobs", "queue", "-a", "-o", "json"))
        return dict(found)

    def written(self, name: str) -> Path:
        """A file's form for pods; of a service without GPUs, so that the engine takes the CPU."""
        path, gpus = self.base / f"{name}.yaml", "none" if name == "service" else None
        path.write_text(kubernetes_text(ROOT / "sky" / f"{name}.yaml", cluster.CONTEXT, "/fsx/checkpoints", gpus))
        return path

    def words(self, name: str, file: str = "pretrain") -> list[object]:
        """What each launch is told."""
        training = {"NPROC": 1, "INSTANCE": "", "GLOO_SOCKET_IFNAME": "eth0"} if file == "pretrain" else {}
        envs = {
            "PRESET": cluster.on_lustre(self.base, self.preset),
            "RUN": name,
            "VENV": Path(sys.executable).parents[1],
            "PYTHONPATH": ROOT,
            "OMP_NUM_THREADS": 1,
            "HF_HUB_OFFLINE": 1,
            **training,
        }
        return [word for key, value in envs.items() for word in ("--env", f"{key}={value}")]


def answers(url: str) -> bool:
    """Whether it answers with 200."""
    import urllib.request

    with contextlib.suppress(OSError):
        return bool(urllib.request.urlopen(url, timeout=5).status == 200)
    return False


def converse(url: str, key: str, secret: str) -> dict[str, Any]:
    """An answer to a call that boto3 signs, or the name of the refusal."""
    import boto3
    from botocore.exceptions import ClientError

    client = boto3.client(
        "bedrock-runtime", endpoint_url=url, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret
    )
    asked = [{"role": "user", "content": [{"text": "What does CreateBucket do?"}]}]
    try:
        return dict(client.converse(modelId=MODEL, messages=asked, inferenceConfig={"maxTokens": 8, "temperature": 0.0}))
    except ClientError as error:
        return {"refused": error.response["Error"]["Code"]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
