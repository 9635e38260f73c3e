"""Run the Pulumi program of one stack against mocks and write down what it declares: plain data, no engine, no AWS.

A process of its own each time, because Pulumi keeps its state in module globals and the program's modules have plain
names.

    python tests/infra/recorder.py dev OUT.json [--preview] [--set tenet:key=value]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import runpy
import sys
import threading
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pulumi.runtime import mocks, rpc
from pulumi.runtime import settings as runtime
from pulumi.runtime.stack import run_in_stack

sys.path.insert(0, str(Path(__file__).parent))
from computed import answer, cluster_network, computed

ROOT = Path(__file__).resolve().parents[2]
#: How Pulumi's protocol marks an object as a wrapper with a value in it.
SECRET = rpc._special_sig_key


class Cloud(mocks.Mocks):
    """Gives each resource an id and an ARN that a test can recognise; in a preview they are unknown, as on a first
    one."""

    def __init__(self, preview: bool) -> None:
        self.preview = preview

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        """Inputs come back as outputs, beside what AWS would compute."""
        if args.typ == "aws:eks/cluster:Cluster":
            args.inputs["vpcConfig"] = cluster_network(args.inputs["vpcConfig"], args.name)
        if self.preview:
            return "", dict(args.inputs)
        return f"{args.name}-id", {**computed(args.typ, args.name), **args.inputs}

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        """What the program asks."""
        return answer(args.token, args.args)


class Monitor(mocks.MockMonitor):
    """Notes each registration with its options, one at a time."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.seen: dict[str, Any] = {"resources": [], "outputs": {}, "duplicates": [], "closed": []}
        self.lock = threading.Lock()

    def RegisterResource(self, request: Any) -> Any:
        """Keep inputs and options."""
        with self.lock:
            urn = self.make_urn(request.parent, request.type, request.name)
            # set_mocks registers a stack of its own besides.
            if request.type != "pulumi:pulumi:Stack" and any(entry["urn"] == urn for entry in self.seen["resources"]):
                self.seen["duplicates"].append(urn)
            self.seen["resources"].append(
                {
                    "urn": urn,
                    "type": request.type,
                    "name": request.name,
                    "inputs": plain(rpc.deserialize_properties(request.object)),
                    "protect": request.protect,
                    "retain": request.retainOnDelete,
                    "ignore_changes": list(request.ignoreChanges),
                    "parent": request.parent,
                    "custom": request.custom,
                    "depends_on": list(request.dependencies),
                    "uses": {key: list(sources.urns) for key, sources in request.propertyDependencies.items()},
                }
            )
            return super().RegisterResource(request)

    def RegisterResourceOutputs(self, request: Any) -> Any:
        """Keep the stack's outputs, and which components said that they are complete."""
        if "pulumi:pulumi:Stack" in request.urn:
            self.seen["outputs"] = plain(rpc.deserialize_properties(request.outputs))
        self.seen["closed"].append(request.urn)
        return super().RegisterResourceOutputs(request)


def plain(value: Any) -> Any:
    """Unknown values as Pulumi's protocol writes them, secrets as what is in them."""
    if isinstance(value, dict) and SECRET in value:
        return plain(value["value"])
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else rpc.UNKNOWN


def configuration(stack: str, changes: list[str], filled: bool = True) -> dict[str, str]:
    """Defaults of Pulumi.yaml, the stack's file, what stands for its placeholders (infra/check.yaml), changes: as the
    engine has it."""
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    values = {f"{project['name']}:{key}": item["default"] for key, item in project["config"].items() if "default" in item}
    values |= yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    if filled:
        values |= yaml.safe_load((ROOT / "infra" / "check.yaml").read_text()).get(stack, {})
    for change in changes:
        key, _, value = change.partition("=")
        values[key] = yaml.safe_load(value)
    return {key: item if isinstance(item, str) else json.dumps(item) for key, item in values.items() if item is not None}


def record(stack: str, changes: list[str], preview: bool, filled: bool = True) -> dict[str, Any]:
    """Run the program."""
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    monitor = Monitor(Cloud(preview))
    pulumi.runtime.set_mocks(monitor.mocks, project["name"], stack, preview=preview, monitor=monitor)
    runtime.set_root_resource(None)  # run_in_stack makes its own, and registers the exports as the engine would
    pulumi.runtime.set_all_config(configuration(stack, changes, filled))
    program = ROOT / project["main"]
    os.chdir(program)
    sys.path.insert(0, str(program))
    loop = asyncio.get_event_loop_policy().get_event_loop()
    loop.run_until_complete(run_in_stack(lambda: runpy.run_path(str(program / "__main__.py"), run_name="__main__") and None))
    return monitor.seen


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("stack")
    parser.add_argument("out", type=Path)
    parser.add_argument("--preview", action="store_true")
    parser.add_argument("--as-committed", action="store_true", help="placeholders and all")
    parser.add_argument("--set", action="append", default=[])
    chosen = parser.parse_args()
    out = chosen.out.resolve()
    out.write_text(json.dumps(record(chosen.stack, chosen.set, chosen.preview, not chosen.as_committed), indent=1))
