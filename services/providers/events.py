"""What a booking system reports, in our terms, and safe ways to read a payload."""

from dataclasses import dataclass, field
from typing import Any, Literal

from fields import REFUSED_CHARACTERS, WHITE_SPACE

Action = Literal["log", "cancel", "complete", "no_show", "reopen", "ignore", "refuse"]
LONGEST_NAME = 255


@dataclass(frozen=True)
class ReportedEvent:
    """What a booking system reports: what happened, and the fields of the booking.

    `booking` maps the fields of POST /meetings to the payload's values, which are not checked. A
    value that is missing is absent or None. Of a tuple, the first valid value counts. One more key,
    `location`, is a place in free text: a link, a number to dial, or else where people meet.
    """

    name: str | None  # the event as its provider names it, at most 255 characters
    action: Action
    booking: dict[str, Any] = field(default_factory=dict)
    timezone: str = "UTC"  # of times without an offset, if the booking has no zone
    reason: Any = None  # of a cancellation or a no-show
    at: Any = None  # when the provider reported it: ISO 8601 with an offset
    message: str = "says nothing about a meeting."  # of `ignore`: what follows the name
    details: dict[str, list[str]] = field(
        default_factory=dict
    )  # of `refuse`: our field → sentences


def find(value: Any, *path: str | int) -> Any:
    """Return the value at a path of keys and list indexes; None if any step is missing."""
    for step in path:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def plain_text(value: Any) -> str | None:
    """Return a text stripped and without control characters, and a number as its text.

    None for a blank text and for any other value.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return None
    return REFUSED_CHARACTERS.sub("", value).strip(WHITE_SPACE) or None


def is_blank(value: Any) -> bool:
    """Return whether a value counts as absent: None, or a text with nothing to read."""
    return value is None or (isinstance(value, str) and plain_text(value) is None)


def flag(value: Any) -> bool | None:
    """Return a boolean, also one written as text; None for any other value."""
    return {"true": True, "false": False}.get(str(value).lower()) if value is not None else None


def event_name(value: Any) -> str | None:
    """Return the name of an event as receipts show it, if it is a text or a number."""
    text = plain_text(value)
    return text and text[:LONGEST_NAME]


def unnamed(field_name: str) -> dict[str, list[str]]:
    """Return the fault of a payload that does not say which event it reports."""
    return {field_name: ["The payload does not name an event."]}
