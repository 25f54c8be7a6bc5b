"""Leads: creating, finding, changing and listing the people sold to."""

import unicodedata
from collections.abc import Callable
from typing import Any

from peewee import IntegrityError, Select, fn

from database import Param, Prepared, Row, among, checked, fetch, insert, locked, transaction
from models import SOURCE, Lead, full_name, metadata_fault, new_id, to_json
from services import timeline
from services.errors import (
    ExternalIdConflict,
    InvalidRequest,
    LeadNotFound,
    ServiceError,
    Unavailable,
)
from services.many import Joint, Judged, alone, in_parts
from services.results import Loaded, RowResult
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
FIELD_SEPARATOR, PHONE_DIGITS = "\x1f", "\x1e"  # cannot occur in text that was let in
# What may stand between the digits of a phone number: spaces, dashes, brackets and these.
PHONE_CATEGORIES, PHONE_SIGNS = {"Nd", "Zs", "Pd", "Ps", "Pe"}, "+./,*#"

Result = tuple[Row, bool] | ServiceError  # a lead and whether it is new, or why not

LATEST_CHANGE = timeline.latest_change(Lead)
INSERT_LEAD = insert(Lead, unless_taken=True)
UPDATE_LEAD = Prepared(
    lambda: Lead.update(
        {
            field: Param(field)
            for field in Lead._meta.sorted_fields
            if field.name in (*EDITABLE, "email_key", "search_key", "updated_at")
        }
    ).where(checked(Lead.client == Param(Lead.client)), Lead.id == Param(Lead.id))
)


def _found_by(condition: Any, *columns: Any) -> Any:
    """The client's leads that are found by a condition on something else."""
    return Lead.select(*columns).where(checked(Lead.client == Param(Lead.client)), condition)


LEAD_BY_ID = Joint(lambda: _found_by(Lead.id == Param(Lead.id)).limit(1))
LEAD_BY_ID_LOCKED = Prepared(lambda: locked(_found_by(Lead.id == Param(Lead.id))))
LEAD_BY_EXTERNAL_ID_LOCKED = Prepared(
    lambda: locked(_found_by(Lead.external_id == Param(Lead.external_id)))
)
LEADS_BY_ID = Prepared(lambda: _found_by(among(Lead.id)))


def _latest_first(lead: Any) -> tuple[Any, ...]:
    return lead.updated_at.desc(), lead.created_at.desc(), lead.id.desc()


LEAD_BY_EMAIL = Prepared(
    lambda: (
        _found_by(Lead.email_key == Param(Lead.email_key)).order_by(*_latest_first(Lead)).limit(1)
    )
)


def _latest_of_each_email() -> Any:
    place = fn.ROW_NUMBER().over(partition_by=[Lead.email_key], order_by=[*_latest_first(Lead)])
    ranked = _found_by(among(Lead.email_key), Lead.id, place.alias("place"))
    latest = Select((ranked,), (ranked.c.id,)).where(ranked.c.place == 1)
    return _found_by(Lead.id.in_(latest))


LEADS_BY_EMAIL = Prepared(_latest_of_each_email)


