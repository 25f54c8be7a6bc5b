"""The application: settings, database, routes, error handlers and commands put together."""

import logging.config
from functools import cache, partial
from importlib import import_module

from flask import Flask

import cli
import database
import desk
import routes
from config.logging import configuration
from config.settings import Settings, SettingsError, read_settings
from web import answers, observe
from web.proxies import TrustedProxies


def create_app(settings: Settings | None = None) -> Flask:
    """Return the WSGI application; its settings come from the environment unless given.

    Opens no connection yet. An invalid setting ends the program with a line that names it.
    """
    if settings is None:
        try:
            settings = read_settings()
        except SettingsError as error:
            raise SystemExit(str(error)) from None
    logging.config.dictConfig(configuration(settings.log_level, settings.log_format))
    own_database = database.connect_to(
        settings.database_url, settings.db_pool_size, settings.db_timeout_seconds
    )
    database.use(own_database)

    app = Flask(__name__, static_folder=None)
    app.config.update(SETTINGS=settings, PROVIDE_AUTOMATIC_OPTIONS=False)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # for callers of the test client
    app.url_map.merge_slashes = False  # a path with two slashes is unknown, not a redirect
    # Flask checks at every call whether a function is a coroutine; the answer never changes.
    app.ensure_sync = cache(app.ensure_sync)  # type: ignore[method-assign]
    selection = app.extensions["database"] = database.Selection(own_database)
    app.before_request(partial(database.select, selection))
    app.teardown_request(lambda error: database.deselect())
    observe.register(app)
    answers.register(app)
    routes.register(app)
    if settings.trusted_proxies:
        app.wsgi_app = TrustedProxies(  # type: ignore[method-assign]
            app.wsgi_app, settings.trusted_proxies
        )
    if settings.desk:
        desk.register(app)
    if settings.metrics:
        metrics = import_module("web.metrics")  # without METRICS, prometheus_client is not loaded
        own_database.time_calls(metrics.install(app))
    cli.register(app)
    return app
