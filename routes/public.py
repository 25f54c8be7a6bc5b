"""The public routes: health, readiness, and the API's documentation."""

from typing import Any

from flask import Response, current_app, redirect

from bases import Query
from config.version import VERSION
from envelopes import HealthAnswer, ReadyAnswer
from services import health
from services.errors import Unavailable
from web import docs
from web.answers import serve_file, success
from web.body import load_query
from web.describe import answers
from web.pages import pages_on


@answers(200, HealthAnswer, query=Query)
def healthz() -> Response:
    """Report that the process responds."""
    load_query(Query)
    return success(status="ok", version=VERSION)


@answers(200, ReadyAnswer, query=Query, raises=(Unavailable,))
def readyz() -> Response:
    """Report that the database responds and is migrated."""
    load_query(Query)
    health.check()
    return success(status="ready")


def get_root() -> Any:
    """Redirect to the first page that is on; the address is relative, for path prefixes."""
    load_query(Query)
    return redirect(next(iter(pages_on(current_app)), "healthz"))


def get_openapi() -> Response:
    """Get the OpenAPI document."""
    load_query(Query)
    return serve_file(docs.DOCUMENT)


def get_docs() -> Response:
    """Get the page that shows the document."""
    load_query(Query)
    return serve_file(docs.PAGE)


def get_docs_file(version: str, name: str) -> Response:
    """Get a script or style of that page."""
    load_query(Query)
    return serve_file(docs.find_file(version, name))
