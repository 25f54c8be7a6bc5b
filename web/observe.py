"""Observe requests: their id, one log line each, and counters when METRICS is on."""

import logging
import re
import time
from uuid import uuid4

from flask import Flask, Response, current_app, g, request

from config.logging import REQUEST_ID, RequestLine, list_fields, mask_path
from services.results import Result

METRICS = "meetings_metrics"  # the name of web.metrics.Metrics among an application's extensions

log = logging.getLogger("meetings")


def register(app: Flask) -> None:
    """Observe every request of an application."""
    app.before_request(begin_request)
    app.after_request(end_request)


def begin_request() -> None:
    """Set `g.began_at` and `g.request_id`: the caller's own id if it is well-formed."""
    g.began_at = time.perf_counter()
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if re.fullmatch(REQUEST_ID, given) else str(uuid4())


def end_request(response: Response) -> Response:
    """Set `X-Request-Id` on the response, and log the request in one line."""
    response.headers["X-Request-Id"] = g.request_id
    if log.isEnabledFor(logging.INFO):
        line = RequestLine(
            request_id=g.request_id,
            client_id=g.get("client_id"),
            address=request.remote_addr,
            method=request.method,
            path=mask_path(request.path),
            status=response.status_code,
        )
        line |= g.get("rpc", {})
        if code := g.get("code"):
            line["code"] = code
        if wrong_fields := g.get("wrong_fields"):
            line["fields"] = list_fields(wrong_fields)
        line["milliseconds"] = round((time.perf_counter() - g.began_at) * 1000, 1)
        log.info(line)
    return response


def count_bookings(results: list[Result], *, is_array: bool = False) -> None:
    """Count the results of a request's bookings; does nothing unless METRICS is on."""
    metrics = current_app.extensions.get(METRICS)
    if metrics:
        metrics.count_bookings(results, is_array=is_array)
