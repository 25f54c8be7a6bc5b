"""The desk: the service's web interface at /desk, on the services that the API calls."""

from flask import Flask

from desk import arrivals, deliveries, figures, leads, logging_meetings, meetings, templating

from desk import signing_in, today  # isort: skip
from desk.blueprint import desk

__all__ = [
    "arrivals",
    "deliveries",
    "figures",
    "leads",
    "logging_meetings",
    "meetings",
    "register",
    "signing_in",
    "today",
]


def register(app: Flask) -> None:
    """Add the pages to an application."""
    templating.register(app)
    app.register_blueprint(desk)
