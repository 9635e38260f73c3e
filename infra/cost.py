"""What a stack costs a month, from what it declares: idle, every group at its smallest, and busy, every group at its
largest.

A reservation is paid whether its machines run or not, so it counts in full both times (as large as its group can be).

    python infra/cost.py [local|dev|prod ...]

List prices of us-east-1, before any discount; machines are priced by tenet/hardware.py. What is paid by use is not
counted: traffic, requests, objects in S3, logs.
"""

from __future__ import annotations

import sys
from typing import Any

from picture import recorded
from repository import INSTANCES

#: Of when the list prices below are, as the services' pricing pages for us-east-1 gave them; look again before you rely
#: on them.
AS_OF = "2025-12"
HOURS = 730.0
#: Dollars an hour for each one; an interface endpoint for each zone that it stands in.
HOURLY = {
    "ec2/natGateway:NatGateway": 0.045,
    "lb/loadBalancer:LoadBalancer": 0.0225,
    "eks/cluster:Cluster": 0.10,
}
MONTHLY = {"kms/key:Key": 1.0, "secretsmanager/secret:Secret": 0.40, "wafv2/webAcl:WebAcl": 5.0}
ENDPOINT = 0.01
#: Dollars a GiB and month: scratch, and PERSISTENT_2 SSD by its MB/s for each TiB.
LUSTRE = {"SCRATCH_2": 0.14, 125: 0.145, 250: 0.21, 500: 0.34, 1000: 0.60}
#: Machines of the cluster's own pods; the table of tenet/hardware.py holds accelerators only.
SYSTEM = {"m7i.large": 0.1008}


def monthly(rows: list[dict[str, Any]]) -> list[tuple[str, float, float]]:
    """What, dollars a month idle, dollars a month busy."""
    templates = {r["name"]: r["inputs"] for r in rows if r["type"] == "aws:ec2/launchTemplate:LaunchTemplate"}
    found: dict[str, tuple[float, float]] = {}
    for row in rows:
        template = templates.get(row["name"], {})
        low, high = _one(row["type"].removeprefix("aws:"), row["inputs"], template.get("instanceType", ""))
        label = row["type"].split(":")[-1]
        if label in ("NodeGroup", "Group"):
            reserved = "capacityReservationSpecification" in template  # paid whether its machines run or not
            label = f"{'reserved' if reserved else 'machines'} {row['name']}"
            low = high if reserved else low
        if high:
            before = found.get(label, (0.0, 0.0))
            found[label] = (before[0] + low, before[1] + high)
    return [(label, *costs) for label, costs in sorted(found.items(), key=lambda item: -item[1][1])]


def _one(kind: str, inputs: dict[str, Any], machine: str) -> tuple[float, float]:
    fixed = HOURLY.get(kind, 0.0) * HOURS + MONTHLY.get(kind, 0.0)
    if kind == "ec2/vpcEndpoint:VpcEndpoint" and inputs.get("vpcEndpointType") == "Interface":
        fixed = ENDPOINT * HOURS * len(inputs["subnetIds"])
    if kind == "fsx/lustreFileSystem:LustreFileSystem":
        rate = LUSTRE[inputs["deploymentType"] if inputs["deploymentType"] in LUSTRE else int(inputs["perUnitStorageThroughput"])]
        fixed = rate * inputs["storageCapacity"]
    if kind in ("eks/nodeGroup:NodeGroup", "autoscaling/group:Group"):
        sizes = inputs.get("scalingConfig", inputs)
        hourly = SYSTEM.get(machine) or _rate(machine, inputs.get("capacityType") == "CAPACITY_BLOCK")
        return sizes["minSize"] * hourly * HOURS, sizes["maxSize"] * hourly * HOURS
    return fixed, fixed


def _rate(machine: str, block: bool) -> float:
    """Dollars an hour; a type that is sold in one way only costs that."""
    row = INSTANCES[machine]
    rate = (row.block or row.dollars) if block else (row.dollars or row.block)
    if rate is None:
        raise SystemExit(f"{machine} has no price in tenet/hardware.py; add one with its source")
    return rate


def table(stack: str) -> str:
    """The costs of a stack as text."""
    rows = monthly(recorded(stack))
    total = ("in all", sum(r[1] for r in rows), sum(r[2] for r in rows))
    lines = [f"{label:<36}{idle:>14,.0f}{busy:>16,.0f}" for label, idle, busy in [*rows, total]]
    return "\n".join([f"{f'{stack}, dollars a month ({AS_OF})':<36}{'idle':>14}{'busy':>16}", *lines])


if __name__ == "__main__":
    for name in sys.argv[1:] or ["dev", "prod"]:
        print(table(name), end="\n\n")
