"""The running cluster of `make sky-kube`: what differs from the stack's is written here, as settings.

Pods see this checkout, its Python and the folder of runs as they lie on this machine, in place of an image and of
Lustre. All else is what `tenet sky config` and `tenet sky objects` write for stack prod.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tenet.launch.kubernetes import MOUNT, NAMESPACE
from tenet.launch.sky import config_text, objects_text
from tests.sky.acceptance import Patience
from tests.sky.kube import server
from tests.sky.local.namespace import Missing

ROOT = Path(__file__).resolve().parents[3]
CONTEXT = "tenet-prod"
#: Program, or file -> Debian package.
PROGRAMS = {
    **server.CLIENT,
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "ip": "iproute2",
    "iptables": "iptables",
    "openssl": "openssl",
    "unshare": "util-linux",
}
IMAGE, BRIDGE = "localhost/sky:1", "kube0"
#: Size of a pod on two cores, as words of `sky launch`; on the cluster it is what the machine has.
SIZE = ["--image-id", f"docker:{IMAGE}", "--cpus", "1", "--memory", "3", "--disk-size", "20"]


def images() -> Path:
    """Archives of what pods run; made once, some minutes, and kept.

    Raises:
        Missing: they cannot be made.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenet-kube"
    program = Path(os.environ[server.VARIABLE]).resolve() / "image"
    if not (folder / "sky.tar").exists():
        print("sky-kube: making the image of the pods, once (3 minutes)", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([str(program), str(folder)], capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"`image` of {server.VARIABLE} did not make the pods' image: {done.stderr.strip()[-300:]}")
    return folder


def start(base: Path, archives: Path, outputs: dict[str, Any]) -> Path:
    """Two nodes, with the objects of the stack; Lustre's volume is a folder here. The kubeconfig."""
    kubeconfig = server.up(base / "kube", CONTEXT, "--run", 2, "--images", archives, timeout=240 * Patience.times)
    objects = list(yaml.safe_load_all(objects_text(json.dumps(outputs))))
    (base / "fsx").mkdir()
    for one in objects:
        if one["kind"] == "PersistentVolume":
            del one["spec"]["csi"], one["spec"]["mountOptions"]
            one["spec"]["hostPath"] = {"path": str(base / "fsx")}
    server.kubectl(kubeconfig, "apply", "--filename", "-", given=yaml.safe_dump_all(objects))
    return kubeconfig


def settings(outputs: dict[str, Any]) -> dict[str, Any]:
    """SkyPilot's configuration of the stack, and what is other here."""
    found: dict[str, Any] = yaml.safe_load(config_text(json.dumps(outputs)))
    del found["jobs"]  # its bucket
    pods = found["kubernetes"]
    pods["provision_timeout"] = 120
    # All but lspci is in the image, and for that SkyPilot would wait three minutes for Debian's lists.
    pods["post_provision_runcmd"] = ["sudo ln -sf /bin/true /usr/bin/lspci"]
    pods["pod_config"]["spec"]["volumes"] += [_here(name, path) for name, path in _shown().items()]
    (container,) = pods["pod_config"]["spec"]["containers"]
    container["imagePullPolicy"] = "Never"
    container["volumeMounts"] += [{"name": name, "mountPath": path, "readOnly": True} for name, path in _shown().items()]
    return found


#: Of SkyPilot's server: it controls managed jobs itself, with no pod for a controller.
SERVER = {"jobs": {"controller": {"consolidation_mode": True}}}


def _shown() -> dict[str, str]:
    """Folders that pods see where they are: this checkout with its environment, and the Python that it is made of."""
    folders = {"checkout": str(ROOT), "python": str(Path(sys.executable).resolve().parents[1])}
    environment = Path(sys.executable).parents[1]
    return folders if environment.is_relative_to(ROOT) else {**folders, "environment": str(environment)}


def _here(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "hostPath": {"path": path}}


def pods(kubeconfig: Path) -> dict[str, dict[str, Any]]:
    """Name -> pod, of those that SkyPilot made."""
    shown = server.kubectl(kubeconfig, "get", "pods", "--namespace", NAMESPACE, "--output", "json")
    return {pod["metadata"]["name"]: pod for pod in json.loads(shown)["items"]}


def end(base: Path) -> None:
    """Pods, nodes, API server, and the bridge between pods, which is this machine's."""
    server.down(base / "kube")
    subprocess.run(["ip", "link", "delete", BRIDGE], capture_output=True)


def bridged() -> bool:
    """Whether a cluster of this kind already runs here."""
    return (Path("/sys/class/net") / BRIDGE).exists()


def on_lustre(base: Path, path: Path) -> str:
    """A path of this machine as pods see it."""
    return str(Path(MOUNT) / path.relative_to(base / "fsx"))
