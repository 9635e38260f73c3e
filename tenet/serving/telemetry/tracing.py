"""OpenTelemetry spans with the names of its `gen_ai` conventions. Optional: `pip install 'tenet[traces]'`,
`serve.traces`.

The exporter is chosen by OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, ...). No prompt
and no answer is ever an attribute.
"""

from __future__ import annotations

import time
from typing import Any

from tenet.errors import ConfigError
from tenet.serving.http.request import Call

_OPERATIONS = {"count-tokens": "count_tokens"}


class Tracer:
    """Writes one span for each request to a model.

    Args:
        provider: of OpenTelemetry's SDK; by default one that sends to the address in OTEL_EXPORTER_OTLP_ENDPOINT.

    Raises:
        ConfigError: the packages are not installed.
    """

    def __init__(self, provider: Any = None) -> None:
        try:
            from opentelemetry import trace
        except ImportError:
            raise ConfigError("serve.traces is true, but opentelemetry is missing; pip install 'tenet[traces]'") from None
        self._trace = trace
        self._provider = provider or _otlp()
        self._tracer = self._provider.get_tracer("tenet.serving")

    def record(self, call: Call) -> None:
        """The span of a finished request; its times are known only now."""
        if not call.model:
            return
        end = time.time_ns()
        operation = _OPERATIONS.get(call.operation, "chat")
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "aws.bedrock",
            "gen_ai.request.model": call.model,
            "gen_ai.response.model": call.model,
            "http.response.status_code": call.status,
            "aws.request_id": call.id,
        }
        if call.end:
            attributes |= {
                "gen_ai.usage.input_tokens": call.end.input_tokens,
                "gen_ai.usage.output_tokens": call.end.output_tokens,
                "gen_ai.response.finish_reasons": [call.end.reason],
            }
        if call.first:
            attributes["gen_ai.response.time_to_first_chunk"] = call.first
        span = self._tracer.start_span(
            f"{operation} {call.model}",
            kind=self._trace.SpanKind.SERVER,
            start_time=end - int(call.seconds * 1e9),
            attributes=attributes,
        )
        if call.code:
            span.set_attribute("error.type", call.code)
            span.set_status(self._trace.StatusCode.ERROR)
        span.end(end)

    def close(self) -> None:
        """Send what is still here."""
        self._provider.shutdown()


def _otlp() -> Any:
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigError("serve.traces is true, but opentelemetry is missing; pip install 'tenet[traces]'") from None
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
