"""A Kubernetes that a test starts and ends, and SkyPilot's settings for it in a home folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
VARIABLE = "TENET_KUBE"
#: What SkyPilot calls on the client for a cluster of Kubernetes -> Debian's package.
CLIENT = {"kubectl": "kubernetes-client", "socat": "socat", "nc": "netcat-openbsd", "rsync": "rsync"}


def missing() -> str:
    """Why there is no Kubernetes here; empty where there is."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return f"{VARIABLE} names no folder with a Kubernetes to start (tests/sky/kube/__init__.py)"
    if not (Path(folder) / "up").is_file():
        return f"{VARIABLE} is {folder}, which has no program `up`"
    absent = [f"{program} ({package})" for program, package in CLIENT.items() if shutil.which(program) is None]
    return f"SkyPilot wants {', '.join(absent)} for Kubernetes; install them" if absent else ""


def up(folder: Path, context: str, *more: object, timeout: float = 300) -> Path:
    """Start it; the kubeconfig.

    Raises:
        RuntimeError: it did not come up.
    """
    words = [_program(), folder, "--context", context, *more]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"Kubernetes did not come up: {(done.stdout + done.stderr)[-2000:]}")
    return Path(done.stdout.split("KUBECONFIG=")[1].strip())


def down(folder: Path) -> None:
    """End it."""
    subprocess.run([str(_program()), str(folder), "--down"], capture_output=True, timeout=120)


def _program() -> Path:
    return Path(os.environ[VARIABLE]).resolve() / "up"


def allow_privileged(folder: Path, kubeconfig: Path) -> None:
    """Start the API server again as EKS starts it: SkyPilot's helper that mounts buckets is privileged."""
    pid = int((folder / "kube-apiserver.pid").read_text())
    command = [word for word in Path(f"/proc/{pid}/cmdline").read_text().split("\0") if word]
    os.kill(pid, signal.SIGKILL)  # asked to end, it waits a minute for those who watch
    while port_taken(command):
        time.sleep(0.1)
    with (folder / "kube-apiserver.log").open("a") as log:
        again = subprocess.Popen([*command, "--allow-privileged"], stdout=log, stderr=log, start_new_session=True)
    (folder / "kube-apiserver.pid").write_text(str(again.pid))
    deadline = time.monotonic() + 120
    while subprocess.run(["kubectl", "--kubeconfig", str(kubeconfig), "get", "--raw", "/readyz"], capture_output=True).returncode:
        if time.monotonic() > deadline:
            raise RuntimeError("the API server did not come up again")
        time.sleep(0.3)


def port_taken(command: list[str]) -> bool:
    """Whether somebody still listens on the API server's port."""
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", int(command[command.index("--secure-port") + 1]))) == 0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as any_socket:
        any_socket.bind(("127.0.0.1", 0))
        return int(any_socket.getsockname()[1])


def kubectl(kubeconfig: Path, *words: object, given: str | None = None) -> str:
    """What kubectl says.

    Raises:
        RuntimeError: it does not end with 0.
    """
    command = ["kubectl", "--kubeconfig", str(kubeconfig), *map(str, words)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command[3:])}`: {done.stderr.strip()[-1000:]}")
    return done.stdout


def as_account(kubeconfig: Path, namespace: str, account: str) -> Path:
    """A kubeconfig of the same cluster for a service account, as a controller in a pod has it."""
    token = kubectl(kubeconfig, "create", "token", account, "--namespace", namespace).strip()
    config = json.loads(kubeconfig.read_text())
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    path = kubeconfig.with_name(f"{account}.json")
    path.write_text(json.dumps(config))
    return path


def outputs(stack: str, folder: Path) -> dict[str, Any]:
    """What a stack of this repository exports."""
    path = folder / f"{stack}.json"
    command = [sys.executable, str(ROOT / "tests" / "infra" / "recorder.py"), stack, str(path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=120)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@contextlib.contextmanager
def watched(kubeconfig: Path, path: Path) -> Iterator[None]:
    """Every state of every pod is written to a file: pods that find no node go again before anybody could ask for
    them."""
    words = ["kubectl", "--kubeconfig", str(kubeconfig), "get", "pods", "--all-namespaces", "--watch", "--output", "json"]
    with path.open("w") as file:
        watching = subprocess.Popen(words, stdout=file, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            watching.kill()
            watching.wait()


def pods_of(path: Path) -> dict[str, dict[str, Any]]:
    """Name -> pod, of the pods that were watched."""
    text, decoder, at, found = path.read_text(), json.JSONDecoder(), 0, {}
    while (at := _next(text, at)) < len(text):
        try:
            pod, at = decoder.raw_decode(text, at)
        except ValueError:  # killed in the middle of one
            break
        found[pod["metadata"]["name"]] = pod
    return found


def _next(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at


def settle(home: Path, config: str, kubeconfig: Path) -> dict[str, str]:
    """The environment of SkyPilot in a home folder of its own, with the catalog that it would download.

    Args:
        home: is made.
        config: what `tenet sky config` wrote.
        kubeconfig: of the cluster.
    """
    from sky.skylet.constants import CATALOG_SCHEMA_VERSION

    from tenet.launch.catalog import tables

    for name, table in tables().items():
        path = home / ".sky" / "catalogs" / CATALOG_SCHEMA_VERSION / name
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)
    (home / "sky.yaml").write_text(config)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "SKY"))}
    return kept | {
        "HOME": str(home),
        "KUBECONFIG": str(kubeconfig),
        "SKYPILOT_PROJECT_CONFIG": str(home / "sky.yaml"),
        "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
        "NO_COLOR": "1",
        "PYTHONPATH": str(ROOT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
