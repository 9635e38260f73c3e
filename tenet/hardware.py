"""What can be rented: accelerators and instances in one dated table, so that no price or peak is written anywhere else.

`plan` and `infra/` read it. FLOP/s are dense (no sparsity), as the vendor's data sheet gives them; a peak that is twice
too high makes every utilisation half as large. Prices move: each row says where it is from, `AS_OF` when the table was
last gone through.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from typing import Literal, TypeVar

from tenet.errors import ConfigError

#: Watts of one busy core of a current server with its share of memory and supplies; used where nothing can be measured.
WATTS_PER_CORE = 8.0

#: Day on which the rows were last gone through by a person.
AS_OF = "2026-11-25"

GIB = 2**30
MIB = 2**20
#: A CPU core at 2.5 GHz with two 8-wide fused multiply-adds a cycle (AVX2, fp32): 2.5e9 * 2 * 8 * 2. Assumed, not
#: measured: the same preset gives the same plan on every machine of as many cores.
CORE_FLOPS = 80e9


@dataclass(frozen=True)
class Accelerator:
    """One device.

    Args:
        name: as SkyPilot and the vendor write it.
        bf16, fp8: dense FLOP/s; fp8 is 0 where the device has none.
        memory: bytes that EC2 reports; bandwidth: bytes per second of it.
        link: bytes per second in one direction to the other devices of the machine (NVLink, or PCIe where there is
            none).
        attained: share of `bf16` that the matrix products of a training run reach; see ATTAINED.
        watts: board power limit.
        source: where the rest of the row is from.
    """

    name: str
    bf16: float
    fp8: float
    memory: float
    bandwidth: float
    link: float
    attained: float
    watts: float
    source: str


@dataclass(frozen=True)
class Card:
    """A network card and the interface it gets: `interface` has an IP and no EFA, `efa` both, `efa-only` no IP."""

    index: int
    kind: Literal["interface", "efa", "efa-only"]


@dataclass(frozen=True)
class Instance:
    """One machine that can be rented.

    Args:
        name: EC2 instance type, or "local".
        accelerator: key of ACCELERATORS; count: how many of them.
        vcpus: virtual CPUs; memory_gib: of the machine itself, beside its accelerators'.
        scratch_gb: NVMe disks that are empty at every start, decimal gigabytes in all.
        network: Gbit/s in one direction, all cards together; EFA's where there is EFA.
        cards: network cards; efa: how many of them speak EFA.
        dollars: on demand, an hour, us-east-1 unless `note` says otherwise; block: in a capacity block; spot: median
            over the zones that sold it below the list. None where it is not sold so or no source was found.
        watts: the most that the whole machine draws.
        source: of price and power; a DGX of the same boards gives its maximum.
        note: regions, and what else a buyer should know.
    """

    name: str
    accelerator: str
    count: int
    vcpus: int
    memory_gib: int
    scratch_gb: int
    network: float
    cards: int
    efa: int
    dollars: float | None
    block: float | None
    spot: float | None
    watts: float
    source: str
    note: str = ""

    @property
    def device(self) -> Accelerator:
        """The accelerator's row."""
        return ACCELERATORS[self.accelerator]

    @property
    def flops(self) -> float:
        """Dense bf16 FLOP/s of the whole machine (fp32 on CPU cores)."""
        return self.count * self.device.bf16

    def network_cards(self) -> list[Card]:
        """The interface of each card, after the EC2 guide's "Maximize network bandwidth ... with multiple network
        cards".

        Card 0 always has an IP. P5 and P5e share their IP bandwidth among groups of four cards, so every fourth card
        has one; elsewhere one address is enough. A machine with more cards than EFA (P6-B300) keeps card 0 for IP
        alone.
        """
        if not self.efa:
            return [Card(0, "interface")]
        first: Literal["interface", "efa"] = "efa" if self.efa == self.cards else "interface"
        step = 4 if self.cards == 32 else self.cards
        return [Card(i, first if i == 0 else "efa" if i % step == 0 else "efa-only") for i in range(self.cards)]

    @property
    def addresses(self) -> int:
        """IP addresses that one machine takes from its subnet, before containers."""
        return sum(card.kind != "efa-only" for card in self.network_cards())

    def price(self, kind: str, key: str = "plan.price") -> float:
        """Dollars an hour.

        Args:
            kind: on-demand, block or spot.
            key: setting that named it, for the message.

        Raises:
            ConfigError: it is not sold so, or nobody knows the price.
        """
        prices = {"on-demand": self.dollars, "block": self.block, "spot": self.spot}
        found = prices.get(kind)
        if found is None:
            known = ", ".join(f"{name} (${value:g})" for name, value in prices.items() if value is not None)
            raise ConfigError(f"{key} is {kind!r}; for {self.name} tenet/hardware.py has {known or 'no price'}")
        return found


