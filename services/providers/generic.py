"""A booking system whose payload a mapping describes."""

from typing import Any


def mapping_fault(mapping: dict[str, Any]) -> str | None:
    """Return why a mapping cannot work, in one sentence that names the field, or None."""
    return None
