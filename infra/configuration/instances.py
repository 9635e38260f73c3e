"""Network cards of GPU machines as a launch template lists them, and the addresses that a node takes.

How many cards a type has, and which of them take an address, stands in `tenet/hardware.py` with its source.
"""

from __future__ import annotations

from typing import Any

import pulumi

from repository import Instance

#: Addresses that a node gives to pods beside its own: system pods with an address, and a few of ours. Training pods use
#: the host's.
POD_ADDRESSES = 8


def card_kinds(machine: Instance) -> list[str]:
    """Interface type of each network card, first card first: one plain interface where the machine has no EFA."""
    return [card.kind for card in machine.network_cards()]


def addresses(machine: Instance) -> int:
    """Addresses that one node of the cluster takes from its subnet, its pods included."""
    return machine.addresses + POD_ADDRESSES


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
