"""The schemas of sources, of the receipts of what arrived at them, and of notes."""

from collections.abc import Mapping
from typing import Any

from marshmallow.fields import UUID, Boolean, DateTime, Dict, Integer, String
from marshmallow.validate import OneOf, Range

import fields
from bases import Query, Request, ResponseSchema
from intake_models import LATEST_RECEIVED, MAPPING_BYTES, RECEIPT_OUTCOMES, SOURCE_PROVIDERS
from models import NOTE_CONTENTS, OLDEST_FIRST, RESERVED_NOTE_PROVIDERS

# The fields of a note that identify its meeting, in the order in which they are tried.
NOTE_MEETING = ("calendar_event_id", "external_calendar_event_id", "meeting_url", "lead_email")
NOTE_CHARACTERS = 500_000  # of each content of a note


class SourceRequest(Request):
    """An address for a booking system to post to."""

    ONLY_WITH = {"mapping": ("provider", "generic")}
    EXAMPLE = {"name": "Calendly", "provider": "calendly", "signing_secret": "keep-this-secret"}

    name = fields.Text(255, required=True, about="No two sources have the same name.")
    provider = fields.Choice(
        SOURCE_PROVIDERS, required=True, about="`generic` for any other booking system."
    )
    signing_secret = fields.Text(
        255,
        shortest=8,
        about="The secret with which the booking system authenticates its requests.",
    )
    create_leads = fields.Boolean(
        about="Whether a booking by an unknown email creates a lead; `true` by default."
    )
    timezone = fields.Timezone(
        about="The zone of times that arrive without an offset or zone; `UTC` by default."
    )
    mapping = fields.JsonObject(
        MAPPING_BYTES,
        about="For `generic` only: JSON Pointers that say where a payload has each field.",
    )


class SourcePatch(SourceRequest):
    """Changes to a source. Null sets the default of a field: no `signing_secret`, no check."""

    ONLY_WITH = {}
    REFUSED = {"provider": "Cannot be changed: create another source for another provider."}
    EXAMPLE = {"create_leads": False, "timezone": "America/Santiago"}

    name = fields.Text(255, allow_none=False, error_messages={"null": "Must not be null."})

    class Meta:
        exclude = ("provider",)


class RetryRequest(Request):
    """Which receipts to process again; at least one of the fields."""

    EITHER_OR = (("outcome", "source_id", "lead_email"),)
    EXAMPLE = {"outcome": "unmatched"}

    outcome = fields.CommaList(RECEIPT_OUTCOMES, about="A comma-separated list of outcomes.")
    source_id = fields.Id()
    lead_email = fields.Text(254)

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Leave out the filters that are null."""
        for name in [name for name, value in valid.items() if value is None]:
            del valid[name]
        return {}


class MeetingNoteRequest(Request):
    """What a note-taking tool, or a person, wrote down about a meeting."""

    BODY_BYTES = 4 * 1024 * 1024
    EITHER_OR = (NOTE_MEETING, NOTE_CONTENTS)
    NEEDS = {"external_calendar_event_id": ("external_calendar_provider",)}
    EXAMPLE = {
        "external_calendar_provider": "ghl",
        "external_calendar_event_id": "1RZJ24WY65VGQFyhN0vJ",
        "provider": "fathom",
        "external_meeting_id": "fathom-4711",
        "summary": "Tony wants a demo of the Mark III.",
        "action_items": ["Send the price list", "Book the demo"],
    }

    calendar_event_id = fields.Id(about="The meeting's id in this service.")
    external_calendar_provider = fields.LowerCase(
        64, about="The system in which the meeting was booked, in any case."
    )
    external_calendar_event_id = fields.Text(
        255, about="The booking's exact id in that system, current or earlier."
    )
    meeting_url = fields.Url(
        about="The meeting's exact URL; of several meetings, the one that starts nearest to"
        " `meeting_date`, or else to now."
    )
    lead_email = fields.Email(
        about="The lead's email, in any case: the meeting that starts nearest to `meeting_date`,"
        " within 60 minutes, or else the latest meeting that has begun."
    )
    meeting_date = fields.UtcDateTime(
        about="The approximate start: an ISO 8601 date and time, in UTC unless it has an offset."
    )
    provider = fields.Slug(
        64, RESERVED_NOTE_PROVIDERS, about="The tool that made the note; `manual` by default."
    )
    external_meeting_id = fields.Text(
        255, about="The note's id in that tool. With `provider` it identifies one note permanently."
    )
    notes = fields.Text(NOTE_CHARACTERS)
    transcript_text = fields.Text(NOTE_CHARACTERS)
    summary = fields.Text(NOTE_CHARACTERS)
    manual_ai_summary = fields.Text(NOTE_CHARACTERS)
    action_items = fields.TextOrTexts(NOTE_CHARACTERS, 200, 1000)

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Require the event id with a provider, unless another field names the meeting."""
        if any(given.get(name) is not None for name in NOTE_MEETING):
            return {}
        is_half = given.get("external_calendar_provider") is not None
        return {"external_calendar_event_id": ["Required with the provider."]} if is_half else {}

    def is_given(self, name: str, given: Mapping[str, Any]) -> bool:
        """Return whether a field counts as given: null contents do, since they clear a note's.

        So does an event id whose provider is given: `check` then requires it.
        """
        if name == "external_calendar_event_id" and self.is_given(
            "external_calendar_provider", given
        ):
            return True
        return name in given if name in NOTE_CONTENTS else super().is_given(name, given)


