"""Network cards of GPU machines, against the tables of the EFA guide."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from tenet.hardware import INSTANCES


@pytest.fixture
def instances(infra: Path) -> ModuleType:
    return importlib.import_module("configuration.instances")


@pytest.mark.parametrize(
    ("name", "efa", "silent"),
    [
        ("p5.48xlarge", 8, 24),
        ("p5e.48xlarge", 8, 24),
        ("p5en.48xlarge", 1, 15),
        ("p5.4xlarge", 1, 0),
        ("p6-b200.48xlarge", 1, 7),
        ("p4d.24xlarge", 1, 3),
        ("p6-b300.48xlarge", 0, 16),  # its first card carries IP alone
    ],
)
def test_card_kinds(instances: ModuleType, name: str, efa: int, silent: int) -> None:
    kinds = instances.card_kinds(INSTANCES[name])
    assert (kinds.count("efa"), kinds.count("efa-only")) == (efa, silent)
    assert len(kinds) == INSTANCES[name].cards and kinds[0] == ("efa" if efa else "interface")


def test_interfaces_of_a_p5(instances: ModuleType) -> None:
    cards = instances.network_interfaces(INSTANCES["p5.48xlarge"], ["sg-a", "sg-b"])
    assert [c["network_card_index"] for c in cards] == list(range(32))
    assert [c["device_index"] for c in cards] == [0] + [1] * 31
    assert [i for i, c in enumerate(cards) if c["interface_type"] == "efa"] == list(range(0, 32, 4))
    assert all(c["associate_public_ip_address"] == "false" and c["security_groups"] == ["sg-a", "sg-b"] for c in cards)


def test_a_machine_without_efa_needs_one_address_and_its_pods(instances: ModuleType) -> None:
    (card,) = instances.network_interfaces(INSTANCES["g6e.xlarge"], ["sg"])
    assert (card["interface_type"], card["device_index"]) == ("interface", 0)
    assert instances.addresses(INSTANCES["g6e.xlarge"]) == 1 + instances.POD_ADDRESSES
    assert instances.addresses(INSTANCES["p5.48xlarge"]) == 8 + instances.POD_ADDRESSES


def test_first_boot_is_what_nodeadm_reads(infra: Path) -> None:
    """A MIME message with one part of nodeadm's own type, YAML in it."""
    import base64
    import email

    import yaml

    message = email.message_from_bytes(base64.b64decode(importlib.import_module("training.nodes").user_data()))
    (part,) = message.get_payload()
    assert part.get_content_type() == "application/node.eks.aws"
    config = yaml.safe_load(part.get_payload())
    assert config["kind"] == "NodeConfig" and config["spec"]["instance"]["localStorage"] == {"strategy": "RAID0"}
