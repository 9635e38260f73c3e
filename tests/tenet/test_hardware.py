"""The table against what EC2 itself says of its machines, and against the arithmetic of the chips."""

from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from tenet import hardware
from tenet.errors import ConfigError
from tenet.hardware import ACCELERATORS, INSTANCES, Accelerator, Instance, cluster_of

MACHINES = list(INSTANCES.values())
names = [machine.name for machine in MACHINES]
#: Streaming multiprocessors, dense bf16 FLOP a clock on each, boost clock: NVIDIA's architecture papers. B300 is taken
#: as B200 is.
CHIPS = {
    "A100-40GB": (108, 2048, 1.41e9),
    "A100-80GB": (108, 2048, 1.41e9),
    "H100": (132, 4096, 1.83e9),
    "H200": (132, 4096, 1.83e9),
    "B200": (148, 8192, 1.85e9),
    "B300": (148, 8192, 1.85e9),
    "L4": (58, 1024, 2.04e9),
    "L40S": (142, 1024, 2.52e9),
    "A10G": (80, 512, 1.71e9),
}
#: Boards that share a chip's limits: bytes a FLOP below which a row has its sparse rate or someone else's bandwidth.
BYTES_A_FLOP = (1 / 500, 1 / 60)


def recorded() -> dict[str, Any]:
    """EC2's DescribeInstanceTypes, as the package moto has recorded it; found without importing moto."""
    spec = importlib.util.find_spec("moto")
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).parent / "ec2" / "resources" / "instance_types.json.gz"
    content: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return content


@pytest.fixture(scope="module")
def ec2() -> dict[str, Any]:
    return recorded()


@pytest.mark.parametrize("machine", MACHINES, ids=names)
def test_machines_are_as_ec2_describes_them(machine: Instance, ec2: dict[str, Any]) -> None:
    told = ec2[machine.name]
    (gpu,) = told["GpuInfo"]["Gpus"]
    network = told["NetworkInfo"]
    assert machine.accelerator.startswith(gpu["Name"]) and machine.count == gpu["Count"]
    assert machine.vcpus == told["VCpuInfo"]["DefaultVCpus"]
    assert machine.memory_gib == told["MemoryInfo"]["SizeInMiB"] / 1024
    assert machine.device.memory == gpu["MemoryInfo"]["SizeInMiB"] * 2**20
    assert machine.scratch_gb == told["InstanceStorageInfo"]["TotalSizeInGB"]
    assert machine.cards == len(network["NetworkCards"])
    assert machine.efa == (network.get("EfaInfo") or {}).get("MaximumEfaInterfaces", 0)
    total = network["NetworkPerformance"].removesuffix(" Gigabit").removeprefix("Up to ")
    times, _, each = total.rpartition("x ")
    assert machine.network == int(times or 1) * int(each)


@pytest.mark.parametrize("machine", MACHINES, ids=names)
def test_cards_add_up(machine: Instance) -> None:
    cards = machine.network_cards()
    assert [card.index for card in cards] == list(range(machine.cards))
    assert cards[0].kind != "efa-only", "the first card carries the machine's address"
    assert sum(card.kind != "interface" for card in cards) == machine.efa
    if machine.efa:
        assert machine.network / machine.efa in (40, 100, 200, 400)


def test_which_cards_take_an_address() -> None:
    """EC2 guide: P5 and P5e every fourth card, elsewhere the first alone; P6-B300's first card has no EFA."""
    addressed = {m.name: [c.index for c in m.network_cards() if c.kind != "efa-only"] for m in MACHINES}
    assert addressed["p5.48xlarge"] == addressed["p5e.48xlarge"] == [0, 4, 8, 12, 16, 20, 24, 28]
    assert addressed["p5en.48xlarge"] == addressed["p6-b200.48xlarge"] == addressed["g6e.xlarge"] == [0]
    assert all(m.addresses == len(addressed[m.name]) for m in MACHINES)
    b300 = INSTANCES["p6-b300.48xlarge"].network_cards()
    assert [c.kind for c in b300] == ["interface"] + ["efa-only"] * 16


@pytest.mark.parametrize("device", ACCELERATORS.values(), ids=list(ACCELERATORS))
def test_peaks_are_dense_and_rows_are_sourced(device: Accelerator) -> None:
    assert len(device.source) > 10
    assert 0 < device.attained < 1
    if device.name == "CPU core":
        return
    units, each, clock = CHIPS[device.name]
    # Sparse rates are twice as high.
    assert device.bf16 == pytest.approx(units * each * clock, rel=0.03)
    assert device.fp8 == 0 or device.fp8 == pytest.approx(2 * device.bf16, rel=0.02)
    low, high = BYTES_A_FLOP
    assert low < device.bandwidth / device.bf16 < high
    assert 30e9 < device.link <= 900e9 and 50 < device.watts < 1500


@pytest.mark.parametrize("machine", MACHINES, ids=names)
def test_prices_and_power(machine: Instance) -> None:
    assert len(machine.source) > 10
    known = [p for p in (machine.dollars, machine.block, machine.spot) if p is not None]
    assert known, "nobody could pay for it"
    assert all(0.2 < price / machine.count < 20 for price in known)
    if machine.dollars is not None:
        assert machine.dollars == max(known)
    # A node draws at least what its boards may.
    assert machine.watts >= machine.count * machine.device.watts
    assert machine.flops == machine.count * machine.device.bf16


def test_what_must_be_there() -> None:
    families = {"p4d.24", "p4de.24", "p5.4", "p5.48", "p5e.48", "p5en.48", "p6-b200.48", "p6-b300.48", "g6e.", "g5."}
    assert all(any(name.startswith(family) for name in INSTANCES) for family in families)
    assert len(hardware.AS_OF) == 10


def test_an_unknown_price_names_those_that_are_known() -> None:
    with pytest.raises(ConfigError, match=r"plan.price is 'on-demand'; for p5e.48xlarge .* has block \(\$43.26\)"):
        INSTANCES["p5e.48xlarge"].price("on-demand")
    assert INSTANCES["p5.48xlarge"].price("block") == 31.464


def test_cluster_names() -> None:
    assert cluster_of("p5.48xlarge").name == "p5.48xlarge:1"
    assert cluster_of("p5.48xlarge:256").devices == 2048
    assert cluster_of("local").name == "local" and cluster_of("local").devices == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p5.48xlrge:2", r"plan.cluster.*p5.48xlrge.*did you mean p5.48xlarge"),
        ("h100", r"plan.cluster: no instance type 'h100'.*There are local, p4d"),
        ("p5.48xlarge:none", r"plan.cluster is 'p5.48xlarge:none'.*TYPE:COUNT"),
        ("p5.48xlarge:", r"plan.cluster is 'p5.48xlarge:'"),
        ("p5.48xlarge:0", r"plan.cluster is 'p5.48xlarge:0'"),
        ("local:3", r"plan.cluster is 'local:3'"),
    ],
)
def test_clusters_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cluster_of(text)
