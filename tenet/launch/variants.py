"""Other forms of the launch files: for a Slurm cluster, for pods that share a volume, and all training stages as one
managed pipeline.

What runs on a machine (`setup`, `run`) is the same text in each form; only where it runs and where its files lie
differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tenet.errors import ConfigError
from tenet.launch.kubernetes import machine_of, room

#: Envs that only mean something where a bucket or Lustre is mounted.
CLOUD_ENVS = ("RUNS_BUCKET", "LUSTRE")
#: Resources that only a cloud has: Slurm machines are neither bought, nor sold by disk, nor stopped.
CLOUD_RESOURCES = ("infra", "network_tier", "disk_size", "autostop", "ordered", "any_of", "use_spot", "accelerators")
#: Alternatives that only a cloud has: spot, and a dearer machine where a cheap one is sold out.
CHOICES = ("ordered", "any_of", "use_spot")
#: Stages whose weights people decide on: they are launched by hand, with credentials that training does not have.
BY_HAND = ("deploy", "serve")
PIPELINE_HEAD = """\
# Written by `tenet sky pipeline > sky/pipeline.yaml` from the files of the stages; change those, then write it anew.
#
# pipeline: all stages that train and judge, one after the other, as one managed job. Each has machines of its own: text on CPUs, training
# on GPUs. The deployment is not in it: somebody reads the red team's gate and the evaluation first, and holds other credentials.
#
#   launch   sky jobs launch sky/pipeline.yaml --env RUN=first --env RUNS_BUCKET=NAME --secret HF_TOKEN --env TENET_DOMAIN=my_assistant
#   watch    sky jobs queue; sky jobs logs JOB
#   stop     sky jobs cancel JOB --graceful      (launch again with the same RUN: finished stages return at once, the one that was stopped goes on)
#   cost     tenet plan --preset 160m
#
# Every --env and --secret goes to all stages that have it. NAME: `pulumi stack output checkpoints_bucket`.
name: pipeline
"""


class _Dumper(yaml.SafeDumper):
    """Scripts as they are written by hand: a block, not one quoted line."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)


def slurm_text(path: Path, cluster: str, runs: str, gpus: str | None = None) -> str:
    """A launch file for a Slurm cluster.

    Args:
        path: launch file of this repository.
        cluster: host in ~/.slurm/config.
        runs: folder of all runs on the disk that all nodes share.
        gpus: accelerators of a node; None keeps the file's, "none" asks for none.

    Raises:
        ConfigError: no such file, no folder, or a service, which SkyPilot starts on clouds only.
    """
    return f"# {path.name} for Slurm, written by `tenet sky slurm`.\n" + yaml.dump(
        slurm(_read(path), cluster, runs, gpus), Dumper=_Dumper, sort_keys=False, width=200
    )


def slurm(task: dict[str, Any], cluster: str, runs: str, gpus: str | None = None) -> dict[str, Any]:
    """See `slurm_text`."""
    if "service" in task:
        raise ConfigError(f"{task['name']} is a service, and SkyPilot starts none on Slurm; `tenet serve` starts one on a node")
    asked = gpus or _accelerators(task["resources"])
    kept = {key: value for key, value in task["resources"].items() if key not in CLOUD_RESOURCES}
    wanted = {"infra": f"slurm/{cluster}", **kept} | ({} if asked == "none" else {"accelerators": asked})
    return _on_shared_disk(task, wanted, runs, instance="")  # no machine of EC2, so no network that could be expected


def kubernetes_text(path: Path, context: str, runs: str, gpus: str | None = None) -> str:
    """A launch file for pods that share a volume, as those of the stack's cluster share Lustre.

    Args:
        path: launch file of this repository.
        context: of the cluster in kubeconfig; empty leaves it to SkyPilot's configuration.
        runs: folder of all runs on the volume.
        gpus: accelerators of a pod; None keeps the file's, "none" asks for none.

    Raises:
        ConfigError: no such file, no folder, or no machine has these accelerators.
    """
    return f"# {path.name} for pods that share a volume, written by `tenet sky kubernetes`.\n" + yaml.dump(
        kubernetes(_read(path), context, runs, gpus), Dumper=_Dumper, sort_keys=False, width=200
    )


def kubernetes(task: dict[str, Any], context: str, runs: str, gpus: str | None = None) -> dict[str, Any]:
    """See `kubernetes_text`. A pod gets what it asks for, so it asks for what the machine of its accelerators has."""
    asked = gpus or _accelerators(task["resources"])
    if "service" in task:  # pods are no spot machines, and nothing stands in for them
        policy = {key: value for key, value in task["service"]["replica_policy"].items() if key != "dynamic_ondemand_fallback"}
        task = {**task, "service": {**task["service"], "replica_policy": policy}}
    kept = {key: value for key, value in task["resources"].items() if key not in CHOICES}
    wanted = {**kept, "infra": f"kubernetes/{context}" if context else "kubernetes"}
    if asked == "none":
        return _on_shared_disk(task, wanted, runs, instance="")
    machine = machine_of(asked)
    cpus, memory = room(machine)
    return _on_shared_disk(
        task, {**wanted, "accelerators": asked, "cpus": f"{cpus}+", "memory": f"{memory}+"}, runs, machine.name
    )


def _accelerators(resources: dict[str, Any]) -> str:
    """The first that the file asks for, or none."""
    choices = [resources, *resources.get("ordered", []), *resources.get("any_of", [])]
    return str(next((choice["accelerators"] for choice in choices if "accelerators" in choice), "none"))


def _on_shared_disk(task: dict[str, Any], resources: dict[str, Any], runs: str, instance: str) -> dict[str, Any]:
    """The task on other machines, whose runs lie on a disk that all of them have: no bucket."""
    if not Path(runs).is_absolute():
        raise ConfigError(f"--runs is {runs!r}; give the whole path of a folder that all nodes of the cluster see")
    envs = {key: value for key, value in task["envs"].items() if key not in CLOUD_ENVS} | {"RUNS": runs}
    if "INSTANCE" in envs:
        envs["INSTANCE"] = instance
    changed = {**task, "resources": resources, "envs": envs}
    del changed["file_mounts"]
    return changed


def pipeline_text(folder: Path, nodes: int = 1) -> str:
    """All training stages as one file, in the order of `STAGES`.

    Args:
        folder: of the launch files.
        nodes: of each stage that trains; `sky jobs launch --num-nodes` changes no pipeline.

    Raises:
        ConfigError: the folder has no launch files, or the number makes no sense.
    """
    from tenet.pipeline.table import STAGES

    if nodes < 1:
        raise ConfigError(f"--num-nodes is {nodes}; give 1 or more")
    files = [
        folder / f"{name}.yaml"
        for name, stage in STAGES.items()
        if stage.usual and name not in BY_HAND and (folder / f"{name}.yaml").exists()
    ]
    if not files:
        raise ConfigError(f"no launch file of a stage in {folder.resolve()}; start `tenet sky pipeline` in the repository")
    tasks = [text[text.index(f"name: {path.stem}\n") :] for path, text in ((path, path.read_text()) for path in files)]
    return "---\n".join([PIPELINE_HEAD, *(task.replace("\nnum_nodes: 1\n", f"\nnum_nodes: {nodes}\n") for task in tasks)])


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"there is no launch file {path}; sky/ has one for each stage")
    task = yaml.safe_load(path.read_text())
    if not isinstance(task, dict) or not {"name", "resources", "envs", "file_mounts"} <= set(task):
        raise ConfigError(f"{path} is not a launch file of one stage, with name, resources, envs and file_mounts")
    return task
