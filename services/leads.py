"""Leads: creating, finding, changing and listing the people sold to."""

from collections.abc import Iterator
from typing import Any

from peewee import IntegrityError

from database import db, transaction
from database.group_commit import LARGEST_GROUP, GroupCommit
from database.queries import Compiled, rows_of
from models import Lead
from scheduling import in_turns
from services.errors import ExternalIdConflict, InvalidRequest, LeadNotFound, Unavailable
from services.lead_changes import (
    TRIES,
    LeadChanges,
    blank_lead,
    change,
    insert_unless_taken,
    names_to_lock,
    new_lead,
    with_given,
)
from services.lead_matching import MatchedRow, match_together
from services.lead_queries import (
    filtered,
    latest_leads_by_email,
    lead_by_id,
    lead_by_id_locked,
    leads_by_external_id_locked,
    leads_by_id,
    page,
)
from services.results import Loaded, Result, RowResult
from times import utc_now


def find(client_id: str, lead_id: str) -> Lead:
    """Return the client's lead with an id; raises LeadNotFound."""
    lead: Lead | None = lead_by_id.first(client_id=client_id, lead_id=lead_id)
    if lead is None:
        raise LeadNotFound(f"id {lead_id}")
    return lead


def find_by_id(client_id: str, ids: list[str]) -> dict[str, Lead]:
    """Return the client's leads with any of the ids, by id."""
    if not ids:
        return {}
    return {lead.id: lead for lead in leads_by_id(client_id=client_id, ids=ids)}


def find_named(client_id: str, bookings: list[dict[str, Any]]) -> list[Lead | None]:
    """Return the lead that each booking names: by its `lead_id` if given, else by `lead_email`.

    An email names, in any case, the lead that was updated last of those that have it.
    """
    ids, email_keys = set(), set()
    for booking in bookings:
        if booking.get("lead_id"):
            ids.add(booking["lead_id"])
        elif booking.get("lead_email"):
            email_keys.add(booking["lead_email"].lower())
    found = find_by_id(client_id, sorted(ids))
    if email_keys:
        for lead in latest_leads_by_email(client_id=client_id, email_keys=sorted(email_keys)):
            found[lead.email_key] = lead
    named = []
    for booking in bookings:
        name = booking.get("lead_id") or (booking.get("lead_email") or "").lower()
        named.append(found.get(name))
    return named


def email_key(booking: dict[str, Any]) -> str | None:
    """Return a booking's `lead_email` as emails are compared, or None."""
    email = booking.get("lead_email")
    return email.lower() if email else None


def of_booking(client_id: str, booking: dict[str, Any]) -> Lead:
    """Make the lead of a booking whose email no lead has; the caller inserts it."""
    email = booking["lead_email"]
    names = (booking.get("attendee_name") or email.partition("@")[0]).split(None, 1)
    now = utc_now()
    given = {
        "first_name": names[0],
        "last_name": names[1] if len(names) > 1 else None,
        "email": email,
        "phone": booking.get("attendee_phone"),
        "source": booking.get("external_calendar_provider"),
    }
    return with_given(blank_lead(client_id, now), given)


def naming(booking: dict[str, Any]) -> str:
    """Say how a booking names its lead, for a person."""
    if booking.get("lead_id") is not None:
        return f"id {booking['lead_id']}"
    return f"email {booking['lead_email']}"


def save(client_id: str, rows: list[Loaded], match: frozenset[str] | None = None) -> list[Result]:
    """Create leads, or update those that exist already, each as if it came alone.

    A lead exists already if it has the external id of a row. With `email` or `phone` in `match`, a
    lead with that email or phone exists too. The result of a row is the lead, or the error that
    refused it. A transaction stores up to 500 rows: a process killed half-way leaves whole leads,
    and the same rows sent again complete them.
    """
    results: list[Result] = []
    for part in in_turns(rows, LARGEST_GROUP):
        if match:
            results += match_together(client_id, [MatchedRow(loaded, match) for loaded in part])
        else:
            results += _save_together(client_id, part)
    return results


