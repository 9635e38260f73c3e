"""The architecture as a picture, drawn from what stack prod declares: nothing is in it that the program does not make.

    python infra/picture.py docs/infra.md

The program is recorded against mocks (tests/infra/recorder.py); what stands in a subnet is drawn in it, what has no
place beside. The Mermaid text goes between two marks in the page, and a test compares it with a fresh one.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- drawn by `make infra-picture` -->\n", "<!-- end of the drawing -->\n"
Row = dict[str, Any]
#: What is drawn -> how it is called. Roles, rules and settings of a thing are left out: they are the thing's.
SHOWN = {
    "lb/loadBalancer:LoadBalancer": "load balancer",
    "autoscaling/group:Group": "serving machines",
    "eks/cluster:Cluster": "Kubernetes control plane",
    "eks/nodeGroup:NodeGroup": "nodes",
    "fsx/lustreFileSystem:LustreFileSystem": "FSx for Lustre",
    "ec2/natGateway:NatGateway": "NAT",
    "s3/bucket:Bucket": "bucket",
    "kms/key:Key": "key",
    "ecr/repository:Repository": "images",
    "secretsmanager/secret:Secret": "callers' keys",
    "dynamodb/table:Table": "callers' keys, table",
    "ssm/parameter:Parameter": "served version",
    "wafv2/webAcl:WebAcl": "firewall",
    "cloudfront/distribution:Distribution": "CloudFront",
    "ec2/vpcEndpointService:VpcEndpointService": "PrivateLink",
    "sns/topic:Topic": "alerts",
}
#: Properties that say where a thing stands.
PLACES = ("subnetIds", "subnets", "subnetId", "vpcZoneIdentifiers")


def recorded(stack: str = "prod") -> list[Row]:
    """Resources of a stack, as plain data."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "stack.json"
        recorder = ROOT / "tests" / "infra" / "recorder.py"
        subprocess.run([sys.executable, str(recorder), stack, str(out)], check=True)
        rows: list[Row] = json.loads(out.read_text())["resources"]
        return rows


def mermaid(rows: list[Row]) -> str:
    """The drawing as a Mermaid flowchart."""
    shown = [r for r in rows if r["type"].removeprefix("aws:") in SHOWN]
    places: dict[str, list[Row]] = {}
    for row in shown:
        places.setdefault(_place(row), []).append(row)
    lines = ["flowchart LR", '  clients(["clients: boto3"])', '  people(["people: sky launch, kubectl"])']
    (vpc,) = _of(rows, "ec2/vpc:Vpc")
    lines.append(f'  subgraph vpc["VPC {vpc["inputs"]["cidrBlock"]}"]')
    for kind in ("public", "private", "gpu"):
        lines.append(f'    subgraph {kind}["{_subnets(rows, kind)}"]')
        lines += [f"      {line}" for line in _nodes(rows, places.get(kind, []))]
        lines.append("    end")
    lines += ["  end", '  subgraph region["outside the network"]']
    lines += [f"    {line}" for line in _nodes(rows, places.get("", []))]
    return "\n".join([*lines, "  end", *(f"  {edge}" for edge in _edges(rows))]) + "\n"


def _of(rows: list[Row], kind: str) -> list[Row]:
    return [r for r in rows if r["type"] == f"aws:{kind}"]


def _place(row: Row) -> str:
    """public, private or gpu; empty for what stands in no subnet."""
    where = json.dumps([row["inputs"].get(key) for key in PLACES])
    return next((kind for kind in ("gpu", "private", "public") if f"network-{kind}-" in where), "")


def _subnets(rows: list[Row], kind: str) -> str:
    found = [r["inputs"] for r in _of(rows, "ec2/subnet:Subnet") if f"-{kind}-" in r["name"]]
    blocks = sorted(ipaddress.IPv4Network(i["cidrBlock"]) for i in found)
    zones = ", ".join(sorted(i["availabilityZone"][-1] for i in found))
    return f"{kind} subnets, zone {zones}: {', '.join(map(str, blocks))}"


def _id(row: Row) -> str:
    return f"{row['type'].split(':')[-1]}_{row['name']}".replace("-", "_")