Row = TypeVar("Row", Accelerator, Instance)


def _by_name(*rows: Row) -> dict[str, Row]:
    return {row.name: row for row in rows}


#: Fitted, not read: with these shares the roofline comes nearest to the training runs of docs/cost.md, A100 by
#: TinyLlama, H100 by OLMo 2 and torchtitan, CPU cores by this repository's tiny preset. The other rows are assumed to
#: be like H100.
ATTAINED = "fitted to the runs of docs/cost.md; B200, B300, L4, L40S and A10G assumed to be like H100"

ACCELERATORS = _by_name(
    Accelerator("A100-40GB", 312e12, 0.0, 40960 * MIB, 1.555e12, 300e9, 0.7, 400, "NVIDIA A100 data sheet, SXM 40 GB"),
    Accelerator("A100-80GB", 312e12, 0.0, 81920 * MIB, 2.039e12, 300e9, 0.7, 400, "NVIDIA A100 data sheet, SXM 80 GB"),
    Accelerator("H100", 989.4e12, 1978.9e12, 81920 * MIB, 3.35e12, 450e9, 0.45, 700, "NVIDIA H100 data sheet, SXM5, no sparsity"),
    Accelerator("H200", 989.4e12, 1978.9e12, 144384 * MIB, 4.8e12, 450e9, 0.45, 700, "NVIDIA H200 data sheet, SXM, no sparsity"),
    Accelerator(
        "B200", 2250e12, 4500e12, 183359 * MIB, 8.0e12, 900e9, 0.45, 1000, "NVIDIA DGX B200 data sheet, / 8, no sparsity"
    ),
    Accelerator(
        "B300", 2250e12, 4500e12, 275040 * MIB, 8.0e12, 900e9, 0.45, 1100, "NVIDIA HGX B300 specification, / 8, no sparsity"
    ),
    Accelerator("L4", 121e12, 242.5e12, 22888 * MIB, 0.3e12, 32e9, 0.45, 72, "NVIDIA L4 data sheet, no sparsity; PCIe 4 x16"),
    Accelerator(
        "L40S", 362e12, 733e12, 45776 * MIB, 0.864e12, 32e9, 0.45, 350, "NVIDIA L40S data sheet, no sparsity; PCIe 4 x16"
    ),
    # Half of the A10's rate in EC2's variant: 70 dense bf16 TFLOP/s in NVIDIA's A10G sheet against 125 of the A10.
    Accelerator("A10G", 70e12, 0.0, 22888 * MIB, 0.6e12, 32e9, 0.45, 300, "NVIDIA A10G data sheet (EC2's A10); PCIe 4 x16"),
    Accelerator(
        "CPU core",
        CORE_FLOPS,
        0.0,
        2 * GIB,
        10e9,
        10e9,
        0.7,
        WATTS_PER_CORE,
        "assumed: 2.5 GHz, AVX2, fp32; WATTS_PER_CORE",
    ),
)

