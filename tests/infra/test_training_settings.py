"""Settings of training: reservations, room for nodes, zone and file system; each wrong one is refused by name."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .test_settings import PROD, make

GOOD: dict[str, Any] = {
    "gpu_zone": "us-east-1a",
    "gpu_cidr": "10.20.128.0/17",
    "kubernetes_version": "1.33",
    "cluster_admins": ("arn:aws:iam::210987654321:role/admin",),
    "cluster_cidrs": (),
    "lustre": "PERSISTENT_2",
    "lustre_gib": 76_800,
    "lustre_throughput": 500,
    "lustre_efa": True,
}
ROW: dict[str, Any] = {"name": "a", "kind": "none", "instanceType": "p5.48xlarge", "zone": "us-east-1a", "max": 2}
BLOCK = {**ROW, "kind": "capacity-block", "id": "cr-0a1b2c3d4e5f60718"}
ODCR = {**BLOCK, "kind": "odcr"}


@pytest.fixture
def training(infra: Path) -> ModuleType:
    return importlib.import_module("configuration.training_settings")


def build(module: ModuleType, rows: Any = (ROW,), stack: dict[str, Any] | None = None, **changes: Any) -> Any:
    """Settings of training over a good stack, with changes."""
    settings = make(importlib.import_module("configuration.settings"), **(stack or {}))
    import pulumi
    from pulumi.runtime import mocks

    from .recorder import Cloud

    pulumi.runtime.set_mocks(Cloud(preview=False), "tenet", settings.stack, monitor=mocks.MockMonitor(Cloud(preview=False)))
    given = list(rows) if isinstance(rows, tuple) else rows
    pulumi.runtime.set_all_config({} if rows is None else {"tenet:reservations": json.dumps(given)})
    reader = importlib.import_module("configuration.reading").Reader()
    reservations = importlib.import_module("configuration.reservations").parse(reader, settings.protect)
    reader.finish()
    return module.TrainingSettings(stack=settings, reservations=reservations, **{**GOOD, **changes})


def test_good_ones(training: ModuleType) -> None:
    assert build(training).reservations[0].machine.efa == 32
    assert build(training, ()).reservations == ()
    assert (
        build(training, (BLOCK, {**ODCR, "name": "b", "placementGroup": "made-with"})).reservations[1].placement_group
        == "made-with"
    )
    assert build(training, ({**ROW, "spot": True},)).reservations[0].spot
    assert build(training, stack=PROD).stack.protect
    assert build(training, lustre="SCRATCH_2", lustre_gib=1200, lustre_efa=False).lustre_gib == 1200


def test_two_thousand_p5_fit_the_default_range(training: ModuleType) -> None:
    assert build(training, ({**ROW, "max": 2000},)).reservations[0].max == 2000
    with pytest.raises(training.SettingError, match="32763 addresses; tenet:reservations can grow to 32768"):
        build(training, ({**ROW, "max": 2048},))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "tenet:reservations is missing"),
        ("p5", "tenet:reservations is 'p5'; a list is needed"),
        (("p5",), r"tenet:reservations\[0\] is 'p5'; a mapping with name, kind"),
        (({**ROW, "instance": "x"},), r"reservations\[0\] has the key 'instance'; did you mean instanceType\? Allowed are name"),
        (({**ROW, "max": "2"},), r"reservations\[0\].max is '2'; a whole number is needed"),
        (({**ROW, "max": True},), r"reservations\[0\].max is True; a whole number is needed"),
        (({"name": "a"},), r"reservations\[0\].kind is missing"),
        (({**ROW, "name": "A_b"},), r"reservations\[0\].name is 'A_b'; lower case"),
        ((ROW, ROW), "tenet:reservations has the name 'a' twice"),
        (({**ROW, "kind": "block"},), r"reservations\[0\].kind is 'block'; allowed are capacity-block, odcr, none"),
        (
            ({**ROW, "instanceType": "p5.48xlrge"},),
            r"reservations\[0\].instanceType: no instance type 'p5.48xlrge'.*did you mean",
        ),
        (
            ({**ROW, "zone": "us-east-1b"},),
            r"reservations\[0\].zone is us-east-1b, the GPU subnet and the file system stand in us-east-1a",
        ),
        (({**ROW, "id": "cr-0a1b2c3d4e5f60718"},), r"reservations\[0\].id is cr-.*, kind is none"),
        (({**BLOCK, "id": "block-1"},), r"reservations\[0\].id is 'block-1'; kind capacity-block needs the id"),
        (({**BLOCK, "placementGroup": "g"},), r"reservations\[0\].placementGroup is 'g', kind is capacity-block"),
        (({**ROW, "placementGroup": "g"},), r"reservations\[0\].placementGroup is 'g', kind is none"),
        (({**ROW, "min": 3},), r"reservations\[0\].min is 3, max is 2; 0 <= min <= max"),
        (({**ROW, "max": 0},), r"reservations\[0\].min is 0, max is 0"),
        (({**BLOCK, "min": 1},), r"reservations\[0\].min is 1; a capacity block has a start and an end"),
        (({**ODCR, "spot": True},), r"reservations\[0\].spot is true; spot is for kind none"),
        (({**BLOCK, "id": "cr-0123456789abcdef0"},), r"reservations\[0\].id is cr-0123456789abcdef0, the placeholder"),
    ],
)
def test_bad_reservations(training: ModuleType, rows: Any, message: str) -> None:
    with pytest.raises(training.SettingError, match=message):
        build(training, rows)


def test_no_spot_where_state_is_protected(training: ModuleType) -> None:
    with pytest.raises(training.SettingError, match="spot is for kind none, and not with tenet:protect"):
        build(training, ({**ROW, "spot": True},), stack=PROD)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gpu_zone": "us-east-1f"}, "tenet:gpuZone is us-east-1f; it must be one of tenet:zones, us-east-1a, us-east-1b"),
        ({"gpu_cidr": "10.30.0.0/17"}, "tenet:gpuCidr is 10.30.0.0/17; it lies outside tenet:cidr 10.20.0.0/16"),
        ({"gpu_cidr": "10.20.128.1/17"}, "tenet:gpuCidr is '10.20.128.1/17'.*host bits"),
        ({"gpu_cidr": "10.20.0.0/17"}, "tenet:gpuCidr is 10.20.0.0/17; it overlaps 10.20.0.0/20.*free from 10.20.80.0/20 on"),
        ({"gpu_cidr": "10.20.128.0/29"}, "tenet:gpuCidr is 10.20.128.0/29; a subnet is between /16 and /28"),
        ({"gpu_cidr": "10.20.128.0/28"}, "tenet:gpuCidr is 10.20.128.0/28, 11 addresses; tenet:reservations can grow to 32"),
        ({"kubernetes_version": "latest"}, "tenet:kubernetesVersion is 'latest'"),
        ({"cluster_admins": ("admin",)}, "tenet:clusterAdmins has 'admin'; an IAM role or user"),
        ({"cluster_cidrs": ("0.0.0.0/0",)}, "tenet:clusterCidrs has 0.0.0.0/0, which is nearly everyone"),
        ({"lustre": "SCRATCH_1"}, "tenet:lustre is 'SCRATCH_1'; allowed are none, SCRATCH_2, PERSISTENT_2"),
        ({"lustre_gib": 3600}, "tenet:lustreGib is 3600; 1200 or a multiple of 2400"),
        ({"lustre_throughput": 200}, "tenet:lustreThroughput is 200; allowed are 125, 250, 500, 1000"),
        ({"lustre": "SCRATCH_2"}, "tenet:lustreEfa is true, tenet:lustre is SCRATCH_2; only PERSISTENT_2"),
        ({"lustre_gib": 4800}, "tenet:lustreGib is 4800; with tenet:lustreEfa and 500 MB/s for each TiB a multiple of 9600"),
    ],
)
def test_bad_settings(training: ModuleType, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(training.SettingError, match=message):
        build(training, **changes)
