"""Network cards of GPU machines: how many a type has, which of them take an address, and the launch template's list of them.

Source: the EFA user guide of EC2 and its list of accelerated instance types (2025). The first card always takes an address. On P5
and P5e every fourth one does, so that each address stands for four cards; on the others the first alone. Further cards speak only
EFA (`efa-only`) and cost no address.
"""

from __future__ import annotations

from typing import Any

import pulumi

from tenet.hardware import Instance

#: Cards that share one address; types that are not here have one address in all.
CARDS_PER_ADDRESS = {"p5.48xlarge": 4, "p5e.48xlarge": 4}
#: Addresses that a node gives to pods beside its own: system pods with an address, and a few of ours. Training pods use the host's.
POD_ADDRESSES = 8


def card_kinds(machine: Instance) -> list[str]:
    """Interface type of each EFA card, first card first; empty where the machine has none."""
    every = CARDS_PER_ADDRESS.get(machine.name, max(1, machine.efa))
    return ["efa" if card % every == 0 else "efa-only" for card in range(machine.efa)]


def addresses(machine: Instance) -> int:
    """Addresses that one node of the cluster takes from its subnet, its pods included."""
    return max(1, card_kinds(machine).count("efa")) + POD_ADDRESSES


def network_interfaces(machine: Instance, groups: list[pulumi.Input[str]]) -> list[dict[str, Any]]:
    """Interfaces for a launch template. No public address: a machine with several cards cannot have one.

    Args:
        groups: security groups of every interface.
    """
    return [
        {
            # The primary interface is device 0 of card 0; each further card has one interface, its device 1.
            "network_card_index": card,
            "device_index": 0 if card == 0 else 1,
            "interface_type": kind,
            "security_groups": groups,
            "associate_public_ip_address": "false",
            "delete_on_termination": "true",
        }
        for card, kind in enumerate(card_kinds(machine))
    ]