OWNERS_OF_EXTERNAL_IDS = Prepared(
    lambda: _found_by(among(Lead.external_id), Lead.id, Lead.external_id)
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


def find_all_named(client_id: str, bookings: list[Row]) -> Callable[[Row], Row | None]:
    """The leads that many bookings name, in two queries; returns how to find that of each."""
    ids = {given["lead_id"] for given in bookings if given.get("lead_id")}
    emails = {
        given["lead_email"].lower()
        for given in bookings
        if given.get("lead_email") and not given.get("lead_id")
    }
    by_id = {row["id"]: row for row in LEADS_BY_ID.rows_among("id", ids, client_id=client_id)}
    by_email = {
        row["email_key"]: row
        for row in LEADS_BY_EMAIL.rows_among("email_key", emails, client_id=client_id)
    }

    def find(booking: Row) -> Row | None:
        if booking.get("lead_id") is not None:
            return by_id.get(booking["lead_id"])
        return by_email.get((booking.get("lead_email") or "").lower())

    return find


def naming(booking: Row) -> str:
    """How a booking names its lead, for a person."""
    if booking.get("lead_id") is not None:
        return f"id {booking['lead_id']}"
    return f"email {booking['lead_email']}"


def save(client_id: str, rows: list[Loaded]) -> list[RowResult | ServiceError]:
    """Create leads, or update those with the `external_id`s given, each as if sent alone.

    A row that fails has a ServiceError in place of its result.
    """
    single = len(rows) == 1
    stored = [_save_loaded(client_id, *rows[0])] if single else create_many(client_id, [*rows])
    return [
        one
        if isinstance(one, ServiceError)
        else RowResult(one[0], "created" if one[1] else "updated")
        for one in stored
    ]


def _save_loaded(client_id: str, given: Row, wrong: Row) -> Result:
    try:
        if wrong:
            raise InvalidRequest(wrong)
        return create(client_id, given)
    except ServiceError as error:
        return error


@transaction
def create(client_id: str, given: Row) -> tuple[Row, bool]:
    """Make a lead, or update the one with the `external_id` given; returns it and if it is new.

    Raises InvalidRequest where `metadata` grows over its limits.
    """
    return _create(client_id, given)


def create_many(client_id: str, rows: list[Judged]) -> list[Result]:
    """Create leads, or update them, each as if it came alone; an error takes a failed one's place.

    A transaction holds a part of them: killed half-way, this leaves leads whole.
    """
    return in_parts(_create_part, client_id, rows)


@transaction
def _create_part(client_id: str, rows: list[Judged]) -> list[Result]:
    """Create leads in their order: new ones together, a known one once those before are stored."""
    known = set(_owners(client_id, [given.get("external_id") for given, _ in rows]))
    results: dict[int, Result] = {}
    run: dict[int, Row] = {}
    for index, (given, wrong) in enumerate(rows):
        external_id = given.get("external_id")
        try:
            if wrong:
                raise InvalidRequest(wrong)
            if external_id in known:
                results |= _create_run(client_id, run, rows)
                run = {}
                results[index] = alone(_create, client_id, given)
            else:
                run[index] = _new_lead(client_id, given)
        except InvalidRequest as error:
            results[index] = error
        if external_id is not None:
            known.add(external_id)
    results |= _create_run(client_id, run, rows)
    return [results[index] for index in range(len(rows))]


def _create_run(client_id: str, run: dict[int, Row], rows: list[Judged]) -> dict[int, Result]:
    """Create leads together; one whose external id was taken meanwhile is updated after all."""
    free = _insert_free(client_id, run)
    return {
        index: (free[index], True) if index in free else alone(_create, client_id, rows[index][0])
        for index in run
    }


def _insert_free(client_id: str, new: dict[int, Row]) -> dict[int, Row]:
    """Store those of the leads whose external id was free, with their timeline entries."""
    # In one order everywhere, so that two arrays wait for each other and do not deadlock.
    INSERT_LEAD.run_many(sorted(new.values(), key=lambda lead: lead["external_id"] or ""))
    owners = _owners(client_id, [lead["external_id"] for lead in new.values()])
    free = {
        index: lead
        for index, lead in new.items()
        if owners.get(lead["external_id"], lead["id"]) == lead["id"]
    }
    timeline.record_many([_created(lead) for lead in free.values()])
    return free


def _owners(client_id: str, external_ids: list[str | None]) -> dict[str, str]:
    wanted = [external_id for external_id in external_ids if external_id is not None]
    rows = OWNERS_OF_EXTERNAL_IDS.rows_among("external_id", wanted, client_id=client_id)
    return {row["external_id"]: row["id"] for row in rows}


def _created(lead: Row) -> Row:
    return timeline.activity(
        lead["client_id"], lead["id"], "lead_created", "Lead created", lead["created_at"]
    )


def _new_lead(client_id: str, given: Row) -> Row:
    now = utc_now()
    lead = _with_given(dict.fromkeys(EDITABLE) | {"source": SOURCE, "metadata": {}}, given)
    return lead | {"id": new_id(), "client_id": client_id, "created_at": now, "updated_at": now}


def _create(client_id: str, given: Row) -> tuple[Row, bool]:
    lead = _new_lead(client_id, given)
    if INSERT_LEAD.run(**lead):
        timeline.write(_created(lead))
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
    of_client = Lead.client == client_id
    select = Lead.select().where(checked(of_client) if "email" in query else of_client)
    if "email" in query:
        select = select.where(Lead.email_key == query["email"].lower())
    if "search" in query:
        select = select.where(_matches(query["search"]))
    limit = query["limit"]
    rows = fetch(
        select.order_by(*_latest_first(Lead)).limit(limit + 1).offset(query["page"] * limit)
    )
    return rows[:limit], len(rows) > limit


def _change(lead: Row, given: Row) -> Row:
    after = _with_given(lead, given)
    changes = {
        field: [lead[field], after[field]]
        for field in EDITABLE
        # As JSON, since to Python 1, 1.0 and True are equal.
        if to_json(lead[field]) != to_json(after[field])
    }
    if not changes:
        return lead
    after["updated_at"] = timeline.instant_of_change(LATEST_CHANGE, lead["client_id"])
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


def _search_key(lead: Row) -> str:
    phone = lead["phone"] or ""
    parts = (full_name(lead["first_name"], lead["last_name"]), lead["email"], phone)
    return _fold(FIELD_SEPARATOR.join(part or "" for part in parts)) + PHONE_DIGITS + _digits(phone)


def _matches(search: str) -> Any:
    condition = Lead.search_key.contains(_fold(search))
    if _is_phone_like(search):
        condition |= Lead.search_key.ilike(f"%{PHONE_DIGITS}%{_digits(search)}%")
    return condition
