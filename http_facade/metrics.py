"""Prometheus metrics of the door, and `/metrics` for the whole process or all its siblings.

With `PROMETHEUS_MULTIPROC_DIR` set (before prometheus_client is imported: it chooses then), the
answer adds up every process that writes there.
"""

from __future__ import annotations

import asyncio
import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from http_facade.answers import Answer

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

REQUESTS = Counter(
    "distill_http_requests",
    "REST requests answered, by route template.",
    ("route", "method", "status"),
)
SECONDS = Histogram(
    "distill_http_request_seconds",
    "Time from a REST request's headers to its answer.",
    ("route", "method"),
    buckets=_BUCKETS,
)
IN_FLIGHT = Gauge(
    "distill_http_requests_in_flight",
    "REST requests being answered.",
    multiprocess_mode="livesum",
)


def observe(*, route: str, method: str, status: int, seconds: float) -> None:
    """Counts one answered request. `route` is a template: nothing a client invents is a label."""
    method = method if method in _METHODS else "other"
    REQUESTS.labels(route, method, str(status)).inc()
    SECONDS.labels(route, method).observe(seconds)


async def exposition() -> Answer:
    """The text exposition format of everything registered in this process, or in all of them."""
    body = await asyncio.to_thread(_render)
    return Answer(200, body, content_type=CONTENT_TYPE_LATEST)


def _render() -> bytes:
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # the library's own gap
    return generate_latest(registry)
