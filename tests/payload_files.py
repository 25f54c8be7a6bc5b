"""Payloads of the booking systems, and ways to change them."""

import copy
import json
from pathlib import Path
from typing import Any

from intake_models import Source
from services.payloads import Repaired, repair
from services.providers import PROVIDERS
from services.providers.events import ReportedEvent

FOLDER = Path(__file__).parent / "payloads"


def payload(name: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a copy of a file such as `ghl/booked`.

    `changes` maps paths such as `calendar/status` to new values; with ... the key is removed.
    """
    changed = json.loads((FOLDER / f"{name}.json").read_text())
    for path, value in (changes or {}).items():
        *steps, last = [int(part) if part.isdigit() else part for part in path.split("/")]
        at = changed
        for step in steps:
            at = at[step]
        if value is ...:
            del at[last]
        else:
            at[last] = copy.deepcopy(value)
    return changed


def source_of(provider: str, **values: Any) -> Source:
    """Return a source of a provider; a generic one has the mapping of the example."""
    mapping = payload("generic/mapping") if provider == "generic" else None
    usual = {"provider": provider, "event_provider": provider, "timezone": "UTC"}
    return Source.of({**usual, "mapping": mapping, **values})


def read(name: str, changes: dict[str, Any] | None = None, **source: Any) -> ReportedEvent:
    """Return the event that a payload reports."""
    provider = name.partition("/")[0]
    return PROVIDERS[provider].read(payload(name, changes), source_of(provider, **source))


def repaired(name: str, changes: dict[str, Any] | None = None, **source: Any) -> Repaired:
    """Return the booking of a payload after its repair."""
    return repair(read(name, changes, **source))


def booking_of(name: str, changes: dict[str, Any] | None = None, **source: Any) -> dict[str, Any]:
    """Return the booking of a payload, which needs no repair to be valid."""
    result = repaired(name, changes, **source)
    assert not result.booking.wrong
    assert not result.repairs
    return result.booking.valid