# vCPUs, memory, disks, network and cards of every EC2 row are from EC2's DescribeInstanceTypes, as recorded in the
# package moto 5.2.5; a test compares them. Prices and power: each row's source.
_LIST = "EC2 list, us-east-1"
_SEEN = "EC2 list and spot, us-east-1, in SkyPilot's catalog v8 (2026)"
_BLOCK = "capacity block rates are set anew each quarter"

INSTANCES = _by_name(
    #                             count vCPU  GiB  scratch network cards EFA | on demand, block, spot, watts
    Instance("p4d.24xlarge", "A100-40GB", 8, 96, 1152, 8000, 400, 4, 4, 21.96, 14.75, None, 6_500, f"{_LIST}; {_BLOCK} (2024-12); DGX A100"),
    Instance("p4de.24xlarge", "A100-80GB", 8, 96, 1152, 8000, 400, 4, 4, 27.45, None, 9.31, 6_500, f"{_SEEN}; DGX A100"),
    Instance("p5.4xlarge", "H100", 1, 16, 256, 3800, 100, 1, 1, 6.88, None, None, 1_275, f"{_SEEN}; an eighth of p5.48xlarge's power"),
    Instance("p5.48xlarge", "H100", 8, 192, 2048, 30400, 3200, 32, 32, 55.04, 31.464, 19.25, 10_200, f"{_SEEN}; {_BLOCK} (2025-06); DGX H100"),
    Instance("p5e.48xlarge", "H200", 8, 192, 2048, 30400, 3200, 32, 32, None, 43.26, None, 10_200, f"{_BLOCK} (2024-12); DGX H200",
             "no on-demand price in any region; spot in us-east-2 was $18.74 to $63.00"),
    Instance("p5en.48xlarge", "H200", 8, 192, 2048, 30400, 3200, 16, 16, 63.296, None, 17.21, 10_200, f"{_SEEN}; DGX H200"),
    Instance("p6-b200.48xlarge", "B200", 8, 192, 2048, 30400, 3200, 8, 8, 113.9328, None, 17.02, 14_300, f"{_SEEN}; DGX B200",
             "on demand in us-east-1, us-east-2 and us-west-2"),
    Instance("p6-b300.48xlarge", "B300", 8, 192, 4096, 30400, 6400, 17, 16, 142.416, None, 33.43, 14_000,
             "EC2 list and spot, us-west-2, in SkyPilot's catalog v8 (2026); DGX B300, about 14 kW", "us-west-2 only"),
    Instance("g5.xlarge", "A10G", 1, 4, 16, 250, 10, 1, 0, 1.006, None, None, 400, f"{_LIST}; board and 100 W of host"),
    Instance("g5.12xlarge", "A10G", 4, 48, 192, 3800, 40, 1, 1, 5.672, None, None, 1_600, f"{_LIST}; boards and 400 W of host"),
    Instance("g5.48xlarge", "A10G", 8, 192, 768, 7600, 100, 1, 1, 16.288, None, None, 3_200, f"{_LIST}; boards and 800 W of host"),
    Instance("g6.xlarge", "L4", 1, 4, 16, 250, 10, 1, 0, 0.8048, None, None, 172, f"{_LIST}; board and 100 W of host"),
    Instance("g6.12xlarge", "L4", 4, 48, 192, 3760, 40, 1, 1, 4.6016, None, None, 688, f"{_LIST}; boards and 400 W of host"),
    Instance("g6e.xlarge", "L40S", 1, 4, 32, 250, 20, 1, 0, 1.861, None, None, 450, f"{_LIST}; board and 100 W of host"),
    Instance("g6e.12xlarge", "L40S", 4, 48, 384, 3800, 100, 1, 1, 10.49, None, None, 1_800, f"{_LIST}; boards and 400 W of host"),
    Instance("g6e.48xlarge", "L40S", 8, 192, 1536, 7600, 400, 4, 4, 30.13, None, None, 3_600, f"{_LIST}; boards and 800 W of host"),
)  # fmt: skip

