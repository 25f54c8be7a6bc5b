"""Signatures of webhooks, compared in constant time."""

import hmac


def sign(secret: str, message: bytes) -> str:
    """Return the HMAC-SHA256 of a message in hexadecimal."""
    return hmac.new(secret.encode(), message, "sha256").hexdigest()


def is_same(given: str | None, expected: str) -> bool:
    """Compare a header's value with the expected text."""
    # WSGI decodes a header's bytes as Latin-1. Other characters cannot arrive.
    return hmac.compare_digest((given or "").encode("latin-1", "replace"), expected.encode())
