"""The server's Prometheus metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class ServerMetrics:
    """Metrics of one server in its own registry, so that two servers in a process are separate.

    >>> metrics = ServerMetrics()
    >>> metrics.images.labels("answered").inc(3)
    >>> b'labelwise_images_total{outcome="answered"} 3.0' in metrics.text()
    True
    """

    def __init__(self) -> None:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._registry = registry
        self.requests = Counter(
            "labelwise_requests", "Requests by route and status.", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "labelwise_request_seconds",
            "Time from a request's head to the end of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.images = Counter(
            "labelwise_images", "Images: answered, unreadable or refused.", ["outcome"], registry=registry
        )
        self.waiting = Gauge(
            "labelwise_waiting_images", "Images taken in and not yet answered.", registry=registry
        )
        self.batch = Histogram(
            "labelwise_batch_images",
            "Images that the engine got at once.",
            buckets=SIZES,
            registry=registry,
        )
        self.engine = Histogram(
            "labelwise_engine_seconds",
            "Time that the engine took for a batch.",
            buckets=SECONDS,
            registry=registry,
        )

        self.queue = Histogram(
            "labelwise_queue_seconds",
            "Time from an image's admission to the start of its batch, with its decoding.",
            buckets=SECONDS,
            registry=registry,
        )

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)
