"""What SkyPilot may choose from, without asking anybody: its catalog, made of the rows of tenet/hardware.py.

SkyPilot downloads its catalog on first use. These tables take its place, so that what it would rent can be checked on a
machine without a network or an account, and is the same tomorrow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from tenet.hardware import INSTANCES, MIB, Instance

#: Zones of the region that all prices of tenet/hardware.py are for.
REGION, ZONES = "us-east-1", ("use1-az1", "use1-az2")
#: Machines without accelerators, which `cpus` and `memory` choose among: family -> GiB and dollars an hour for each
#: vCPU (EC2 list, us-east-1).
FAMILIES = {"c6i": (2, 0.0425), "m6i": (4, 0.048), "r6i": (8, 0.063)}
SIZES = {"large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "8xlarge": 32, "16xlarge": 64, "32xlarge": 128}
#: Not every price is known; the order among alternatives is the file's, so any will do where the table has none.
UNKNOWN = 99.0
#: Names that differ from tenet/hardware.py's.
NAMES = {"A100-40GB": "A100"}


def accelerator(machine: Instance) -> str:
    """SkyPilot's name of a machine's accelerator."""
    return NAMES.get(machine.accelerator, machine.accelerator)


def machines() -> list[dict[str, Any]]:
    """Rows of `aws/vms.csv`."""
    rows = []
    for machine in INSTANCES.values():
        name, memory = accelerator(machine), machine.device.memory / MIB
        gpu = {"Name": name, "Manufacturer": "NVIDIA", "Count": machine.count, "MemoryInfo": {"SizeInMiB": memory}}
        info = str({"Gpus": [gpu], "TotalGpuMemoryInMiB": memory * machine.count})
        price = machine.dollars or UNKNOWN
        spot = machine.spot or price
        rows.append(
            _row(machine.name, machine.vcpus, machine.memory_gib, price, spot, name, machine.count, info, machine.efa or None)
        )
    for family, (gib, dollars) in FAMILIES.items():
        for size, vcpus in SIZES.items():
            rows.append(_row(f"{family}.{size}", vcpus, vcpus * gib, vcpus * dollars, vcpus * dollars * 0.4))
    return [{**row, "Region": REGION, "AvailabilityZone": zone} for row in rows for zone in ZONES]


def _row(
    name: str,
    vcpus: int,
    gib: int,
    price: float,
    spot: float,
    gpu: str | None = None,
    count: int | None = None,
    info: str | None = None,
    efa: int | None = None,
) -> dict[str, Any]:
    return {
        "InstanceType": name,
        "AcceleratorName": gpu,
        "AcceleratorCount": count,
        "vCPUs": float(vcpus),
        "MemoryGiB": float(gib),
        "GpuInfo": info,
        "Price": price,
        "SpotPrice": spot,
        "Arch": "x86_64",
        "MaximumEfaInterfaces": efa,
    }


def tables() -> dict[str, Any]:
    """Name of each of SkyPilot's files -> a DataFrame with its content."""
    import pandas

    names = sorted({accelerator(m): m.device.memory / 2**30 for m in INSTANCES.values()}.items())
    images = [
        {"Tag": tag, "Region": REGION, "OS": "ubuntu", "OSVersion": "22.04", "ImageId": "ami-0", "BaseImageId": "ami-0"}
        for tag in ("skypilot:custom-cpu-ubuntu", "skypilot:custom-gpu-ubuntu", "skypilot:custom-gpu-ubuntu-cuda13")
    ]
    # What pods run where nobody names an image; SkyPilot's own tables say which repository holds it.
    pods = [
        {
            "Tag": f"skypilot:custom-{kind}-ubuntu-2204-v1",
            "Region": "",
            "OS": "ubuntu",
            "OSVersion": "22.04",
            "ImageId": f"skypilot-{kind}",
        }
        for kind in ("cpu", "gpu")
    ]
    return {
        "kubernetes/images.csv": pandas.DataFrame(pods),
        "aws/vms.csv": pandas.DataFrame(machines()),
        "aws/images.csv": pandas.DataFrame(images),
        "aws/instance_quota_mapping.csv": pandas.DataFrame(columns=["InstanceType", "OnDemandInstanceCode", "SpotInstanceCode"]),
        "common/accelerators.csv": pandas.DataFrame([{"AcceleratorName": name, "Clouds": "['AWS']"} for name, _ in names]),
        "common/metadata.csv": pandas.DataFrame(
            [{"GPU": name, "MemoryGB": round(gib), "Manufacturer": "NVIDIA"} for name, gib in names]
        ),
    }


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """SkyPilot as it is with an AWS account that may rent everything of `tables`, with nobody asked.

    Replaces private names of SkyPilot 0.14.1, which is why its version is pinned; put back at the end.
    """
    from sky.catalog import aws_catalog
    from sky.utils import accelerator_registry

    from sky import check, clouds

    found = tables()
    aws = clouds.AWS
    put = mock.patch.object
    with contextlib.ExitStack() as stack:
        for change in (
            put(aws_catalog, "_default_df", found["aws/vms.csv"]),
            put(aws_catalog, "_user_df", found["aws/vms.csv"]),
            put(aws_catalog, "_image_df", found["aws/images.csv"]),
            put(aws_catalog, "_quotas_df", found["aws/instance_quota_mapping.csv"]),
            put(accelerator_registry, "_accelerator_df", found["common/accelerators.csv"]),
            put(accelerator_registry, "_memory_df", found["common/metadata.csv"]),
            put(check, "get_cached_enabled_clouds_or_refresh", lambda *_, **__: [aws()]),
            put(aws, "get_user_identities", classmethod(lambda _: [["nobody"]])),
            put(aws, "check_quota_available", classmethod(lambda *_: True)),
            put(aws, "get_image_size", classmethod(lambda *_, **__: 40.0)),
            put(aws, "get_image_root_device_name", classmethod(lambda *_, **__: "/dev/sda1")),
        ):
            stack.enter_context(change)
        yield
