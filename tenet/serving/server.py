"""The process around the gateway.

Sockets, start, drain. `serve` runs until SIGTERM; `LocalServer` is the same thing inside another program.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ipaddress
import json
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import uvicorn

from tenet.config import ServeConfig
from tenet.errors import ConfigError, StageError
from tenet.serving.app import Gateway, build_app
from tenet.serving.credentials import Credentials, Keys, load_or_create
from tenet.serving.engine import Backend, Runner, load_torch
from tenet.serving.errors import ServiceError
from tenet.serving.limits import Limits
from tenet.serving.models import ModelIds

if TYPE_CHECKING:  # a server whose keys lie in a file needs no AWS client
    from tenet.serving.credentials_dynamodb import KeyTable

log = logging.getLogger("tenet.serving")
DRAIN_SECONDS = 30
START_SECONDS = 600.0


def gateway_for(
    config: ServeConfig,
    load: Callable[[], Backend],
    credentials: Credentials,
    limits: Limits | None = None,
    clock: Callable[[], float] = time.time,
) -> Gateway:
    """A gateway and its engine thread, not yet started."""
    if config.max_concurrency < 1 or config.queue < 0:
        raise ConfigError(
            f"serve.max_concurrency is {config.max_concurrency} and serve.queue is {config.queue}; at least 1 and 0 are needed"
        )
    if config.load_seconds < 0:
        raise ConfigError(f"serve.load_seconds is {config.load_seconds}; seconds are needed, 0 writes no line about the load")
    runner = Runner(load, config.max_concurrency + config.queue)
    return Gateway(runner, ModelIds(config.model_id, config.aliases), credentials, config.max_tokens, limits, clock)


def torch_loader(config: ServeConfig, model_dir: Path) -> Callable[[], Backend]:
    """How the engine's thread gets its weights.

    Raises:
        ConfigError: there is no model in the folder.
    """
    for name in ("config.json", "tokenizer.json"):
        if not (model_dir / name).is_file():
            raise ConfigError(
                f"{model_dir / name}: no such file; give a folder in Hugging Face layout, e.g. runs/demo/redteam/model"
            )
    return lambda: load_torch(model_dir, config.max_concurrency, config.threads)


class _Server(uvicorn.Server):
    """uvicorn that tells the gateway when it drains, and returns after SIGTERM instead of raising the signal again.

    Args:
        gateway: what answers.
        load_seconds: between two lines of the log about the load; 0 writes none.
    """

    def __init__(self, gateway: Gateway, load_seconds: int = 0) -> None:
        super().__init__(
            uvicorn.Config(
                build_app(gateway),
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                server_header=False,
                timeout_graceful_shutdown=DRAIN_SECONDS,
            )
        )
        self.gateway, self.load_seconds = gateway, load_seconds

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second. Weights that cannot be loaded end the process, so that whoever watches it hears of it."""
        # While weights load a replica carries nothing, and would hide how much the others do.
        if self.load_seconds and counter % (10 * self.load_seconds) == 0 and self.gateway.runner.backend is not None:
            log.info(json.dumps({"load": self.gateway.runner.open, "most": self.gateway.runner.max_open}))
        return bool(self.gateway.runner.failure) or await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.gateway.draining = True
        super().handle_exit(sig, frame)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle off only where the protocol is named; with it each answer waits 40 ms for an acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"serve.host {host}, serve.port {port}: cannot listen there ({error.strerror}); --port 0 takes a free one"
        ) from None
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def default_credentials() -> Path:
    """Where the keys of this user's endpoints lie: outside of any run, because runs are copied and shared."""
    home = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(home) / "tenet" / "credentials.json"


def _accepted(where: str | Path) -> tuple[Credentials, Callable[[str], str], KeyTable | None]:
    """Keys, what to say about them given the endpoint's address, and the table to follow if they lie in one."""
    kind, _, name = str(where).partition(":")
    if kind == "dynamodb":
        from tenet.serving.credentials_dynamodb import open_table

        table = open_table(name)
        return table.read(), lambda endpoint: f"keys: table {table.name}, read again every minute", table
    path = Path(where) if where else default_credentials()
    first = not path.exists()
    credentials, keys = load_or_create(path)
    return credentials, lambda endpoint: keys.exports(endpoint) if first else f"keys: {path} (made at the first start)", None


def serve(config: ServeConfig, model_dir: Path, credentials: str | Path = "") -> None:
    """Serve a model folder until SIGTERM or Ctrl-C; then finish what is being answered and return.

    Args:
        config: where to listen and how much to take.
        model_dir: Hugging Face folder.
        credentials: `dynamodb:TABLE`, or a file that is made with a first key pair and API key when it is missing; by default one
            in the user's configuration folder.

    Raises:
        ConfigError: no model, no usable credentials, or no free port.
        StageError: the weights could not be loaded.
    """
    load = torch_loader(config, model_dir)
    accepted, told, table = _accepted(credentials)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    gateway = gateway_for(config, load, accepted)
    listener = _listen(config.host, config.port)
    if not _is_loopback(config.host):
        log.warning(
            "serve.host is %s: anybody on that network can read prompts, put TLS in front (docs/security.md)", config.host
        )
    gateway.runner.start()
    print(f"{config.model_id} from {model_dir} at {_url(listener)}", flush=True)
    print(told(_url(listener)), flush=True)
    if table is not None:
        table.follow(gateway.accept)
    try:
        asyncio.run(_Server(gateway, config.load_seconds).serve(sockets=[listener]))
    finally:
        listener.close()
        gateway.runner.close()
    if gateway.runner.failure:
        raise StageError(f"{model_dir}: weights could not be loaded ({gateway.runner.failure})")


class LocalServer:
    """The endpoint in a thread of this process, on a free loopback port, with keys of its own: for the demo and for tests.

    Args:
        model: Hugging Face folder, or what makes the backend.
        config: limits and ids; host and port are not read.
        model_id: takes the place of the config's.
        limits, clock: replaced in tests.
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
        config = dataclasses.replace(config, model_id=model_id or config.model_id)
        load = torch_loader(config, model) if isinstance(model, Path) else model
        with tempfile.TemporaryDirectory() as folder:
            credentials, self.keys = load_or_create(Path(folder) / "credentials.json")
        self.model_id = config.model_id
        self.gateway = gateway_for(config, load, credentials, limits, clock)
        self._server = _Server(self.gateway)
        self._thread = threading.Thread(target=self._run, name="tenet-gateway", daemon=True)

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._listener]))

    def __enter__(self) -> Self:
        self._listener = _listen("127.0.0.1", 0)
        self.endpoint = _url(self._listener)
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
        self.gateway.runner.close()
        self._listener.close()


def client(endpoint: str, keys: Keys, **settings: Any) -> Any:
    """An ordinary `boto3` client of the endpoint; `settings` go to botocore's Config."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "bedrock-runtime",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        # An API key in the environment would take the place of these keys, and boto3 sends none over http.
        config=Config(**{"signature_version": "v4", "retries": {"total_max_attempts": 1}, "read_timeout": 300, **settings}),
    )


def stream_answer(endpoint: str, keys: Keys, model_id: str, question: str, max_tokens: int = 96) -> Iterator[str]:
    """Ask with ConverseStream and give the text as it comes."""
    reply = client(endpoint, keys).converse_stream(
        modelId=model_id,
        messages=[{"role": "user", "content": [{"text": question}]}],
        inferenceConfig={"maxTokens": max_tokens, "temperature": 0.0},
    )
    for event in reply["stream"]:
        if "contentBlockDelta" in event:
            yield event["contentBlockDelta"]["delta"].get("text", "")
