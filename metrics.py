"""What the service counts and times for Prometheus. Imported when METRICS is on, and only then.

No series holds anything personal: labels are routes, methods, statuses and codes, all of them
words of this service, so that no caller can make series either.
"""

import os
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache, wraps
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics import disable_created_metrics
from prometheus_client.multiprocess import MultiProcessCollector

from config.metrics import VARIABLE, is_shared, process_number
from services.errors import ServiceError

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# A booking on SQLite takes about a millisecond; DB_TIMEOUT_SECONDS is 5 unless set otherwise.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

Stored = tuple[dict[str, Any], bool]  # a meeting and whether it is new

REGISTRY = CollectorRegistry()
# To be chosen before the first metric is made.
values.ValueClass = values.MultiProcessValue(process_number) if is_shared() else values.MutexValue
disable_created_metrics()

REQUESTS = Counter(
    "meetings_http_requests_total",
    "Requests answered, by route, method and status.",
    ["route", "method", "status"],
    registry=REGISTRY,
)
DURATIONS = Histogram(
    "meetings_http_request_duration_seconds",
    "Time from a request's arrival at the application to its answer.",
    ["route", "method"],
    buckets=SECONDS,
    registry=REGISTRY,
)
DATABASE_SECONDS = Counter(
    "meetings_database_seconds_total",
    "Time spent in the database's driver, transactions and waits for locks included.",
    ["route"],
    registry=REGISTRY,
)
LOGGED = Counter(
    "meetings_logged_total",
    "Bookings sent to POST /meetings, alone or in an array: created, updated, unchanged, refused.",
    ["result", "code"],
    registry=REGISTRY,
)
for _result in ("created", "updated", "unchanged"):
    LOGGED.labels(_result, "")  # zero from the beginning, so that the first one shows as a rise


# What this task or thread has spent in the database since it was last asked.
spent: ContextVar[float] = ContextVar("spent", default=0.0)


def spend(seconds: float) -> None:
    """Note one call of the database's driver, in this task."""
    spent.set(spent.get() + seconds)


def count_request(route: str, method: str, status: int, seconds: float) -> None:
    """Count a request that was answered, and what its task spent in the database."""
    method = method if method in METHODS else "other"
    requests, durations, database_seconds = _series(route, method, status)
    requests.inc()
    durations.observe(seconds)
    if spent.get():
        database_seconds.inc(spent.get())
        spent.set(0.0)


@cache  # prometheus_client looks them up under a lock
def _series(route: str, method: str, status: int) -> tuple[Counter, Histogram, Counter]:
    return (
        REQUESTS.labels(route, method, str(status)),
        DURATIONS.labels(route, method),
        DATABASE_SECONDS.labels(route),
    )


def count_refused(code: str) -> None:
    """Count a booking, or a whole array of them, that was refused."""
    LOGGED.labels("refused", code).inc()


def counting(log: Callable[[str, Any], Stored]) -> Callable[[str, Any], Stored]:
    """A function that logs a booking, and counts what became of it; a refusal is not counted."""

    @wraps(log)
    def run(client_id: str, booking: Any) -> Stored:
        stored = log(client_id, booking)
        LOGGED.labels(_result_of(*stored), "").inc()
        return stored

    return run


def counting_many(
    log_many: Callable[[str, Any], list[Stored | ServiceError]],
) -> Callable[[str, Any], list[Stored | ServiceError]]:
    """A function that logs bookings, and counts what became of each."""

    @wraps(log_many)
    def run(client_id: str, bookings: Any) -> list[Stored | ServiceError]:
        results = log_many(client_id, bookings)
        for result in results:
            if isinstance(result, ServiceError):
                count_refused(result.code)
            else:
                LOGGED.labels(_result_of(*result), "").inc()
        return results

    return run


def _result_of(meeting: dict[str, Any], created: bool) -> str:
    if created:
        return "created"
    return "unchanged" if meeting["unchanged"] else "updated"


def exposition() -> bytes:
    """Everything, of all processes of the server, in Prometheus' text format 0.0.4."""
    if not is_shared():
        return generate_latest(REGISTRY)
    of_all = CollectorRegistry()
    MultiProcessCollector(of_all, os.environ[VARIABLE])
    return generate_latest(of_all)
