"""Receipts that wait for a lead or a booking: stub."""

from collections.abc import Iterable


def release(
    client_id: str, *, email_keys: Iterable[str] = (), pairs: Iterable[tuple[str, str]] = ()
) -> None:
    """Process the unmatched receipts again that wait for one of these emails or pairs."""
