"""Any other booking system: the source's mapping says where its payload holds what."""

from typing import Any


def mapping_fault(mapping: Any) -> str | None:
    """Return a sentence that names what cannot work in a mapping, or None."""
    return None if isinstance(mapping, dict) else "Must be an object."
