"""From settings to a gateway that is not yet started: which engine, which limits, which guardrails."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tenet.errors import ConfigError
from tenet.model_folders import chat_tokenizer, check_model_folder
from tenet.serving.access.credentials import Credentials
from tenet.serving.access.quota import Quota
from tenet.serving.api import guardrails
from tenet.serving.api.app import Gateway, Options
from tenet.serving.api.models import Models
from tenet.serving.engines import factory
from tenet.serving.engines.runner import Backend, Runner, load
from tenet.serving.protocol.limits import Limits
from tenet.serving.releases.store import MANIFEST, Manifest
from tenet.serving.telemetry.tracing import Tracer
from tenet.settings.serving import ServeConfig

#: Engines that gain nothing by a process: echo computes nothing, vllm has one of its own.
_IN_THREAD = ("echo", "vllm")


def engine_for(config: ServeConfig, folder: Path) -> Callable[[], Backend]:
    """How an engine's thread gets its backend; what is wrong with the names or the folder is said at once.

    Args:
        config: engine, number format, slots and threads.
        folder: Hugging Face layout; echo reads none.

    Raises:
        ConfigError: no such engine, no model in the folder, or one that would not be computed exactly.
    """
    if config.engine not in factory.NAMES:
        raise ConfigError(f"serve.engine is {config.engine!r}; known are {', '.join(factory.NAMES)}")
    if config.engine == "torch":
        check_model_folder(folder, "serve")
    elif config.engine != "echo":  # the others read more shapes than ours, and their own files
        if not (folder / "config.json").is_file():
            raise ConfigError(f"serve: {folder / 'config.json'}: no such file; give a folder in Hugging Face layout")
        chat_tokenizer(folder, "serve")
    process = config.engine_process and config.engine not in _IN_THREAD
    return lambda: load(config.engine, folder, config.max_concurrency, config.threads, config.dtype, process)


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
        slots=config.max_concurrency,
        limits=limits or Limits(),
        quota=Quota(config.key_concurrency, config.key_tokens_per_minute),
        guardrails=guardrails.load(Path(config.guardrails)) if config.guardrails else None,
        imports=Path(config.imports) if config.imports else None,
        # Looked at when it is loaded: a folder that cannot be is an import that failed, and the request was right.
        load=lambda folder: Runner(lambda: engine_for(config, folder)(), most),
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