class ReceiptsQuery(Query):
    """Parameters of GET /receipts, which has a fixed order."""

    outcome = fields.CommaList(RECEIPT_OUTCOMES, about="A comma-separated list of outcomes.")
    source_id = fields.Id()
    lead_email = fields.Text(254)
    received_after = fields.Instant(about="Inclusive.")
    limit = fields.Integer(1, 200, load_default=50)
    cursor = fields.Cursor(LATEST_RECEIVED)


class NotesQuery(Query):
    """Parameters of GET /meetings/{meeting_id}/notes, which has a fixed order."""

    limit = fields.Integer(1, 100, load_default=20)
    cursor = fields.Cursor(OLDEST_FIRST)


class SourceResponse(ResponseSchema):
    """An address that a booking system posts to."""

    id = UUID()
    name = String()
    provider = String(validate=OneOf(SOURCE_PROVIDERS))
    signed = Boolean(metadata={"description": "Whether signatures are checked."})
    create_leads = Boolean()
    timezone = String()
    mapping = Dict(allow_none=True)
    created_at = DateTime()
    last_received_at = DateTime(allow_none=True)


class ReceiptResponse(ResponseSchema):
    """What arrived at a source, and its outcome."""

    id = UUID()
    source_id = UUID()
    provider = String(validate=OneOf(SOURCE_PROVIDERS))
    event = String(allow_none=True, metadata={"description": "As its provider names it."})
    outcome = String(validate=OneOf(RECEIPT_OUTCOMES))
    message = String(metadata={"description": "A sentence for a person."})
    details = Dict(allow_none=True, metadata={"description": "Field → what was repaired or wrong."})
    meeting_id = UUID(allow_none=True)
    lead_id = UUID(allow_none=True)
    lead_email = String(allow_none=True)
    received_at = DateTime()
    attempts = Integer(validate=Range(1))


class MeetingNoteResponse(ResponseSchema):
    """A note about a meeting."""

    id = UUID()
    meeting_id = UUID()
    lead_id = UUID(attribute="lead_of_meeting")
    provider = String()
    external_meeting_id = String(allow_none=True)
    notes = String(allow_none=True)
    summary = String(allow_none=True)
    manual_ai_summary = String(allow_none=True)
    transcript_text = String(allow_none=True)
    action_items = fields.TextOrTexts(NOTE_CHARACTERS, 200, 1000)
    matched_by = String(
        validate=OneOf(NOTE_MEETING),
        metadata={"description": "The field that identified the meeting."},
    )
    created_at = DateTime()
    updated_at = DateTime()
