"""Settings of steps 9 and 10."""

from __future__ import annotations

from dataclasses import dataclass

from tenet.settings.checks import at_least


@dataclass(frozen=True)
class DeployConfig:
    """Step 9.

    Args:
        store: folder or s3://bucket/prefix of the weights store; empty is the stage's own folder.
        keep: versions kept for rollback.
        probe_tokens: length of the fixed answer that the copy must give as the checkpoint does.
    """

    store: str = ""
    keep: int = 3
    probe_tokens: int = 16

    def __post_init__(self) -> None:
        at_least("deploy", self, 2, "keep")
        at_least("deploy", self, 1, "probe_tokens")


@dataclass(frozen=True)
class ServeConfig:
    """Step 10.

    Args:
        model_id: id under which clients ask for the model.
        aliases: further ids.
        host, port: where to listen; port 0 takes a free one.
        tls: self-signed, CERT,KEY (files), proxy (TLS ends in front), or empty for http on loopback.
        engine: torch, openvino (CPU), vllm (GPU) or echo (answers with the question, for tests of clients); dtype:
            number format of the weights.
        engine_process: torch and openvino compute in a process of their own, which is replaced when it dies.
        max_concurrency: requests decoded at once; queue: requests that may wait.
        key_concurrency: open requests of one key; key_tokens_per_minute: its prompt and answer tokens; 0 is no limit.
        max_tokens: longest answer when the client does not say.
        threads: CPU threads of the engine; 0 keeps its own choice.
        guardrails: YAML file of guardrails that requests may name.
        imports: folder with checkpoints that model import jobs may load.
        chat: serve a page to talk to the model at /chat.
        traces: send OpenTelemetry spans to OTEL_EXPORTER_OTLP_ENDPOINT.
        load_seconds: between two lines of the log that say how many requests run and wait; 0 writes none.
    """

    model_id: str = "tenet.assistant-v1:0"
    aliases: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 8080
    tls: str = ""
    engine: str = "torch"
    dtype: str = "fp32"
    engine_process: bool = True
    max_concurrency: int = 16
    queue: int = 64
    key_concurrency: int = 0
    key_tokens_per_minute: int = 0
    max_tokens: int = 256
    threads: int = 0
    guardrails: str = ""
    imports: str = ""
    chat: bool = False
    traces: bool = False
    load_seconds: int = 0

    def __post_init__(self) -> None:
        at_least("serve", self, 0, "port", "queue", "key_concurrency", "key_tokens_per_minute", "threads", "load_seconds")
        at_least("serve", self, 1, "max_concurrency", "max_tokens")