#: kg CO2e for a kWh of the region's grid, location-based: what the grid emits, not what is bought to make up for it.
CARBON: dict[str, float] = {
    "us-east-1": 0.416,
    "us-east-2": 0.440,
    "us-west-2": 0.351,
    "eu-west-1": 0.316,
    "eu-central-1": 0.338,
    "eu-north-1": 0.008,
    "ap-northeast-1": 0.506,
    "ap-southeast-2": 0.790,
    "ca-central-1": 0.130,
    "sa-east-1": 0.074,
}
CARBON_SOURCE = "Cloud Carbon Footprint's AWS grid factors (EPA eGRID, EEA and others), rounded; about 2020, so on the high side"


@dataclass(frozen=True)
class Cluster:
    """So many machines of one type."""

    instance: Instance
    count: int

    @property
    def local(self) -> bool:
        """This machine, which counts as one device of several cores."""
        return self.instance.name == "local"

    @property
    def per_machine(self) -> int:
        """Devices of one machine."""
        return 1 if self.local else self.instance.count

    @property
    def devices(self) -> int:
        """Devices of all machines."""
        return self.per_machine * self.count

    @property
    def peak(self) -> float:
        """Dense FLOP/s of one device."""
        return self.instance.flops / self.per_machine

    @property
    def memory(self) -> float:
        """Bytes on one device."""
        return local_memory() if self.local else self.instance.device.memory

    @property
    def bandwidth(self) -> float:
        """Bytes a second of one device's memory."""
        return self.instance.device.bandwidth * (self.instance.count if self.local else 1)

    @property
    def network(self) -> float:
        """Bytes a second in and out of one machine."""
        return self.instance.network * 1e9 / 8

    @property
    def name(self) -> str:
        """As it is given on the command line."""
        return "local" if self.local else f"{self.instance.name}:{self.count}"


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def local(count: int = 0) -> Instance:
    """This machine as a row of the table: its cores, nothing to pay.

    Args:
        count: cores used; 0 counts those that this process may use.
    """
    used = count or cores()
    source = "this machine: cores counted, power of WATTS_PER_CORE"
    memory = int(local_memory() / GIB)
    return Instance("local", "CPU core", used, used, memory, 0, 0, 1, 0, 0.0, 0.0, 0.0, used * WATTS_PER_CORE, source)


def local_memory() -> float:
    """Bytes of this machine's memory."""
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def instance(name: str, key: str = "plan.cluster") -> Instance:
    """Row of an instance type.

    Args:
        name: EC2 instance type or "local".
        key: setting that named it, for the message.

    Raises:
        ConfigError: there is no such row.
    """
    if name == "local":
        return local()
    if name in INSTANCES:
        return INSTANCES[name]
    close = difflib.get_close_matches(name, INSTANCES, 3)
    hint = f"; did you mean {' or '.join(close)}?" if close else "."
    raise ConfigError(f"{key}: no instance type {name!r} in tenet/hardware.py{hint} There are local, {', '.join(INSTANCES)}")


def cluster_of(text: str, key: str = "plan.cluster") -> Cluster:
    """Read `TYPE:COUNT`, `TYPE` or `local`.

    Raises:
        ConfigError: no such type, or no count.
    """
    name, colon, count = text.partition(":")
    machine = instance(name, key)
    if not colon:
        return Cluster(machine, 1)
    if not count.isdecimal() or int(count) < 1 or name == "local":
        raise ConfigError(f"{key} is {text!r}; write TYPE:COUNT with a count of at least 1, e.g. p5.48xlarge:2, or local")
    return Cluster(machine, int(count))


def carbon(region: str, key: str = "plan.region") -> float:
    """kg CO2e a kWh in a region.

    Raises:
        ConfigError: the table has no such region.
    """
    if region not in CARBON:
        raise ConfigError(f"{key}: no carbon intensity for {region!r}; there are {', '.join(CARBON)}")
    return CARBON[region]
