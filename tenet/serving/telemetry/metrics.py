"""What a Prometheus server reads at /metrics: counts and times, never a word of a prompt, never a key."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tenet.serving.engines.runner import Runner
from tenet.serving.http.request import Call

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class Metrics:
    """Counters of one gateway.

    Args:
        runner: whose open requests are shown.
        slots: requests that its engine decodes at once.
    """

    def __init__(self, runner: Runner, slots: int) -> None:
        self._registry = CollectorRegistry()
        self._series: dict[tuple[str, ...], Counter] = {}
        self._requests = Counter(
            "tenet_requests", "Requests by operation and code", ["operation", "code"], registry=self._registry
        )
        self._first = Histogram(
            "tenet_time_to_first_token_seconds", "From arrival to the first token", buckets=_SECONDS, registry=self._registry
        )
        self._each = Histogram(
            "tenet_time_per_output_token_seconds",
            "Between tokens, mean of one answer",
            buckets=_TOKEN_SECONDS,
            registry=self._registry,
        )
        self._tokens = Counter("tenet_tokens", "Tokens by direction", ["direction"], registry=self._registry)
        self._hits = Counter("tenet_prefix_hit_tokens", "Prompt tokens taken from the prefix cache", registry=self._registry)
        self._cancelled = Counter("tenet_cancelled_requests", "Clients that went away", registry=self._registry)
        gauges = {
            "tenet_open_requests": ("Requests that run or wait", lambda: runner.open),
            "tenet_running_requests": ("Requests that hold a slot", lambda: min(runner.open, slots)),
            "tenet_waiting_requests": ("Requests that wait for a slot", lambda: max(0, runner.open - slots)),
            "tenet_slots": ("Requests that can run at once", lambda: slots),
            "tenet_ready": ("1 when the weights are loaded", lambda: float(runner.backend is not None)),
        }
        for name, (about, read) in gauges.items():
            Gauge(name, about, registry=self._registry).set_function(read)

    def observe(self, call: Call) -> None:
        """Count a finished request."""
        # Unknown paths share one label: a scanner must not make series.
        self._labelled(self._requests, call.operation or "unknown", call.code or "OK").inc()
        if call.code == "ClientDisconnected":
            self._cancelled.inc()
        if call.first:
            self._first.observe(call.first)
        if call.end is None:
            return
        self._labelled(self._tokens, "input").inc(call.end.input_tokens)
        self._labelled(self._tokens, "output").inc(call.end.output_tokens)
        self._hits.inc(call.end.hits)
        if call.first and call.end.output_tokens > 1:
            self._each.observe((call.seconds - call.first) / (call.end.output_tokens - 1))

    def _labelled(self, counter: Counter, *values: str) -> Counter:
        """`counter.labels(*values)`, looked up once: the library takes a lock and writes the names anew each time."""
        found = self._series.get(values)
        if found is None:
            found = self._series[values] = counter.labels(*values)
        return found

    def text(self) -> bytes:
        """The page."""
        return generate_latest(self._registry)
