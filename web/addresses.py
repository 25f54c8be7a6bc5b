"""The addresses of this service that booking systems post to."""

from flask import current_app, request


def hook_url(token: str) -> str:
    """Return the address with a source's token, beginning as callers reach the service.

    That is PUBLIC_URL, else what the request was sent to. A request may lack a usable `Host`.
    """
    settings = current_app.config["SETTINGS"]
    base_url = settings.public_url
    if not base_url and request.host:
        base_url = f"{request.scheme}://{request.host}"
    return f"{base_url or settings.base_url}/hooks/{token}"
