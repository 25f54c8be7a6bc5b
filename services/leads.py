"""Leads: creating, finding, changing and listing the people sold to."""

import unicodedata
from datetime import datetime
from typing import Any

import orjson
from peewee import IntegrityError, Select, fn

from database import transaction
from database.group_commit import LARGEST_GROUP, GroupCommit
from database.queries import Insert, Update, among, checked, compiled, locking, rows_of
from models import SOURCE, Lead, metadata_fault, new_id
from scheduling import in_turns
from services import timeline
from services.errors import ExternalIdConflict, InvalidRequest, LeadNotFound, Unavailable
from services.results import Loaded, Result, RowResult
from services.timeline import ChangeSet, insert_activities
from times import utc_now

# The fields that callers set, each with the value it has unless given.
DEFAULTS: dict[str, Any] = {
    "first_name": None,
    "last_name": None,
    "email": None,
    "phone": None,
    "company": None,
    "title": None,
    "source": SOURCE,
    "external_id": None,
    "metadata": {},
}
TRIES = 5  # to insert or lock leads whose external ids others are changing
FIELD_SEPARATOR, PHONE_DIGITS = "\x1f", "\x1e"  # text fields refuse these characters
# What may stand between the digits of a phone number: spaces, dashes, brackets and these signs.
PHONE_CATEGORIES, PHONE_SIGNS = {"Nd", "Zs", "Pd", "Ps", "Pe"}, "+./,*#"

insert_unless_taken = Insert(Lead, unless_taken=True)
update_rows = Update(Lead, fixed={"id", "client", "created_at"})
latest_change = timeline.latest_change(Lead)


def _found_by(condition: Any, client_id: Any, *columns: Any) -> Any:
    """Select the client's leads that a condition on something else finds."""
    return Lead.select(*columns).where(checked(Lead.client == client_id), condition)


@compiled
def lead_by_id(client_id: Any, lead_id: Any) -> Any:
    """Return the client's lead with an id."""
    return _found_by(Lead.id == lead_id, client_id)


@compiled
def lead_by_id_locked(client_id: Any, lead_id: Any) -> Any:
    """Return the client's lead with an id, locked until the transaction ends."""
    return locking(_found_by(Lead.id == lead_id, client_id))


@compiled
def leads_by_id(client_id: Any, ids: Any) -> Any:
    """Return the client's leads with any of these ids."""
    return _found_by(among(Lead.id, ids), client_id)


@compiled
def leads_by_external_id_locked(client_id: Any, external_ids: Any) -> Any:
    """Return the client's leads with any of these external ids, locked in one order."""
    query = _found_by(among(Lead.external_id, external_ids), client_id)
    return locking(query.order_by(Lead.id))


@compiled
def latest_leads_by_email(client_id: Any, email_keys: Any) -> Any:
    """Return for each of these emails the client's lead that was updated last."""
    place = fn.ROW_NUMBER().over(partition_by=[Lead.email_key], order_by=[*Lead.latest_first()])
    ranked = _found_by(among(Lead.email_key, email_keys), client_id, Lead.id, place.alias("place"))
    latest = Select((ranked,), (ranked.c.id,)).where(ranked.c.place == 1)
    return _found_by(Lead.id.in_(latest), client_id)


def find(client_id: str, lead_id: str) -> Lead:
    """Return the client's lead with an id; raises LeadNotFound."""
    lead: Lead | None = lead_by_id.first(client_id=client_id, lead_id=lead_id)
    if lead is None:
        raise LeadNotFound(f"id {lead_id}")
    return lead


def find_all(client_id: str, ids: list[str]) -> dict[str, Lead]:
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
    found = find_all(client_id, sorted(ids))
    if email_keys:
        for lead in latest_leads_by_email(client_id=client_id, email_keys=sorted(email_keys)):
            found[lead.email_key] = lead
    named = []
    for booking in bookings:
        name = booking.get("lead_id") or (booking.get("lead_email") or "").lower()
        named.append(found.get(name))
    return named


def naming(booking: dict[str, Any]) -> str:
    """Say how a booking names its lead, for a person."""
    if booking.get("lead_id") is not None:
        return f"id {booking['lead_id']}"
    return f"email {booking['lead_email']}"


def save(client_id: str, rows: list[Loaded]) -> list[Result]:
    """Create leads, or update those that have the external ids given, each as if it came alone.

    The result of a row is the lead, or the error that refused it. A transaction stores up to 500
    rows: a process killed half-way leaves whole leads, and the same rows sent again complete them.
    """
    results: list[Result] = []
    for part in in_turns(rows, LARGEST_GROUP):
        results += _save_together(client_id, part)
    return results