@transaction
def _save(client_id: str, rows: list[Loaded]) -> list[Result]:
    """Insert all rows that are new, lock those that exist, then decide row by row."""
    if names := set().union(*(names_to_lock(client_id, loaded.valid) for loaded in rows)):
        db.lock_names(names, shared=True)
    changes = LeadChanges(client_id)
    if any(loaded.valid.get("external_id") for loaded in rows):
        changes.read_latest()
    candidates = [new_lead(client_id, loaded) for loaded in rows]
    stored = _insert_or_lock(client_id, [row for row in candidates if isinstance(row, Lead)])
    results = [
        candidate
        if isinstance(candidate, InvalidRequest)
        else _save_row(loaded, candidate, stored, changes)
        for loaded, candidate in zip(rows, candidates, strict=True)
    ]
    changes.store()
    changes.release_waiting()
    return results


_save_together: GroupCommit[Loaded, Result] = GroupCommit(_save)


def _insert_or_lock(client_id: str, candidates: list[Lead]) -> dict[str, Lead]:
    """Insert the leads whose external id is free; returns the stored lead of each key.

    The unique index decides. Rows are inserted, then others locked, in one order everywhere, so
    that concurrent arrays wait for each other instead of deadlocking.
    """
    stored: dict[str, Lead] = {}
    for lead in candidates:
        stored.setdefault(_key(lead), lead)
    new = sorted(stored.values(), key=lambda lead: lead.external_id or "")
    for _ in range(TRIES):
        if insert_unless_taken(new) == len(new):
            return stored
        external_ids = [lead.external_id for lead in new if lead.external_id]
        found = leads_by_external_id_locked(client_id=client_id, external_ids=external_ids)
        owners = {str(lead.external_id): lead for lead in found}
        for external_id, owner in owners.items():
            if owner.id != stored[external_id].id:  # else it was inserted just now
                stored[external_id] = owner
        # An owner is missing if another transaction has just given it another external id.
        new = [lead for lead in new if lead.external_id and lead.external_id not in owners]
        if not new:
            return stored
    for lead in new:
        del stored[_key(lead)]
    return stored


def _key(lead: Lead) -> str:
    """The key that rows for the same lead share."""
    return str(lead.external_id or lead.id)


def _save_row(
    loaded: Loaded, candidate: Lead, stored: dict[str, Lead], changes: LeadChanges
) -> Result:
    """Decide whether a row is a new lead or an update of the stored one."""
    key = _key(candidate)
    lead = stored.get(key)
    if lead is None:
        return Unavailable("The lead was being changed by another request. Please try again.")
    if lead is candidate:
        changes.created(lead)
        return RowResult(lead, "created")
    try:
        result = change(lead, loaded.valid, changes, candidate.created_at)
    except InvalidRequest as error:
        return error
    stored[key] = result.row
    return result


@transaction
def update(client_id: str, lead_id: str, given: dict[str, Any]) -> Lead:
    """Change the fields given; raises LeadNotFound, InvalidRequest, ExternalIdConflict."""
    if names := names_to_lock(client_id, given):
        db.lock_names(names, shared=True)
    lead = lead_by_id_locked.first(client_id=client_id, lead_id=lead_id)
    if lead is None:
        raise LeadNotFound(f"id {lead_id}")
    changes = LeadChanges(client_id)
    changed: Lead = change(lead, given, changes, utc_now()).row
    try:
        changes.store()
    except IntegrityError as error:
        raise ExternalIdConflict(str(changed.external_id)) from error
    changes.release_waiting()
    return changed


def list_leads(client_id: str, query: dict[str, Any]) -> tuple[list[Lead], bool]:
    """Return a page of the client's leads, latest updated first, and whether there are more."""
    limit = query["limit"]
    rows = rows_of(page(client_id, query))
    return rows[:limit], len(rows) > limit


def stream(client_id: str, query: dict[str, Any]) -> Iterator[Lead]:
    """Yield the client's leads that pass the filters of `list_leads`, of one snapshot.

    The lead updated last comes last. So after an import in this order, an email that several leads
    share names the same lead.
    """
    rows = filtered(client_id, query)
    ordered = rows.order_by(Lead.updated_at, Lead.created_at, Lead.id)
    return Compiled(lambda: ordered).stream()
