"""The process around the gateway: `serve` runs until SIGTERM; `LocalServer` is the same thing inside another
program."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tenet.errors import ConfigError, StageError
from tenet.serving.access.auth import short_term_key
from tenet.serving.access.credentials import Credentials, Keys, load_or_create
from tenet.serving.access.tls import Certificate, certificate, exports
from tenet.serving.clients import chat_page
from tenet.serving.engines.runner import Backend
from tenet.serving.protocol.exceptions import ServiceError
from tenet.serving.protocol.limits import Limits
from tenet.serving.server.build import engine_for, gateway_for
from tenet.serving.server.uvicorn_server import Server, is_loopback, listen, run, url
from tenet.settings.serving import ServeConfig

if TYPE_CHECKING:  # a server whose keys lie in a file needs no AWS client
    from tenet.serving.access.credentials_dynamodb import KeyTable

log = logging.getLogger("tenet.serving")
START_SECONDS = 600.0


def default_folder() -> Path:
    """Where the keys of this user's endpoints lie: outside of any run, because runs are copied and shared."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "tenet"


@dataclasses.dataclass(frozen=True)
class _Accepted:
    """Keys, what the start says about them given the endpoint's address, an API key for the chat link (none is known where
    the keys lie in a table), and that table, to be followed."""

    credentials: Credentials
    told: Callable[[str], str]
    chat_key: str = ""
    table: KeyTable | None = None


def _accepted(where: str | Path, cert: Certificate | None) -> _Accepted:
    kind, _, name = str(where).partition(":")
    if kind == "dynamodb":
        from tenet.serving.access.credentials_dynamodb import open_table

        table = open_table(name)
        return _Accepted(table.read(), lambda endpoint: f"keys: table {table.name}, read again every minute", "", table)
    path = Path(where) if where else default_folder() / "credentials.json"
    first = not path.exists()
    credentials, keys = load_or_create(path)
    trust = exports(cert.authority) if cert and cert.authority else ""
    if first:
        return _Accepted(credentials, lambda endpoint: keys.exports(endpoint, trust), _chat_key(keys))
    told = f"keys: {path} (made at the first start)"
    return _Accepted(credentials, lambda endpoint: told + (f"\n{trust}" if trust else ""), _chat_key(keys))


def _chat_key(keys: Keys) -> str:
    """The API key, where this start made it; later ones know its hash alone, and make a short-term key."""
    return keys.api_key or (short_term_key(keys.access_key, keys.secret_key, time.time()) if keys.access_key else "")


def serve(config: ServeConfig, model_dir: Path, credentials: str | Path = "") -> None:
    """Serve a model folder until SIGTERM or Ctrl-C; then finish what is being answered and return.

    Args:
        config: where to listen and how much to take.
        model_dir: Hugging Face folder.
        credentials: `dynamodb:TABLE`, or a file that is made with a first key pair and API key when it is missing; by
            default one in the user's configuration folder.

    Raises:
        ConfigError: no model, no usable credentials, no free port, or an address that must not be served without TLS.
        StageError: the weights could not be loaded.
    """
    load = engine_for(config, model_dir)
    if not is_loopback(config.host) and not config.tls:
        raise ConfigError(
            f"serve.host is {config.host}: anybody on that network could read prompts and answers; give --tls self-signed or "
            "--tls CERT,KEY, or --tls proxy where TLS ends in front of this server"
        )
    file = Path(credentials) if credentials and not str(credentials).startswith("dynamodb:") else None
    cert = certificate(config.tls, config.host, file.parent if file else default_folder())
    context = cert.context() if cert else None
    accepted = _accepted(credentials, cert)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    gateway = gateway_for(config, load, accepted.credentials, folder=model_dir)
    with listen(config.host, config.port) as listener:
        gateway.runner.start()
        address = url(listener, tls=cert is not None)
        print(f"{config.model_id} from {model_dir} at {address}", flush=True)
        print(accepted.told(address), flush=True)
        if config.chat:
            print(f"chat: {chat_page.link(address, accepted.chat_key)}", flush=True)
        following = accepted.table.follow(gateway.accept) if accepted.table is not None else None
        try:
            run(Server(gateway, config.load_seconds, context), listener)
        finally:
            if following is not None:
                following.set()
            gateway.close()
    if gateway.runner.failure:
        raise StageError(f"{model_dir}: weights could not be loaded ({gateway.runner.failure})")


class LocalServer:
    """The endpoint in a thread of this process, on a free loopback port, with keys of its own: for the demo and for
    tests.

    Args:
        model: Hugging Face folder, or what makes the backend.
        config: limits and ids; host and port are not read, and the engine runs in this process.
        model_id: takes the place of the config's.
        limits, clock: replaced in tests.

    Attributes:
        endpoint: its address, once entered.
        keys: a key pair and an API key.
        authority: file with the certificate of its authority, where the config says self-signed.
    """

    def __init__(
        self,
        model: Path | Callable[[], Backend],
        config: ServeConfig | None = None,
        *,
        model_id: str = "",
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        config = config or ServeConfig()
        config = dataclasses.replace(config, model_id=model_id or config.model_id, engine_process=False)
        load = engine_for(config, model) if isinstance(model, Path) else model
        self._files = tempfile.TemporaryDirectory()
        credentials, self.keys = load_or_create(Path(self._files.name) / "credentials.json")
        cert = certificate(config.tls, "127.0.0.1", Path(self._files.name))
        self.authority, self._tls = str(cert.authority) if cert and cert.authority else None, cert is not None
        self.model_id = config.model_id
        self.gateway = gateway_for(config, load, credentials, limits, clock, model if isinstance(model, Path) else None)
        self._server = Server(self.gateway, 0, cert.context() if cert else None)
        self._thread = threading.Thread(target=self._run, name="tenet-gateway", daemon=True)

    def _run(self) -> None:
        run(self._server, self._listener)

    def __enter__(self) -> Self:
        self._listener = listen("127.0.0.1", 0)
        self.endpoint = url(self._listener, tls=self._tls)
        self.gateway.runner.start()
        self._thread.start()
        try:
            self.gateway.runner.wait(START_SECONDS)
            self._wait_started()
        except ServiceError as error:
            self.__exit__()
            raise StageError(f"the endpoint did not start: {error} {self.gateway.runner.failure}") from None
        return self

    def _wait_started(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started and self._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        if not self._server.started:
            raise ServiceError("ServiceUnavailableException", "uvicorn did not start.")

    def __exit__(self, *exception: object) -> None:
        self.gateway.draining = True
        self._server.should_exit = True
        self._thread.join()
        self.gateway.close()
        self._listener.close()
        with contextlib.suppress(OSError):
            self._files.cleanup()