def _nodes(rows: list[Row], found: list[Row]) -> list[str]:
    """One box for each thing; alike things in different zones share one."""
    lines: dict[str, list[str]] = {}
    for row in found:
        kind = row["type"].removeprefix("aws:")
        shared = "NatGateway" if kind.endswith("NatGateway") else _id(row)
        lines.setdefault(shared, []).append(f"{SHOWN[kind]}{_detail(rows, row)}")
    return [f'{key}["{texts[0]}{f" x {len(texts)}" if len(texts) > 1 else ""}"]' for key, texts in sorted(lines.items())]


def _detail(rows: list[Row], row: Row) -> str:
    inputs, kind = row["inputs"], row["type"].split(":")[-1]
    templates = {r["name"]: r["inputs"] for r in _of(rows, "ec2/launchTemplate:LaunchTemplate")}
    machine = templates.get(row["name"], {}).get("instanceType", "")
    if kind == "NodeGroup":
        size = inputs["scalingConfig"]
        cards = sum(c["interfaceType"].startswith("efa") for c in templates[row["name"]].get("networkInterfaces", []))
        market = inputs["capacityType"].lower().replace("_", " ")
        return f" {inputs['nodeGroupName']}: {machine}, {size['minSize']:.0f} to {size['maxSize']:.0f}, {market}{f', {cards} EFA' if cards else ''}"
    if kind == "Group":
        return f": {machine}, {inputs['minSize']:.0f} to {inputs['maxSize']:.0f}"
    if kind == "LustreFileSystem":
        return f": {inputs['deploymentType']}, {inputs['storageCapacity'] / 1024:.1f} TiB{', EFA' if inputs.get('efaEnabled') else ''}"
    return f" {row['name'].removeprefix('storage-')}" if kind == "Bucket" else ""


def _edges(rows: list[Row]) -> list[str]:
    """Who reaches what, as far as one resource names another."""
    by_id = {f"{r['name']}-id": r for r in _of(rows, "fsx/lustreFileSystem:LustreFileSystem")}
    buckets = {r["name"]: r for r in _of(rows, "s3/bucket:Bucket")}
    edges = []
    for link in _of(rows, "fsx/dataRepositoryAssociation:DataRepositoryAssociation"):
        files, bucket = by_id[link["inputs"]["fileSystemId"]], buckets[link["inputs"]["dataRepositoryPath"].removeprefix("s3://")]
        brought = "autoImportPolicy" in link["inputs"]["s3"]
        ends = (_id(bucket), _id(files)) if brought else (_id(files), _id(bucket))
        edges.append(f"{ends[0]} -- {'import' if brought else 'export'} --> {ends[1]}")
    for group in _of(rows, "eks/nodeGroup:NodeGroup"):
        edges += [f"{_id(cluster)} --> {_id(group)}" for cluster in _of(rows, "eks/cluster:Cluster")]
        edges += [f"{_id(group)} <--> {_id(files)}" for files in by_id.values() if _place(files) == _place(group)]
    balancers = _of(rows, "lb/loadBalancer:LoadBalancer")
    for balancer in balancers:
        if balancer["inputs"].get("loadBalancerType") == "application":
            edges.append(f"clients -- 443 --> {_id(balancer)}")
            edges += [f"{_id(balancer)} --> {_id(group)}" for group in _of(rows, "autoscaling/group:Group")]
    for task in _of(rows, "ecs/taskDefinition:TaskDefinition"):
        used = [bucket for bucket in buckets.values() if bucket["urn"] in task["depends_on"]]
        edges += [f"{_id(bucket)} --> {_id(group)}" for bucket in used for group in _of(rows, "autoscaling/group:Group")]
    edges += [f"people --> {_id(cluster)}" for cluster in _of(rows, "eks/cluster:Cluster")]
    return sorted(edges)


def placed(page: str, drawing: str) -> str:
    """The page with the drawing between its marks.

    Raises:
        ValueError: the page has no marks.
    """
    if BEGIN not in page or END not in page:
        raise ValueError(f"the page has no lines {BEGIN.strip()} and {END.strip()}")
    before, rest = page.split(BEGIN, 1)
    return f"{before}{BEGIN}```mermaid\n{drawing}```\n{END}{rest.split(END, 1)[1]}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(placed(path.read_text(), mermaid(recorded())))
