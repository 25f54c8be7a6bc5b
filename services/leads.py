"""Leads: creating, finding, changing and listing the people sold to."""

import json
import re
import unicodedata
from datetime import timedelta
from typing import Any

from peewee import IntegrityError

from database import Param, Prepared, Row, fetch, insert, transaction
from models import SOURCE, Lead, full_name, new_id
from services import timeline
from services.errors import ExternalIdConflict, InvalidRequest, LeadNotFound, Unavailable
from times import utc_now

EDITABLE = (
    "first_name",
    "last_name",
    "email",
    "phone",
    "company",
    "title",
    "source",
    "external_id",
    "metadata",
)
METADATA_KEYS = 100
METADATA_BYTES = 64 * 1024

FIELD_SEPARATOR, PHONE_DIGITS = "\x1f", "\x1e"  # cannot occur in text that was let in
PHONE_LIKE = re.compile(r"[\d\s()+./-]*\d[\d\s()+./-]*")

INSERT_LEAD = insert(Lead, unless_taken=True)
UPDATE_LEAD = Prepared(
    lambda: Lead.update(
        {
            field: Param(field)
            for field in Lead._meta.sorted_fields
            if field.name in (*EDITABLE, "email_key", "search_key", "updated_at")
        }
    ).where(Lead.client == Param(Lead.client), Lead.id == Param(Lead.id))
)


def _lead_where(field: Any, lock: bool = False) -> Prepared:
    return Prepared(
        lambda: Lead.select().where(Lead.client == Param(Lead.client), field == Param(field)), lock
    )


LEAD_BY_ID = _lead_where(Lead.id)
LEAD_BY_ID_LOCKED = _lead_where(Lead.id, lock=True)
LEAD_BY_EXTERNAL_ID_LOCKED = _lead_where(Lead.external_id, lock=True)
LEAD_BY_EMAIL = Prepared(
    lambda: (
        Lead.select()
        .where(Lead.client == Param(Lead.client), Lead.email_key == Param(Lead.email_key))
        .order_by(Lead.updated_at.desc(), Lead.created_at.desc(), Lead.id.desc())
        .limit(1)
    )
)


def find(client_id: str, lead_id: str) -> Row:
    """The client's lead with an id; raises LeadNotFound."""
    lead = LEAD_BY_ID.row_or_none(client_id=client_id, id=lead_id)
    if lead is None:
        raise LeadNotFound(f"id {lead_id}")
    return lead


def find_named_or_none(client_id: str, booking: Row) -> Row | None:
    """The lead a booking names: by its `lead_id` where given, else by its `lead_email`.

    Of several leads with the email, in any case, it is the one updated last.
    """
    if booking.get("lead_id") is not None:
        return LEAD_BY_ID.row_or_none(client_id=client_id, id=booking["lead_id"])
    email_key = booking["lead_email"].lower()
    return LEAD_BY_EMAIL.row_or_none(client_id=client_id, email_key=email_key)


def naming(booking: Row) -> str:
    """How a booking names its lead, for a person."""
    if booking.get("lead_id") is not None:
        return f"id {booking['lead_id']}"
    return f"email {booking['lead_email']}"


@transaction
def create(client_id: str, given: Row) -> tuple[Row, bool]:
    """Make a lead, or update the one with the `external_id` given; returns it and if it is new.

    Raises InvalidRequest where `metadata` grows over its limits.
    """
    now = utc_now()
    lead = _with_given(dict.fromkeys(EDITABLE) | {"source": SOURCE, "metadata": {}}, given)
    lead |= {"id": new_id(), "client_id": client_id, "created_at": now, "updated_at": now}
    if INSERT_LEAD.run(**lead):
        timeline.record(client_id, lead["id"], "lead_created", "Lead created", now)
        return lead, True
    stored = LEAD_BY_EXTERNAL_ID_LOCKED.row_or_none(
        client_id=client_id, external_id=lead["external_id"]
    )
    if stored is None:  # it was given another external_id in between
        raise Unavailable("The lead was being changed by another request. Please try again.")
    return _change(stored, given), False


@transaction
def update(client_id: str, lead_id: str, given: Row) -> Row:
    """Change the fields given; raises LeadNotFound, InvalidRequest, ExternalIdConflict."""
    lead = LEAD_BY_ID_LOCKED.row_or_none(client_id=client_id, id=lead_id)
    if lead is None:
        raise LeadNotFound(f"id {lead_id}")
    return _change(lead, given)


def list_leads(client_id: str, query: Row) -> tuple[list[Row], bool]:
    """A page of the client's leads, latest updated first, and whether there are more."""
    select = Lead.select().where(Lead.client == client_id)
    if "email" in query:
        select = select.where(Lead.email_key == query["email"].lower())
    if "search" in query:
        select = select.where(_matches(query["search"]))
    limit = query["limit"]
    rows = fetch(
        select.order_by(Lead.updated_at.desc(), Lead.created_at.desc(), Lead.id.desc())
        .limit(limit + 1)
        .offset(query["page"] * limit)
    )
    return rows[:limit], len(rows) > limit


def _change(lead: Row, given: Row) -> Row:
    after = _with_given(lead, given)
    changes = {
        field: [lead[field], after[field]] for field in EDITABLE if lead[field] != after[field]
    }
    if not changes:
        return lead
    # Later than before even if the clock stepped back: which lead an email names hangs on it.
    after["updated_at"] = max(utc_now(), lead["updated_at"] + timedelta(microseconds=1))
    try:
        UPDATE_LEAD.run(**after)
    except IntegrityError as error:
        raise ExternalIdConflict(after["external_id"]) from error
    timeline.record(
        lead["client_id"],
        lead["id"],
        "lead_updated",
        "Lead updated",
        after["updated_at"],
        changes=changes,
    )
    return after


def _with_given(lead: Row, given: Row) -> Row:
    """The lead with the fields given in place of its own; None clears, metadata is merged."""
    fields = {field: value for field, value in given.items() if field in EDITABLE}
    after = lead | fields
    after["source"] = after["source"] or SOURCE
    after["metadata"] = _merged(
        {} if given.get("clear_metadata") else lead["metadata"], fields.get("metadata") or {}
    )
    after["email_key"] = after["email"] and after["email"].lower()
    after["search_key"] = _search_key(after)
    return after


def _merged(stored: Row, given: Row) -> Row:
    metadata = {key: value for key, value in (stored | given).items() if value is not None}
    size = len(json.dumps(metadata, ensure_ascii=False).encode())
    if len(metadata) > METADATA_KEYS:
        raise InvalidRequest(
            {"metadata": [f"Must hold at most {METADATA_KEYS} keys, not {len(metadata)}."]}
        )
    if size > METADATA_BYTES:
        raise InvalidRequest(
            {"metadata": [f"Must be at most {METADATA_BYTES} bytes of JSON, not {size}."]}
        )
    return metadata


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _digits(text: str) -> str:
    return "".join(character for character in text if character.isdecimal())


def _search_key(lead: Row) -> str:
    phone = lead["phone"] or ""
    parts = (full_name(lead["first_name"], lead["last_name"]), lead["email"], phone)
    return _fold(FIELD_SEPARATOR.join(part or "" for part in parts)) + PHONE_DIGITS + _digits(phone)


def _matches(search: str) -> Any:
    condition = Lead.search_key.contains(_fold(search))
    if PHONE_LIKE.fullmatch(search):
        condition |= Lead.search_key.ilike(f"%{PHONE_DIGITS}%{_digits(search)}%")
    return condition
