"""The routes: the blueprint `api`, which needs a key; public routes; the route for assistants."""

from flask import Flask

from routes import meetings, notes, leads, users, meeting_types  # isort: skip  (document order)
from routes import sources, receipts, webhooks, calendars, hooks, public, mcp  # isort: skip
from routes.blueprint import api

__all__ = [
    "calendars",
    "hooks",
    "leads",
    "mcp",
    "meeting_types",
    "meetings",
    "notes",
    "public",
    "receipts",
    "register",
    "sources",
    "users",
    "webhooks",
]


def register(app: Flask) -> None:
    """Add every route to an application."""
    app.add_url_rule("/", view_func=public.get_root)
    app.add_url_rule("/healthz", view_func=public.healthz)
    app.add_url_rule("/readyz", view_func=public.readyz)
    app.add_url_rule("/hooks/<token>", view_func=hooks.probe_hook)
    app.add_url_rule("/hooks/<token>", view_func=hooks.receive_hook, methods=["POST"])
    app.add_url_rule("/feeds/<token>.ics", view_func=calendars.get_feed)
    app.add_url_rule("/openapi.json", view_func=public.get_openapi)
    app.add_url_rule("/docs", view_func=public.get_docs)
    app.add_url_rule("/docs/<version>/<name>", view_func=public.get_docs_file)
    app.add_url_rule("/mcp", view_func=mcp.answer_assistant, methods=["POST"])
    app.register_blueprint(api)
