"""Launches on the stack's Kubernetes cluster: pods stand where the role hangs, ask for what the machine has, and find
what they need there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tenet.cli.main import main
from tenet.errors import ConfigError
from tenet.hardware import INSTANCES
from tenet.launch import kubernetes
from tenet.launch.sky import config_text, objects_text
from tenet.launch.variants import kubernetes_text
from tests.sky.kube import server

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "sky").glob("*.yaml"))
STAGES = [path for path in FILES if path.stem not in ("pipeline", "service")]
TRAINING = sorted(path.stem for path in STAGES if "H100:8" in path.read_text())
there = pytest.mark.skipif(bool(server.missing()), reason=server.missing())


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What stack prod declares and exports: it has a cluster and Lustre."""
    return server.outputs("prod", tmp_path_factory.mktemp("stack"))


# What is written.


def test_pods_stand_where_the_stack_hangs_its_role(stack: dict[str, Any]) -> None:
    association = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
    (linked,) = [r["inputs"] for r in stack["resources"] if r["type"] == association and r["name"].endswith("-training")]
    assert (linked["namespace"], linked["serviceAccount"]) == (kubernetes.NAMESPACE, kubernetes.ACCOUNT)


def test_a_stack_without_cluster_or_lustre(stack: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    outputs = {**stack["outputs"], "fsx_file_system_id": "", "fsx_dns_name": "", "fsx_mount_name": ""}
    assert "pod_config" not in kubernetes.pods(outputs)
    assert not {"PersistentVolume", "PersistentVolumeClaim"} & {one["kind"] for one in kubernetes.objects(outputs)}
    with pytest.raises(ConfigError, match=r"the stack has no cluster .*tenet:reservations"):
        kubernetes.objects({**outputs, "eks_cluster_name": ""})


@pytest.mark.parametrize("machine", INSTANCES.values(), ids=list(INSTANCES))
def test_the_system_keeps_what_it_needs(machine: Any) -> None:
    """Against what EKS documents to reserve: for kubelet 0.06 of the first core and ever less of the next, 255 MiB and
    11 a pod; and the kernel keeps 64 bytes a page, with EFA 10 GiB of huge pages."""
    cpus, memory = kubernetes.room(machine)
    kubelet = 0.06 + 0.01 + 0.01 + 0.0025 * (machine.vcpus - 4)
    assert 0.5 <= machine.vcpus - kubelet - cpus <= max(1, machine.vcpus * 0.03)
    usable = machine.memory_gib * (1 - 64 / 4096) - (10 if machine.efa else 0) - (255 + 11 * 58 + 100) / 1024
    assert usable - memory * 1e9 / 2**30 >= 0.5, "a pod's memory is written in GB"
    assert memory >= 0.8 * machine.memory_gib and memory <= machine.memory_gib, "the same number chooses the machine on EC2"


@pytest.mark.parametrize("path", STAGES, ids=[path.stem for path in STAGES])
def test_the_form_for_pods_runs_the_same(path: Path, sky: Any) -> None:
    cloud, pods = yaml.safe_load(path.read_text()), yaml.safe_load(kubernetes_text(path, "tenet-prod", "/fsx/checkpoints"))
    assert [pods[key] for key in ("name", "setup", "run")] == [cloud[key] for key in ("name", "setup", "run")]
    assert pods["envs"]["RUNS"] == "/fsx/checkpoints" and "RUNS_BUCKET" not in pods["envs"] and "file_mounts" not in pods
    resources = pods["resources"]
    assert resources["infra"] == "kubernetes/tenet-prod" and not {"ordered", "any_of", "use_spot"} & set(resources)
    if path.stem in TRAINING:
        assert [resources[key] for key in ("accelerators", "cpus", "memory")] == ["H100:8", "188+", "1904+"]
        assert resources["network_tier"] == "best"
    given = [(key, "value") for kind in ("envs", "secrets") for key, value in pods.get(kind, {}).items() if value is None]
    envs = [pair for pair in given if pair[0] in pods["envs"]]
    task = sky.Task.from_yaml_config(pods, env_overrides=envs, secrets_overrides=[pair for pair in given if pair not in envs])
    assert {str(resource.cloud) for resource in task.resources} == {"Kubernetes"}


def test_other_gpus_bring_their_machine(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for gpus, wanted in (("L40S:1", ["L40S:1", "3+", "29+", "g6e.xlarge"]), ("none", [None, None, None, ""])):
        assert main(["sky", "kubernetes", "sky/pretrain.yaml", "--gpus", gpus]) == 0
        written = yaml.safe_load(capsys.readouterr().out)
        asked = [written["resources"].get(key) for key in ("accelerators", "cpus", "memory")]
        assert [*asked, written["envs"]["INSTANCE"]] == wanted and written["resources"]["infra"] == "kubernetes"
    assert main(["sky", "kubernetes", "sky/pretrain.yaml", "--gpus", "H100:3"]) == 2
    assert "--gpus is 'H100:3'; machines of tenet/hardware.py have A100:8" in capsys.readouterr().err
    assert main(["sky", "kubernetes", "sky/pretrain.yaml", "--runs", "runs"]) == 2


def test_a_service_that_only_takes_spot_has_another_form(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sky")
    monkeypatch.chdir(ROOT)
    assert main(["sky", "check", "--infra", "kubernetes", "sky/service.yaml"]) == 2
    assert "Kubernetes has none; `tenet sky kubernetes sky/service.yaml --runs FOLDER`" in capsys.readouterr().out
    assert main(["sky", "check", "--infra", "kubernetes", "sky/finetune.yaml"]) == 0
    capsys.readouterr()
    assert main(["sky", "kubernetes", "sky/service.yaml"]) == 0
    written = yaml.safe_load(capsys.readouterr().out)
    assert "dynamic_ondemand_fallback" not in written["service"]["replica_policy"] and written["service"]["readiness_probe"]
    assert written["resources"]["accelerators"] == "L40S:1" and "use_spot" not in written["resources"]


def test_a_pipeline_is_a_managed_job(tmp_path: Path) -> None:
    """Its tasks are the files of the stages, which are launched below."""
    pytest.importorskip("sky")
    words = ["launch", "--yes", "--infra", "kubernetes", "--env", "RUN=a", "--env", "RUNS_BUCKET=b", "--secret", "HF_TOKEN=c"]
    command = [sys.executable, "-c", "from sky.cli import cli; cli()", *words, "sky/pipeline.yaml"]
    environment = {**os.environ, "HOME": str(tmp_path), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "only supported by `sky jobs launch`" in done.stderr


# What a real API server takes, and the pods that SkyPilot then asks it for.


@dataclass(frozen=True)
class Launched:
    """All launch files on the API server.

    Args:
        said: file -> how SkyPilot ended its launch.
        pods: name -> pod.
        kubeconfig: of the cluster's administrator.
    """

    said: dict[str, str]
    pods: dict[str, dict[str, Any]]
    kubeconfig: Path

    def of(self, file: str) -> list[dict[str, Any]]:
        """Pods of a file, the head first."""
        return [self.pods[name] for name in sorted(self.pods) if name.startswith(f"{file}-")]


@pytest.fixture(scope="module")
def launched(in_time: None, stack: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """Objects applied, then every file launched as the account itself, whose rights must suffice for all that a launch
    does."""
    folder, home = tmp_path_factory.mktemp("kube"), tmp_path_factory.mktemp("home")
    outputs = json.dumps(stack["outputs"])
    try:
        kubeconfig = server.up(folder, stack["outputs"]["eks_cluster_name"], "--nodes", 2)
        server.allow_privileged(folder, kubeconfig)
        server.kubectl(kubeconfig, "apply", "--filename", "-", given=objects_text(outputs))
        config = yaml.safe_load(config_text(outputs))
        config["kubernetes"]["provision_timeout"] = 1  # no pod will ever start
        account = server.as_account(kubeconfig, kubernetes.NAMESPACE, kubernetes.ACCOUNT)
        environment = server.settle(home, yaml.safe_dump(config), account)
        service = home / "service.yaml"
        service.write_text(kubernetes_text(ROOT / "sky" / "service.yaml", "", "/fsx/checkpoints", "H100:8"))
        files = [*STAGES, service]
        with _bucket(environment) as aws, server.watched(kubeconfig, home / "pods.json"):
            command = [sys.executable, "-m", "tests.sky.kube.launch", str(home / "said.json"), *map(str, files)]
            done = subprocess.run(command, cwd=ROOT, env=aws, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        yield Launched(json.loads((home / "said.json").read_text()), server.pods_of(home / "pods.json"), kubeconfig)
    finally:
        server.down(folder)


def _bucket(environment: dict[str, str]) -> Any:
    import contextlib

    from moto.server import ThreadedMotoServer

    @contextlib.contextmanager
    def served() -> Iterator[dict[str, str]]:
        import boto3

        aws = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        aws.start()
        host, port = aws.get_host_and_port()
        url = f"http://{host}:{port}"
        keys = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "us-east-1"}
        try:
            s3 = boto3.client(
                "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none"
            )
            s3.create_bucket(Bucket="runs")
            yield environment | keys | {"AWS_ENDPOINT_URL": url, "AWS_EC2_METADATA_DISABLED": "true"}
        finally:
            aws.stop()

    return served()


@there
@pytest.mark.timeout(800)  # a minute; the first of them launches, on a busy machine for long
@pytest.mark.parametrize("file", TRAINING)
def test_pods_of_two_nodes(launched: Launched, file: str) -> None:
    pods = launched.of(file)
    assert [pod["metadata"]["name"].rpartition("-")[2] for pod in pods] == ["head", "worker1"], launched.said[file]
    for pod in pods:
        (container,) = pod["spec"]["containers"]
        asked = container["resources"]["requests"]
        assert (pod["metadata"]["namespace"], pod["spec"]["serviceAccountName"]) == ("tenet", "training")
        assert {"nvidia.com/gpu": "8", "vpc.amazonaws.com/efa": "32", "cpu": "188", "memory": "1904G"}.items() <= asked.items()
        claims = {
            v["name"]: v["persistentVolumeClaim"]["claimName"] for v in pod["spec"]["volumes"] if "persistentVolumeClaim" in v
        }
        assert claims == {"lustre": "lustre"}
        assert {"name": "lustre", "mountPath": "/fsx"} in container["volumeMounts"]
        assert any(t.get("key") == "nvidia.com/gpu" for t in pod["spec"]["tolerations"]), "GPU nodes have that taint"


@there
@pytest.mark.parametrize(
    ("file", "cpus", "memory"),
    [("corpus", "64", "128G"), ("deploy", "8", "64G"), ("serve", "8", "64G"), ("service", "188", "1904G")],
)
def test_pods_of_one_node(launched: Launched, file: str, cpus: str, memory: str) -> None:
    (pod,) = launched.of(file)
    asked = pod["spec"]["containers"][0]["resources"]["requests"]
    assert (pod["metadata"]["namespace"], pod["spec"]["serviceAccountName"]) == ("tenet", "training"), launched.said[file]
    assert (asked["cpu"], asked["memory"]) == (cpus, memory)
    assert ("nvidia.com/gpu" in asked) == (file == "service")


@there
def test_every_launch_got_as_far_as_its_pods(launched: Launched) -> None:
    """And ended there, as no node runs them."""
    for file, said in launched.said.items():
        assert "PVC binding issue detected: lustre (phase: Pending)" in said, f"{file}: {said}"
    assert {*launched.said, "pipeline"} == {path.stem for path in FILES}


@there
def test_nothing_but_the_stacks_objects_was_made(launched: Launched) -> None:
    """No account or role of SkyPilot's own; pods and services are gone again; the helper for buckets is in its own
    namespace."""
    made = json.loads(
        server.kubectl(launched.kubeconfig, "get", "serviceaccounts,roles,clusterroles,pods,services", "-A", "-o", "json")
    )
    names = {(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in made["items"]}
    assert ("ServiceAccount", "tenet", "training") in names
    assert not [
        name for name in names if "skypilot" in name[2] or name[0] == "Pod" or (name[0] == "Service" and name[1] == "tenet")
    ]
    assert "fusermount-server" in server.kubectl(launched.kubeconfig, "get", "daemonsets", "--namespace", "skypilot-system")


@there
@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("create pods --namespace tenet", "yes"),
        ("create pods --namespace default", "no"),
        ("get secrets --namespace tenet", "no"),
        ("create clusterroles", "no"),
        ("create rolebindings --namespace tenet", "no"),
        ("delete nodes", "no"),
        ("delete pods --namespace skypilot-system", "no"),
    ],
)
def test_what_a_training_pod_may(launched: Launched, words: str, answer: str) -> None:
    command = ["kubectl", "--kubeconfig", str(launched.kubeconfig), "auth", "can-i", "--as=system:serviceaccount:tenet:training"]
    done = subprocess.run([*command, *words.split()], capture_output=True, text=True, timeout=30)
    assert done.stdout.split()[0] == answer


@there
def test_objects_can_be_applied_again(launched: Launched, stack: dict[str, Any]) -> None:
    text = objects_text(json.dumps(stack["outputs"]))
    said = server.kubectl(launched.kubeconfig, "apply", "--filename", "-", given=text).splitlines()
    assert len(said) == len(list(yaml.safe_load_all(text))) and not [line for line in said if line.endswith("created")]
