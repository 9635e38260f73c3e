"""IP addresses of version 4 and 6, told apart from versions, section numbers, object ids and times.

Only addresses that are somebody's: what is private, reserved or for documentation (RFC 1918, 5737, 3849, 6890: the
module ipaddress says which) is the same everywhere and names no machine.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

import re2

from tenet.corpus.filters.personal import examples
from tenet.corpus.filters.personal.matching import Found, Text, words

_FOUR = re2.compile(r"[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}")
_SIX = re2.compile(r"[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*:[0-9A-Fa-f]{0,4}")
#: What says directly in front of four numbers that they are no address.
_VERSION = re.compile(
    r"(?:\b(?:v|ver|version|versions|release|rel|rev|build|firmware"
    r"|section|sec|chapter|clause|article|oid|table|figure|fig|annex)|§)[\s.:=(\"']*$",
    re.I,
)
#: A name with a slash or a hyphen before the numbers is a program and its version: Chrome/91.0.44.12, lib-1.2.3.4.
_PROGRAM = re.compile(r"[A-Za-z)][/_-]$|(?:[<>=~!]=|[<>^~])\s?$")
_CUE = words(
    "ip",
    "ipv4",
    "ips",
    "address",
    "addresses",
    "addr",
    "host",
    "hosts",
    "server",
    "client",
    "ping",
    "port",
    "dns",
    "nameserver",
    "gateway",
    "adresse",
)
#: Three numbers below this and a fourth look like a version or a section as well; a cue must say that they are none.
_LOW = 32


def find(text: Text, all_of_them: bool) -> Iterator[Found]:
    """All addresses; private ones and documentation's too where `all_of_them`."""
    for start, end in text.spans(_FOUR):
        value = text.text[start:end]
        if _stands_alone(text, start, end, ".0123456789") and _is_four(text, start, end, value, all_of_them):
            yield Found("ip", start, end, value)
    if text.data.count(b":") > 1:
        for start, end in text.spans(_SIX):
            value = text.text[start:end]
            if _stands_alone(text, start, end, ":.") and _is_six(value, all_of_them):
                yield Found("ip", start, end, value)


def _stands_alone(text: Text, start: int, end: int, signs: str) -> bool:
    """No letter, digit or sign of a longer number on either side; a full stop may end the sentence."""
    left, right = text.text[start - 1 : start] if start else "", text.text[end : end + 2]
    if left and (left.isalnum() or left in signs or left == "_"):
        return False
    if right[:1] == ".":
        return not right[1:].isalnum()
    return not (
        right[:1].isalnum()
        or right[:1] == "_"
        or (right[:1] and right[0] in signs.replace(".", "") and right[1:].isalnum() and signs[0] == ":")
    )


def _is_four(text: Text, start: int, end: int, value: str, all_of_them: bool) -> bool:
    octets = value.split(".")
    if any(int(octet) > 255 or (len(octet) > 1 and octet[0] == "0") for octet in octets):
        return False
    if all_of_them:
        return True
    before = text.before(start)
    if _VERSION.search(before) or (_PROGRAM.search(before) and not before.endswith("//")):
        return False
    if not ipaddress.IPv4Address(value).is_global or value in examples.KNOWN_HOSTS or int(octets[0]) >= 224:
        return False
    if value.endswith(".0"):  # a network, not a machine of it
        return False
    plain = all(int(octet) < _LOW for octet in octets[:3])
    return not plain or bool(_CUE.search(text.before(start, 16)) or re.match(r"[:/]\d", text.after(end)))


def _is_six(value: str, all_of_them: bool) -> bool:
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:  # a time, a scope of C++, a ratio
        return False
    groups = [group for group in value.split(":") if group]
    if all_of_them:
        return len(groups) > 1 or value == "::1"
    # Global addresses are given out of 2000::/3 alone.
    return (
        address.is_global
        and len(groups) > 2
        and 0x2000 <= int(groups[0], 16) < 0x4000
        and str(address) not in examples.KNOWN_HOSTS
    )
