"""The API key of a request."""

from flask import request


def read_api_key() -> str:
    """Return the key from `X-API-Key`, or else from `Authorization`; empty if there is none."""
    if api_key := request.headers.get("X-API-Key", "").strip():
        return api_key
    scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
