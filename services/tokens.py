"""Secrets that the service makes and then knows only by their hash."""

from hashlib import sha256


def hash_secret(secret: str) -> str:
    """Return the SHA-256 of a secret, in hexadecimal.

    A secret has 256 random bits, so a fast hash without salt gives nothing away.
    """
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
