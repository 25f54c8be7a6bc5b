"""Any other booking system: the source's mapping says where its payloads hold each field.

A mapping gives a JSON Pointer (RFC 6901) or a literal for each field of a booking. Its `event` says
where the payload names the event, and which words mean what.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jsonpointer
from marshmallow import ValidationError

import fields
from intake_models import MAPPING_BYTES, Source
from schemas import MeetingRequest, Reason
from services.providers.events import Action, ReportedEvent, event_name, is_blank, plain_text
from services.providers.signatures import is_same, sign

TARGETS: dict[str, Any] = {**MeetingRequest().load_fields, **Reason().load_fields}
TARGETS.pop("create_lead", None)  # a source decides this for all its bookings
# A literal here would give all bookings the same id.
IDS = ("external_event_id", "previous_external_event_id")
REQUIRED = ("external_event_id", "title", "starts_at")
EITHER_OR = (("ends_at", "duration_minutes"), ("lead_email", "attendee_email"))
LISTS: tuple[Action, ...] = ("log", "cancel", "complete", "no_show", "ignore")

# Otherwise the error for a missing member contains the whole payload.
jsonpointer.VERBOSE_EXCEPTIONS = False
LONGEST_POINTER = 1000
_parsed = lru_cache(maxsize=1024)(jsonpointer.JsonPointer)


def is_signed(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Check `X-Webhook-Secret: <secret>` or `X-Hub-Signature-256: sha256=<hex>`."""
    has_secret = is_same(headers.get("X-Webhook-Secret"), secret)
    return has_secret or is_same(headers.get("X-Hub-Signature-256"), f"sha256={sign(secret, body)}")


def read(payload: dict[str, Any], source: Source) -> ReportedEvent:
    """Return what a payload reports about a booking, by the source's mapping."""
    targets = {name: target for name, target in source.mapping.items() if name in TARGETS}
    booking = {name: _value(payload, target) for name, target in targets.items()}
    reason = booking.pop("reason", None)
    provider = booking.get("external_calendar_provider")
    booking["external_calendar_provider"] = (provider, source.event_provider)
    if is_blank(source.mapping.get("lead_email")):
        booking["lead_email"] = booking.get("attendee_email")
    name, action, details = _event(payload, source.mapping.get("event"))
    return ReportedEvent(name, action, booking, source.timezone, reason, details=details)


def _value(payload: dict[str, Any], target: str) -> Any:
    """Return a literal, or what a pointer finds, which is None if there is nothing."""
    if not target.startswith("/"):
        return target
    found = _parsed(target).resolve(payload, None)
    return None if isinstance(found, jsonpointer.EndOfList) else found


def _event(payload: dict[str, Any], event: Any) -> tuple[str | None, Action, dict[str, list[str]]]:
    if event is None:
        return None, "log", {}
    given = _value(payload, event["at"])
    word, name = plain_text(given), event_name(given)
    for action in LISTS:
        if word is not None and word in event.get(action, ()):
            return name, action, {}
    sentence = f'The mapping does not list the event "{name}".'
    return name, "refuse", {"event": [sentence if name else "The payload names no event."]}


def mapping_faults(mapping: Any) -> list[str]:
    """Return what keeps a mapping from working, in sentences that name the fields."""
    if not isinstance(mapping, dict):
        return ["Must be an object of fields and JSON Pointers."]
    found = []
    for name, target in mapping.items():
        fault = _event_fault(target) if name == "event" else _target_fault(name, target)
        if fault:
            found.append(f"{event_name(name) or 'A field without a name'}: {fault}")
    found += [f"{name}: {fields.REQUIRED}" for name in REQUIRED if is_blank(mapping.get(name))]
    for name, other in EITHER_OR:
        if is_blank(mapping.get(name)) and is_blank(mapping.get(other)):
            found.append(f"{name}: Required unless {other} is mapped.")
    if len(json.dumps(mapping)) > MAPPING_BYTES:
        found.append(f"Must be at most {MAPPING_BYTES} bytes of JSON.")
    return found


def _target_fault(name: str, target: Any) -> str | None:
    if name not in TARGETS:
        return "Unknown field."
    if not isinstance(target, str):
        return "Must be text: a JSON Pointer or a literal."
    if not target.strip(fields.WHITE_SPACE):
        return None
    if target.startswith("/"):
        return _pointer_fault(target)
    if name in IDS:
        return "Must be a JSON Pointer, because each booking has its own id."
    try:
        TARGETS[name].deserialize(target)
    except ValidationError as error:
        return f"As a literal: {error.messages[0]}"
    return None


def _pointer_fault(pointer: Any) -> str | None:
    try:
        fields.PlainText(max=LONGEST_POINTER)(pointer)
        jsonpointer.JsonPointer(pointer)
    except ValidationError as error:
        return str(error.messages[0])
    except jsonpointer.JsonPointerException:
        return "Must be a JSON Pointer, in which ~ is written ~0, and / within a key ~1."
    return None


def _event_fault(event: Any) -> str | None:
    """Return what is wrong with `event`: {"at": pointer, "log": [words], "cancel": [words], …}."""
    if not isinstance(event, dict):
        return "Must be an object with at and lists of words."
    if unknown := [key for key in event if key not in ("at", *LISTS)]:
        return f'"{event_name(unknown[0])}" is none of: at, {", ".join(LISTS)}.'
    at = event.get("at")
    if not isinstance(at, str) or not at.startswith("/"):
        return "at must be a JSON Pointer."
    if fault := _pointer_fault(at):
        return f"at: {fault}"
    seen: set[str] = set()
    for action in LISTS:
        words = event.get(action, [])
        if not isinstance(words, list) or not all(map(_is_word, words)):
            return f"{action} must be a list of words."
        if twice := seen.intersection(words):
            return f'The word "{event_name(min(twice))}" is in two lists.'
        seen.update(words)
    return None if seen else "Must list at least one word."


def _is_word(word: Any) -> bool:
    return isinstance(word, str) and plain_text(word) == word