@transaction
def _save(client_id: str, rows: list[Loaded]) -> list[Result]:
    """Insert all rows that are new, lock those that exist, then decide row by row."""
    changes = ChangeSet(client_id, latest_change)
    if any(loaded.valid.get("external_id") for loaded in rows):
        _ = changes.latest  # is read before new rows count as the latest
    candidates = [_new_lead(client_id, loaded) for loaded in rows]
    stored = _insert_or_lock(client_id, [row for row in candidates if isinstance(row, Lead)])
    results = [
        candidate
        if isinstance(candidate, InvalidRequest)
        else _save_row(loaded, candidate, stored, changes)
        for loaded, candidate in zip(rows, candidates, strict=True)
    ]
    _write(changes)
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
    loaded: Loaded, candidate: Lead, stored: dict[str, Lead], changes: ChangeSet
) -> Result:
    """Decide whether a row is a new lead or an update of the stored one."""
    key = _key(candidate)
    lead = stored.get(key)
    if lead is None:
        return Unavailable("The lead was being changed by another request. Please try again.")
    if lead is candidate:
        changes.record(lead.id, "lead_created", "Lead created", lead.created_at, lead=lead)
        return RowResult(lead, "created")
    try:
        result = _change(lead, loaded.valid, changes, candidate.created_at)
    except InvalidRequest as error:
        return error
    stored[key] = result.row
    return result


def _new_lead(client_id: str, loaded: Loaded) -> Lead | InvalidRequest:
    """Make the lead that a row becomes unless its external id is taken."""
    if loaded.wrong:
        return InvalidRequest(loaded.wrong)
    now = utc_now()
    lead = Lead.of(
        {**DEFAULTS, "id": new_id(), "client": client_id, "created_at": now, "updated_at": now}
    )
    try:
        return _with_given(lead, loaded.valid)
    except InvalidRequest as error:
        return error


@transaction
def update(client_id: str, lead_id: str, given: dict[str, Any]) -> Lead:
    """Change the fields given; raises LeadNotFound, InvalidRequest, ExternalIdConflict."""
    lead = lead_by_id_locked.first(client_id=client_id, lead_id=lead_id)
    if lead is None:
        raise LeadNotFound(f"id {lead_id}")
    changes = ChangeSet(client_id, latest_change)
    changed: Lead = _change(lead, given, changes, utc_now()).row
    try:
        _write(changes)
    except IntegrityError as error:
        raise ExternalIdConflict(str(changed.external_id)) from error
    return changed


def _write(changes: ChangeSet) -> None:
    update_rows([*changes.rows.values()])
    insert_activities(changes)


def list_leads(client_id: str, query: dict[str, Any]) -> tuple[list[Lead], bool]:
    """Return a page of the client's leads, latest updated first, and whether there are more."""
    of_client = Lead.client == client_id
    select = Lead.select().where(checked(of_client) if "email" in query else of_client)
    if "email" in query:
        select = select.where(Lead.email_key == query["email"].lower())
    if "search" in query:
        select = select.where(_matches(query["search"]))
    limit = query["limit"]
    rows = rows_of(
        select.order_by(*Lead.latest_first()).limit(limit + 1).offset(query["page"] * limit)
    )
    return rows[:limit], len(rows) > limit


def _change(lead: Lead, given: dict[str, Any], changes: ChangeSet, at: datetime) -> RowResult:
    """Add what the fields given change about a stored lead to the changes."""
    after = _with_given(lead, given)
    differences = {
        field: [before, new]
        for field in DEFAULTS
        # Compared as JSON, since 1, 1.0 and True are equal in Python.
        if orjson.dumps(before := getattr(lead, field))
        != orjson.dumps(new := getattr(after, field))
    }
    if not differences:
        return RowResult(lead, "unchanged")
    after.updated_at = changes.time_of(at)
    changes.rows[after.id] = after
    changes.record(
        lead.id, "lead_updated", "Lead updated", after.updated_at, changes=differences, lead=after
    )
    return RowResult(after, "updated")


def _with_given(lead: Lead, given: dict[str, Any]) -> Lead:
    """Copy the lead with the fields given; None clears a field, metadata is merged."""
    data = lead.__data__ | {name: value for name, value in given.items() if name in DEFAULTS}
    data["source"] = data["source"] or SOURCE
    stored = {} if given.get("clear_metadata") else lead.metadata
    data["metadata"] = _merged(stored, given.get("metadata") or {})
    data["email_key"] = data["email"] and data["email"].lower()
    data["phone_digits"] = _digits(data["phone"] or "") or None
    data["search_key"] = _search_key(data)
    return Lead.of(data)


def _merged(stored: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in (stored | given).items() if value is not None}
    if fault := metadata_fault(metadata):
        raise InvalidRequest({"metadata": [fault]})
    return metadata


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _digits(text: str) -> str:
    return "".join(str(unicodedata.decimal(sign)) for sign in text if sign.isdecimal())


def _is_phone_like(text: str) -> bool:
    return any(sign.isdecimal() for sign in text) and all(
        sign in PHONE_SIGNS or unicodedata.category(sign) in PHONE_CATEGORIES for sign in text
    )


def _search_key(lead: dict[str, Any]) -> str:
    """Fold name, email and phone of a lead into the text that is searched."""
    phone = lead["phone"] or ""
    name = " ".join(filter(None, (lead["first_name"], lead["last_name"])))
    text = FIELD_SEPARATOR.join((name, lead["email"] or "", phone))
    return _fold(text) + PHONE_DIGITS + _digits(phone)


def _matches(search: str) -> Any:
    condition = Lead.search_key.contains(_fold(search))
    if _is_phone_like(search):
        condition |= Lead.search_key.ilike(f"%{PHONE_DIGITS}%{_digits(search)}%")
    return condition
