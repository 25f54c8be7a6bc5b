"""The addresses of this service, as callers reach it."""

from flask import current_app, request


def hook_url(token: str) -> str:
    """Return the address with a source's token, which a booking system posts to.

    It begins with PUBLIC_URL, else with what the request was sent to. A request may lack a usable
    `Host`.
    """
    settings = current_app.config["SETTINGS"]
    base_url = settings.public_url
    if not base_url and request.host:
        base_url = f"{request.scheme}://{request.host}"
    return f"{base_url or settings.base_url}/hooks/{token}"


def location(row_id: str) -> str:
    """Return the address of a row that was posted to this path; relative without PUBLIC_URL."""
    return f"{this_path()}/{row_id}"


def this_path() -> str:
    """Return the address of the request without its query; relative without PUBLIC_URL."""
    return f"{current_app.config['SETTINGS'].public_url or ''}{request.path}"
