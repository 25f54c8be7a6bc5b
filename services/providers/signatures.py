"""Signatures of webhooks, compared in constant time."""

import hmac


def sign(secret: str, message: bytes) -> str:
    """Return the HMAC-SHA256 of a message in hexadecimal."""
    return hmac.new(secret.encode(), message, "sha256").hexdigest()


def is_same(given: str | None, expected: str) -> bool:
    """Compare a header's value with the expected text."""
    try:
        raw = (given or "").encode("latin-1")  # as WSGI decoded it
    except UnicodeEncodeError:
        return False
    return hmac.compare_digest(raw, expected.encode())
