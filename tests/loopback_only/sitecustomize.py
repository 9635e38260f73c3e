"""Put this folder on PYTHONPATH and every Python process below refuses to look beyond this machine.

Python imports `sitecustomize` at its start, child processes included; the audit hook sees each connection and name
lookup.
"""

from __future__ import annotations

import ipaddress
import sys
from typing import Any


def _local(host: Any) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host))
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if not _local(host):
        raise OSError(f"this run must stay on this machine; refused {event} to {host}")


sys.addaudithook(_hook)
