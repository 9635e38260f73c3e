"""From settings to a gateway that is not yet started: which engine, which limits, which guardrails."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tenet.config import ServeConfig
from tenet.errors import ConfigError
from tenet.serving import guardrails
from tenet.serving.app import Gateway, Options
from tenet.serving.credentials import Credentials
from tenet.serving.engine import Backend, Runner, load_torch
from tenet.serving.limits import Limits
from tenet.serving.models import Models
from tenet.serving.quota import Quota
from tenet.serving.store import MANIFEST, Manifest
from tenet.serving.tracing import Tracer

ENGINES = ("torch", "echo")


def make_engine(name: str, folder: Path, dtype: str = "fp32", *, max_slots: int = 16, threads: int = 0) -> Callable[[], Backend]:
    """How an engine's thread gets its backend; what is wrong with the names or the folder is said at once.

    Args:
        name: one of `ENGINES`; echo answers with the question and reads no folder.
        folder: Hugging Face layout.
        dtype: number format of the weights.
        max_slots: requests decoded at once.
        threads: CPU threads; 0 keeps the library's own choice.

    Raises:
        ConfigError: no such engine or number format, or no model in the folder.
    """
    if name not in ENGINES:
        raise ConfigError(f"serve.engine is {name!r}; known are {', '.join(ENGINES)}")
    if name == "echo":
        from tenet.serving.echo import ByteText, EchoEngine

        return lambda: Backend(EchoEngine(max_slots), ByteText())
    if dtype != "fp32":
        raise ConfigError(f"serve.dtype is {dtype!r}; the engine torch knows fp32")
    for needed in ("config.json", "tokenizer.json"):
        if not (folder / needed).is_file():
            raise ConfigError(
                f"{folder / needed}: no such file; give a folder in Hugging Face layout, e.g. runs/demo/redteam/model"
            )
    return lambda: load_torch(folder, max_slots, threads)


def engine_for(config: ServeConfig, folder: Path) -> Callable[[], Backend]:
    """`make_engine` with the settings of a configuration."""
    return make_engine(config.engine, folder, config.dtype, max_slots=config.max_concurrency, threads=config.threads)


def gateway_for(
    config: ServeConfig,
    load: Callable[[], Backend],
    credentials: Credentials,
    limits: Limits | None = None,
    clock: Callable[[], float] = time.time,
    folder: Path | None = None,
) -> Gateway:
    """A gateway and its engine thread, not yet started; `folder` is the first model's.

    Raises:
        ConfigError: settings that cannot be.
    """
    if config.max_concurrency < 1 or config.queue < 0:
        raise ConfigError(
            f"serve.max_concurrency is {config.max_concurrency} and serve.queue is {config.queue}; at least 1 and 0 are needed"
        )
    for key in ("load_seconds", "key_concurrency", "key_tokens_per_minute"):
        if getattr(config, key) < 0:
            raise ConfigError(f"serve.{key} is {getattr(config, key)}; it must not be negative, and 0 turns it off")
    most = config.max_concurrency + config.queue
    options = Options(
        default_tokens=config.max_tokens,
        limits=limits or Limits(),
        quota=Quota(config.key_concurrency, config.key_tokens_per_minute),
        guardrails=guardrails.load(Path(config.guardrails)) if config.guardrails else None,
        imports=Path(config.imports) if config.imports else None,
        load=lambda folder: Runner(engine_for(config, folder), most),
        chat=config.chat,
        proxied=config.tls == "proxy",
        tracer=Tracer() if config.traces else None,
        version=_version(folder) if folder else "",
    )
    return Gateway(Models(config.model_id, Runner(load, most), config.aliases), credentials, options, clock)


def _version(folder: Path) -> str:
    """Of a folder that came from the weights store."""
    manifest = folder / MANIFEST
    return Manifest.read(folder).version if manifest.is_file() else ""
