"""The pages of this service for people, in a browser."""

from flask import Flask

PAGES = ("docs", "desk")  # the first that is on is where `/` leads


def pages_on(app: Flask) -> list[str]:
    """Return the pages that an application serves."""
    paths = {rule.rule.strip("/") for rule in app.url_map.iter_rules()}
    return [page for page in PAGES if page in paths]
