"""Which part of the VPC's range is whose: the plan on paper that settings check and the network declares.

The range is cut into sixteen parts. The first four are private subnets, one a zone; the fifth is cut small for the
public ones, which hold only gateways and load balancers; the rest is for GPU machines, usually the upper half.
"""

from __future__ import annotations

import ipaddress

Range = ipaddress.IPv4Network
#: Zones that the plan has room for.
ZONES = 4
#: AWS keeps the first four addresses of a subnet and the last.
RESERVED = 5


def parts(cidr: str) -> list[Range]:
    """The sixteen parts of the VPC's range, /20 each in a /16."""
    return list(Range(cidr).subnets(prefixlen_diff=4))


def private(cidr: str, zones: int) -> list[Range]:
    """Private subnets, one a zone."""
    return parts(cidr)[:zones]


def public(cidr: str, zones: int) -> list[Range]:
    """Public subnets, one a zone: sixteenths of a sixteenth, 251 addresses each in a /16."""
    return list(parts(cidr)[ZONES].subnets(prefixlen_diff=4))[:zones]


def taken(cidr: str) -> list[Range]:
    """Parts that are not free for GPU machines."""
    return parts(cidr)[: ZONES + 1]


def room(block: Range) -> int:
    """Addresses that machines can have in a subnet."""
    return block.num_addresses - RESERVED
