"""Count and time requests for Prometheus. This module is imported only when METRICS is on.

All labels are routes, methods, statuses and error codes of this service. So no series contains
personal data, and callers cannot create series.
"""

import os
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import cache
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics import disable_created_metrics
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from bases import Query
from config.metrics import VARIABLE, is_shared, process_number
from services import sending
from services.results import Result, RowResult
from web.body import load_query
from web.observe import METRICS

LOG_MEETING = {"api.log_meeting", "desk.log_meeting"}  # endpoints
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# A booking on SQLite takes about a millisecond; DB_TIMEOUT_SECONDS is 5 unless set otherwise.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

# The class of all values must be chosen before the first metric is made.
values.ValueClass = values.MultiProcessValue(process_number) if is_shared() else values.MutexValue
disable_created_metrics()

# Seconds that this request has spent in the database so far.
spent: ContextVar[float] = ContextVar("spent", default=0.0)


def install(app: Flask) -> Callable[[float], None]:
    """Count what an application does, and show it at /metrics.

    Returns a function to call with the seconds of each call of the database's driver.
    """
    metrics = app.extensions[METRICS] = Metrics()
    app.after_request(metrics.count_request)
    app.add_url_rule("/metrics", view_func=metrics.get_metrics)
    return spend


def spend(seconds: float) -> None:
    """Add one call of the database's driver to what this request has spent."""
    spent.set(spent.get() + seconds)


class Metrics:
    """The metrics of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "meetings_http_requests_total",
            "Requests answered, by route, method and status.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.durations = Histogram(
            "meetings_http_request_duration_seconds",
            "Time from a request's arrival at the application to its answer.",
            ["route", "method"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.database_seconds = Counter(
            "meetings_database_seconds_total",
            "Time spent in the database's driver, transactions and waits for locks included.",
            ["route"],
            registry=self.registry,
        )
        self.logged = Counter(
            "meetings_logged_total",
            "Bookings of POST /meetings (each row of an array), of the tool create_meeting and of"
            " the desk: created, updated, rescheduled, unchanged, refused.",
            ["result", "code"],
            registry=self.registry,
        )
        for effect in ("created", "updated", "rescheduled", "unchanged"):
            self.logged.labels(effect, "")  # zero at first, so that rates count the first booking
        self._series = cache(self._find_series)  # prometheus_client takes a lock for each look-up

    def get_metrics(self) -> Response:
        """Show the metrics of all processes of the server in Prometheus' text format 0.0.4."""
        load_query(Query)
        registry = self.registry
        if is_shared():
            registry = CollectorRegistry()
            MultiProcessCollector(registry, os.environ[VARIABLE])
        shown = generate_latest(registry) + generate_latest(_count_deliveries())
        headers = {"Cache-Control": "no-store"}
        return Response(shown, headers=headers, content_type=CONTENT_TYPE_PLAIN_0_0_4)

    def count_request(self, response: Response) -> Response:
        """Count a request, its duration, and what it spent in the database."""
        route = request.url_rule.rule if request.url_rule else "unknown"
        method = request.method if request.method in METHODS else "other"
        requests, durations, database_seconds = self._series(route, method, response.status_code)
        requests.inc()
        durations.observe(time.perf_counter() - g.began_at)
        if spent.get():
            database_seconds.inc(spent.get())
            spent.set(0.0)
        if "code" in g and _logs_meetings():
            self.logged.labels("refused", g.code).inc()
        return response

    def count_bookings(self, results: list[Result], *, is_array: bool) -> None:
        """Count the results of bookings; `count_request` counts a single refused one."""
        for result in results:
            if isinstance(result, RowResult):
                self.logged.labels(result.effect, "").inc()
            elif is_array:
                self.logged.labels("refused", result.code).inc()

    def _find_series(
        self, route: str, method: str, status: int
    ) -> tuple[Counter, Histogram, Counter]:
        return (
            self.requests.labels(route, method, str(status)),
            self.durations.labels(route, method),
            self.database_seconds.labels(route),
        )


def _logs_meetings() -> bool:
    """Whether the request sends bookings: to the API, by a tool or by a form of the desk."""
    return request.endpoint in LOG_MEETING or g.get("rpc", {}).get("tool") == "create_meeting"


class Deliveries(Collector):
    """The deliveries to webhooks, as the database counts them: senders may run anywhere."""

    def __init__(self, status: dict[str, Any]) -> None:
        self._status = status

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        results = CounterMetricFamily(
            "meetings_deliveries",
            "Deliveries to webhooks by result: delivered, or failed for good; and failed tries.",
            labels=["result"],
        )
        for result in ("delivered", "failed", "failed_tries"):
            results.add_metric([result], self._status[result])
        yield results
        yield GaugeMetricFamily(
            "meetings_deliveries_waiting",
            "Deliveries that wait for their first or next try.",
            self._status["waiting"],
        )
        yield GaugeMetricFamily(
            "meetings_deliveries_oldest_waiting_seconds",
            "Age of the oldest delivery that waits; 0 if none does.",
            self._status["oldest_waiting_seconds"],
        )


def _count_deliveries() -> CollectorRegistry:
    """Return a registry of the deliveries; it is empty while the database does not answer."""
    registry = CollectorRegistry()
    status = sending.status_or_none()
    if status is not None:
        registry.register(Deliveries(status))
    return registry
