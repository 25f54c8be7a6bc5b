"""The routes: the blueprint `api`, which needs a key, and the public routes."""

from flask import Flask

from routes import meetings, leads, calendars, webhooks, public  # isort: skip  (the order of the document)
from routes.blueprint import api

__all__ = ["calendars", "leads", "meetings", "public", "register", "webhooks"]


def register(app: Flask) -> None:
    """Add every route to an application."""
    app.add_url_rule("/healthz", view_func=public.healthz)
    app.add_url_rule("/readyz", view_func=public.readyz)
    app.add_url_rule("/feeds/<token>.ics", view_func=calendars.get_feed)
    app.add_url_rule("/openapi.json", view_func=public.get_openapi)
    app.add_url_rule("/docs", view_func=public.get_docs)
    app.add_url_rule("/docs/<version>/<name>", view_func=public.get_docs_file)
    app.register_blueprint(api)
