"""Rate, errors, duration (RED) of every route, and a counter for every problem told to a caller."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from stream.metrics.bounded import Bounded

# From a cached 404 (below 1 ms) to a whole video upload; SSE streams and long polls end in the last bucket.
SECONDS_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0)

_REQUESTS = Counter("mayfly_requests_total", "Requests answered.", ("route", "status"))
_SECONDS = Histogram("mayfly_request_seconds", "From request line to last byte.", ("route",), buckets=SECONDS_BUCKETS)
_IN_FLIGHT = Gauge("mayfly_requests_in_flight", "Requests being answered.")
_PROBLEMS = Counter("mayfly_problems_total", "Requests that ended in a problem, by its kind.", ("kind", "route"))
_MEDIA_BYTES = Counter("mayfly_media_bytes_total", "Plaintext media through this process.", ("direction",))

_kind = Bounded()
_route = Bounded()


def began() -> None:
    """A request's line and headers are here."""
    _IN_FLIGHT.inc()


def ended(route: str, status: int, seconds: float) -> None:
    """A request was answered, or its caller left. `route`: name of the handler, never a path."""
    name = _route(route)
    _IN_FLIGHT.dec()
    _REQUESTS.labels(name, str(status)).inc()
    _SECONDS.labels(name).observe(seconds)


def problem(kind: str, route: str) -> None:
    """A problem was told (or would have been, had its caller not left)."""
    _PROBLEMS.labels(_kind(kind), _route(route)).inc()


def media(direction: str, size_bytes: int) -> None:
    """Media went `in` or `out`."""
    _MEDIA_BYTES.labels(direction).inc(size_bytes)
