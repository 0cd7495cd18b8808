"""Prometheus metrics of a server, in a registry of its own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from .trace import STAGES, Trace

# Seconds; a small model takes a millisecond, a large one a second per image.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """What is counted and timed. Labels only take values that the server chose, so their number is bounded."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._seconds = Histogram(
            "onnxzoo_request_seconds",
            "Time from the first byte of an inference request to its answer",
            ["protocol", "model"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._stages = Histogram(
            "onnxzoo_stage_seconds",
            "Time of an inference request that it waited (queue), its images were decoded, the engine ran",
            ["stage", "model"],
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._images = Counter("onnxzoo_images", "Images that were run", ["model"], registry=self._registry)
        self._errors = Counter(
            "onnxzoo_errors", "Requests without a result, by kind", ["kind", "protocol"], registry=self._registry
        )
        self.in_progress = Gauge("onnxzoo_requests_in_progress", "Requests in progress", registry=self._registry)

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Report what `length` returns as the number of requests that `--max-queue` limits."""
        queue = Gauge(
            "onnxzoo_queue_length", "Inference requests that wait for a thread or run", registry=self._registry
        )
        queue.set_function(length)

    def error(self, kind: str, protocol: str) -> None:
        """Count a request, or a connection, that was refused."""
        self._errors.labels(kind, protocol).inc()

    def served(self, trace: Trace) -> None:
        """Count an inference request that got its result."""
        self._seconds.labels(trace.protocol, trace.model).observe(trace.total_s)
        self._images.labels(trace.model).inc(trace.images)
        for stage in STAGES:
            self._stages.labels(stage, trace.model).observe(trace.stages[stage])

    def exposition(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self._registry)
