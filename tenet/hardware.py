"""What can be rented: accelerators and instances in one dated table, so that no price or peak is written anywhere else.

`plan` and `infra/` read it. FLOP/s are dense (no sparsity), as the vendor's data sheet gives them; a peak that is twice too high
makes every utilisation half as large. Prices move: each row says where it is from, `AS_OF` when the table was last gone through.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass

from tenet.errors import ConfigError
from tenet.runs import WATTS_PER_CORE

#: Day on which the rows were last gone through by a person.
AS_OF = "2026-11-24"

GIB = 2**30
#: A CPU core at 2.5 GHz with two 8-wide fused multiply-adds a cycle (AVX2, fp32): 2.5e9 * 2 * 8 * 2. Assumed, not measured:
#: the same preset gives the same plan on every machine of as many cores.
CORE_FLOPS = 80e9


@dataclass(frozen=True)
class Accelerator:
    """One device.

    Args:
        name: as SkyPilot and the vendor write it.
        bf16, fp8: dense FLOP/s; fp8 is 0 where the device has none.
        memory: bytes; bandwidth: bytes a second of it.
        watts: board power limit.
        source: where the row is from.
    """

    name: str
    bf16: float
    fp8: float
    memory: float
    bandwidth: float
    watts: float
    source: str


@dataclass(frozen=True)
class Instance:
    """One machine that can be rented.

    Args:
        name: EC2 instance type, or "local".
        accelerator: key of ACCELERATORS; count: how many of them.
        memory_gib: of the machine itself, beside its accelerators'.
        efa: network cards with EFA; 0 has none.
        dollars: on demand, us-east-1, an hour; block: in a capacity block, None where it is not sold so or not known.
        watts: of the whole machine under load.
        source: of price and power; a DGX of the same boards gives its maximum.
    """

    name: str
    accelerator: str
    count: int
    memory_gib: int
    efa: int
    dollars: float
    block: float | None
    watts: float
    source: str

    @property
    def device(self) -> Accelerator:
        """The accelerator's row."""
        return ACCELERATORS[self.accelerator]

    @property
    def flops(self) -> float:
        """Dense bf16 FLOP/s of the whole machine (fp32 on CPU cores)."""
        return self.count * self.device.bf16


ACCELERATORS: dict[str, Accelerator] = {
    a.name: a
    for a in (
        Accelerator("A100-40GB", 312e12, 0.0, 40 * GIB, 1.555e12, 400, "NVIDIA A100 data sheet, SXM 40 GB"),
        Accelerator("A100-80GB", 312e12, 0.0, 80 * GIB, 2.039e12, 400, "NVIDIA A100 data sheet, SXM 80 GB"),
        Accelerator("H100", 989.4e12, 1978.9e12, 80 * GIB, 3.35e12, 700, "NVIDIA H100 data sheet, SXM5, without sparsity"),
        Accelerator("H200", 989.4e12, 1978.9e12, 141e9, 4.8e12, 700, "NVIDIA H200 data sheet, SXM, without sparsity"),
        Accelerator("B200", 2250e12, 4500e12, 180e9, 8.0e12, 1000, "NVIDIA DGX B200 data sheet, an eighth, without sparsity"),
        Accelerator("L40S", 362e12, 733e12, 48e9, 0.864e12, 350, "NVIDIA L40S data sheet, without sparsity"),
        # Half of the A10's rate in EC2's variant: 70 dense bf16 TFLOP/s in NVIDIA's A10G sheet against 125 of the A10.
        Accelerator("A10G", 70e12, 0.0, 24e9, 0.6e12, 300, "NVIDIA A10G data sheet (EC2 variant of the A10)"),
        Accelerator("CPU core", CORE_FLOPS, 0.0, 2 * GIB, 10e9, WATTS_PER_CORE, "assumed: 2.5 GHz, AVX2, fp32; tenet/runs.py"),
    )
}

_LIST = "EC2 on-demand list, us-east-1"
_CUT = f"{_LIST}, after the cut of June 2025"
_BLOCK = "capacity block rates are set anew each quarter"

INSTANCES: dict[str, Instance] = {
    i.name: i
    for i in (
        Instance("p4d.24xlarge", "A100-40GB", 8, 1152, 4, 21.96, 14.75, 6_500, f"{_CUT}; {_BLOCK} (rate of 2025-01); DGX A100"),
        Instance("p4de.24xlarge", "A100-80GB", 8, 1152, 4, 27.45, None, 6_500, f"{_CUT}; DGX A100"),
        Instance("p5.4xlarge", "H100", 1, 256, 1, 6.88, None, 1_275, f"{_CUT}; an eighth of p5.48xlarge's power"),
        Instance("p5.48xlarge", "H100", 8, 2048, 32, 55.04, 31.464, 10_200, f"{_CUT}; {_BLOCK} (rate of 2025-06); DGX H100"),
        Instance("p5e.48xlarge", "H200", 8, 2048, 32, 64.00, 43.26, 10_200, f"{_BLOCK} (2025-01; on demand assumed); DGX H200"),
        Instance("p5en.48xlarge", "H200", 8, 2048, 16, 63.30, None, 10_200, f"{_CUT}; DGX H200"),
        Instance("p6-b200.48xlarge", "B200", 8, 2048, 8, 113.93, None, 14_300, f"{_LIST} of 2025; DGX B200"),
        Instance("g5.xlarge", "A10G", 1, 16, 0, 1.006, None, 400, f"{_LIST}; power: board and 100 W of host"),
        Instance("g5.12xlarge", "A10G", 4, 192, 1, 5.672, None, 1_600, f"{_LIST}; power: boards and 400 W of host"),
        Instance("g6e.xlarge", "L40S", 1, 32, 0, 1.861, None, 450, f"{_LIST}; power: board and 100 W of host"),
        Instance("g6e.12xlarge", "L40S", 4, 384, 1, 10.49, None, 1_800, f"{_LIST}; power: boards and 400 W of host"),
        Instance("g6e.48xlarge", "L40S", 8, 1536, 4, 30.13, None, 3_600, f"{_LIST}; power: boards and 800 W of host"),
    )
}

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


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0))


def local(count: int = 0) -> Instance:
    """This machine as a row of the table: its cores, nothing to pay.

    Args:
        count: cores used; 0 counts those that this process may use.
    """
    used = count or cores()
    source = "this machine: cores counted, power of tenet/runs.py"
    memory = int(local_memory() / GIB)
    return Instance("local", "CPU core", used, memory, 0, 0.0, None, used * WATTS_PER_CORE, source)


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
    close = difflib.get_close_matches(name, INSTANCES, 1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise ConfigError(f"{key}: no instance type {name!r} in tenet/hardware.py{hint} There are local, {', '.join(INSTANCES)}")


def carbon(region: str, key: str = "plan.region") -> float:
    """kg CO2e a kWh in a region.

    Raises:
        ConfigError: the table has no such region.
    """
    if region not in CARBON:
        raise ConfigError(f"{key}: no carbon intensity for {region!r}; there are {', '.join(CARBON)}")
    return CARBON[region]
