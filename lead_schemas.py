"""The schemas of leads and their history: requests, queries and responses."""

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow.fields import UUID, Constant, DateTime, Dict, List, Raw, String
from marshmallow.validate import Length, OneOf

import fields
from bases import Query, Request, ResponseSchema
from models import ACTIVITY_TYPES, CHANNEL
from schemas import LARGEST_OFFSET, NOT_NULL


class LeadFields(Request):
    """Fields of a lead to replace; None clears a field. All other keys become metadata.

    After loading, `clear_metadata` says whether the stored metadata is removed first.
    """

    EXAMPLE = {"company": "Stark Industries", "utm_source": None}

    first_name = fields.Text(255)
    last_name = fields.Text(255)
    email = fields.Email()
    phone = fields.Text(50)
    company = fields.Text(255)
    title = fields.Text(255)
    source = fields.Text(255, about="Where the lead came from; `api` by default.")
    external_id = fields.Text(
        255, about="The lead's id in your system; no two leads have the same id."
    )
    metadata = fields.Metadata(
        about="Merged key by key into the stored metadata; null removes a key."
    )

    IGNORED: ClassVar[frozenset[str]] = frozenset({"id", "created_at", "updated_at"})

    def prepare(self, given: dict[str, Any]) -> dict[str, Any]:
        """Move unknown keys into `metadata`; a key that is already there keeps its value."""
        lead, folded = {}, {}
        for key, value in given.items():
            if key in self.load_fields:
                lead[key] = value
            elif key not in self.IGNORED:
                folded[key] = value
        metadata = {} if lead.get("metadata") is None else lead["metadata"]
        if folded and isinstance(metadata, dict):
            lead["metadata"] = folded | metadata
        return lead

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Record whether `metadata` was null, even if other keys became metadata."""
        valid["clear_metadata"] = given.get("metadata", "") is None
        return {}


class LeadRequest(LeadFields):
    """A new lead, or changes to the lead with the `external_id`."""

    EXAMPLE = {
        "first_name": "Tony",
        "last_name": "Stark",
        "email": "tony.stark@gmail.com",
        "phone": "+1 212 970 4133",
        "company": "Stark Industries",
        "external_id": "demo-tony-stark",
    }

    first_name = fields.Text(255, required=True)


class LeadPatch(LeadFields):
    """Changes to a lead; its first name can be replaced but not cleared."""

    first_name = fields.Text(255, **NOT_NULL)


class LeadMatchQuery(Query):
    """Parameters of POST /leads."""

    match = fields.CommaList(
        ("email", "phone"),
        about="Update the lead that has the `email` (in any case), or else the `phone` (compared by"
        " its digits), instead of creating another; of several, the one updated last. A known"
        " `external_id` takes precedence.",
    )


class LeadsQuery(Query):
    """Parameters of GET /leads."""

    email = fields.Text(254, about="Exactly this email, in any case.")
    phone = fields.Text(50, about="Exactly this phone, compared by its digits.")
    external_id = fields.Text(255, about="Exactly this id in your system.")
    search = fields.Text(
        255,
        about="Part of `First Last`, email or phone, in any case. Digits match a phone in any"
        " notation.",
    )
    limit = fields.Integer(1, 200, load_default=50)
    page = fields.Integer(0, LARGEST_OFFSET // 200, load_default=0, about="Counted from 0.")


class LeadSummary(ResponseSchema):
    """The summary of a lead, shown with its history."""

    id = UUID()
    first_name = String()
    last_name = String(allow_none=True)
    phone = String(allow_none=True)
    email = String(allow_none=True)
    source = String()
    created_at = DateTime()


class LeadResponse(ResponseSchema):
    """A lead with all its fields."""

    id = UUID()
    first_name = String()
    last_name = String(allow_none=True)
    email = String(allow_none=True)
    phone = String(allow_none=True)
    source = String()
    company = String(allow_none=True)
    title = String(allow_none=True)
    external_id = String(allow_none=True)
    metadata = fields.Metadata(allow_none=False)
    created_at = DateTime()
    updated_at = DateTime()


class HistoryQuery(Query):
    """Parameters of GET /leads/{id}/history."""

    limit = fields.Integer(1, 200, load_default=50)
    offset = fields.Integer(0, LARGEST_OFFSET, load_default=0)
    channel = fields.CommaList(
        about="A comma-separated list; all activities of this service have the channel `system`."
    )


class ActivityResponse(ResponseSchema):
    """One activity in a lead's history."""

    type = Constant("activity")
    channel = Constant(CHANNEL)
    activity_type = String(validate=OneOf(ACTIVITY_TYPES))
    title = String()
    description = String(allow_none=True)
    actor_type = String()
    meeting_id = UUID(allow_none=True)
    changes = Dict(
        values=List(Raw(), validate=Length(equal=2)),
        allow_none=True,
        metadata={"description": "Field → its value before and after."},
    )
    timestamp = DateTime(attribute="created_at")
