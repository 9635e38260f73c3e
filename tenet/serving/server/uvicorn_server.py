"""Sockets, event loop, signals: uvicorn around the gateway, and the drain at its end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import socket
import ssl
from typing import Any

import uvicorn

from tenet.errors import ConfigError
from tenet.serving.api.app import Gateway
from tenet.serving.http.opening import Opening
from tenet.serving.server.signals import EndingServer

log = logging.getLogger("tenet.serving")
DRAIN_SECONDS = 30
BACKLOG = 2048


class Server(EndingServer):
    """uvicorn that tells the gateway when it drains.

    Args:
        gateway: what answers.
        load_seconds: between two lines of the log about the load; 0 writes none.
        context: TLS, or None for http.
    """

    def __init__(self, gateway: Gateway, load_seconds: int = 0, context: ssl.SSLContext | None = None) -> None:
        config = uvicorn.Config(
            gateway,
            http=Opening,  # type: ignore[arg-type]
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            interface="asgi3",
            proxy_headers=False,  # what a client says of its address is no address
            server_header=False,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        super().__init__(config)
        self.gateway, self.load_seconds = gateway, load_seconds
        config.load()
        config.ssl = context

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second. Weights that cannot be loaded end the process, so that whoever watches it hears of it."""
        # While weights load a replica carries nothing, and would hide how much the others do.
        if self.load_seconds and counter % (10 * self.load_seconds) == 0 and self.gateway.runner.backend is not None:
            log.info(json.dumps({"load": self.gateway.runner.open, "most": self.gateway.runner.max_open}))
        return bool(self.gateway.runner.failure) or await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.gateway.draining = True
        super().handle_exit(sig, frame)


def run(server: Server, listener: socket.socket) -> None:
    """Serve until told to stop, on uvloop where it is installed."""
    factory = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(server.serve(sockets=[listener]))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigError: the address is taken or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle off only where the protocol is named; with it each answer waits 40 ms for an acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)  # at once: whoever reads the printed address may call before the loop runs
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"serve.host {host}, serve.port {port}: cannot listen there ({error.strerror}); --port 0 takes a free one"
        ) from None
    return listener


def url(listener: socket.socket, tls: bool) -> str:
    """The address for clients."""
    host, port = listener.getsockname()[:2]
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach the address."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
