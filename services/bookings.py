"""Bookings: logging each as a meeting exactly once, and what a replay does to the meeting."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from database import Param, Prepared, Row, among, checked, insert, transaction
from models import SOURCE, ExternalEvent, Meeting, full_name, new_id, shown_status
from services import leads, meeting_types, timeline, users
from services.errors import ExternalEventConflict, InvalidRequest, LeadNotFound, ServiceError
from services.many import Judged, Together, alone, in_parts
from services.meetings import instant_of_change, locked_with_lead
from services.results import Loaded, RowResult
from times import format_instant, utc_now

# What a booking carries and a replay may change, beside the instants, the host and the status.
PLAIN_FIELDS = (
    "title",
    "timezone",
    "meeting_url",
    "location_type",
    "location_details",
    "description",
    "attendee_name",
    "attendee_email",
    "attendee_phone",
    "additional_attendees",
)
# The columns that stay as they were when the meeting was logged.
FIXED = {"id", "client_id", "lead_id", "external_calendar_provider", "source", "created_at"}

INSERT_EXTERNAL_EVENT = insert(ExternalEvent, unless_taken=True)
INSERT_MEETING = insert(Meeting)
UPDATE_MEETING = Prepared(
    lambda: Meeting.update(
        {
            field: Param(field)
            for field in Meeting._meta.sorted_fields
            if field.column_name not in FIXED
        }
    ).where(checked(Meeting.client == Param(Meeting.client)), Meeting.id == Param(Meeting.id))
)
POINT_EXTERNAL_EVENT = Prepared(
    lambda: ExternalEvent.update({ExternalEvent.meeting: Param(ExternalEvent.meeting)}).where(
        ExternalEvent.client == Param(ExternalEvent.client),
        ExternalEvent.provider == Param(ExternalEvent.provider),
        ExternalEvent.event_id == Param(ExternalEvent.event_id),
    )
)
EXTERNAL_EVENTS = Prepared(
    lambda: ExternalEvent.select().where(
        ExternalEvent.client == Param(ExternalEvent.client),
        among(ExternalEvent.event_id),
    )
)
MEETINGS_LOCKED = Prepared(
    lambda: locked_with_lead(
        Meeting.select()
        .where(checked(Meeting.client == Param(Meeting.client)), among(Meeting.id))
        .order_by(Meeting.id)
    )
)
MEETING_OF_EXTERNAL_EVENT = Prepared(
    lambda: locked_with_lead(
        Meeting.select()
        .join(ExternalEvent, on=(ExternalEvent.meeting == Meeting.id))
        .where(
            ExternalEvent.client == Param(ExternalEvent.client),
            ExternalEvent.provider == Param(ExternalEvent.provider),
            ExternalEvent.event_id == Param(ExternalEvent.event_id),
        )
    )
)


Result = tuple[Row, bool] | ServiceError  # a meeting and whether it is new, or why not


@dataclass(frozen=True)
class Candidate:
    """A booking among many, with the meeting it will be unless it is one already."""

    booking: Row
    lead: Row
    references: Row
    event: Any  # the columns of its pair, or None
    meeting: Row


@dataclass(frozen=True)
class Directory:
    """How to find whom a booking names: asking for each, or among all that many bookings name."""

    host: Callable[[str], Row | None]
    meeting_type: Callable[[str], Row | None]
    lead: Callable[[Row], Row | None]


def _ask_for_each(client_id: str) -> Directory:
    return Directory(
        partial(users.find_or_none, client_id),
        partial(meeting_types.find_or_none, client_id),
        partial(leads.find_named_or_none, client_id),
    )


def _fetch_all(client_id: str, bookings: list[Row]) -> Directory:
    hosts = users.find_all(client_id, [b["host_email"] for b in bookings if b.get("host_email")])
    types = meeting_types.find_all(
        client_id, [b["meeting_type_id"] for b in bookings if b.get("meeting_type_id")]
    )
    return Directory(
        lambda email: hosts.get(email.lower()),
        types.get,
        leads.find_all_named(client_id, bookings),
    )


def wrong_references(client_id: str, booking: Row) -> dict[str, list[str]]:
    """What only the database knows to be wrong with a booking: field → sentences.

    `booking` may be part of one, where the rest was refused already.
    """
    return _references(client_id, booking, _ask_for_each(client_id))[1]


def log(client_id: str, rows: list[Loaded]) -> list[RowResult | ServiceError]:
    """Log bookings as meetings, each as if it had been sent alone, in their order.

    A row that fails has a ServiceError in place of its result.
    """
    single = len(rows) == 1
    stored = [_log_loaded(client_id, *rows[0])] if single else log_many(client_id, [*rows])
    return [one if isinstance(one, ServiceError) else _as_result(*one) for one in stored]


def _log_loaded(client_id: str, booking: Row, wrong: Row) -> Result:
    if wrong:
        return InvalidRequest(wrong_references(client_id, booking) | wrong)
    try:
        return log_one(client_id, booking)
    except ServiceError as error:
        return error


def _as_result(meeting: Row, created: bool) -> RowResult:
    if created:
        return RowResult(meeting, "created")
    return RowResult(meeting, "unchanged" if meeting["unchanged"] else "updated")


def log_one(client_id: str, booking: Row) -> tuple[Row, bool]:
    """Log a booking as a meeting of its lead, or update the meeting it was logged as before.

    `booking` holds the fields given, None for those to be set to their default, with instants for
    times. Returns the meeting and whether it is new. Raises InvalidRequest for an unknown host or
    meeting type, LeadNotFound, ExternalEventConflict. Bookings that meet share a transaction.
    """
    return LOG(client_id, booking)


@transaction
def _log_one(client_id: str, booking: Row) -> tuple[Row, bool]:
    return _log(client_id, booking, _ask_for_each(client_id))


def _log(client_id: str, booking: Row, directory: Directory) -> tuple[Row, bool]:
    references, wrong = _references(client_id, booking, directory)
    if wrong:
        raise InvalidRequest(wrong)
    lead = directory.lead(booking)
    meeting_id = new_id()
    known = _claim(client_id, booking, meeting_id)
    if known is not None:
        return _replay(known, lead, booking, references), False
    if lead is None:
        raise LeadNotFound(leads.naming(booking))  # and the claim is rolled back
    changed_at = instant_of_change(client_id)
    meeting = _new_meeting(meeting_id, lead, booking, references, changed_at)
    INSERT_MEETING.run(**meeting)
    timeline.write(_scheduled(meeting))
    return meeting, True


def log_many(client_id: str, rows: list[Judged]) -> list[Result]:
    """Log bookings, each as if it came alone; an error takes the place of a failed one's result.

    A transaction holds a part of them: killed half-way, this leaves meetings whole, and the same
    bookings sent again complete the rest.
    """
    return in_parts(_log_part, client_id, rows)


def _log_all(client_id: str, bookings: list[Row]) -> list[Result]:
    return _log_part(client_id, [(booking, {}) for booking in bookings])


@transaction
def _log_part(client_id: str, rows: list[Judged]) -> list[Result]:
    """Log bookings in their order: new ones together, then the replays of them and of others.

    A booking of an unknown lead, or one that had another id before, is logged by itself, once those
    before it are stored.
    """
    directory = _fetch_all(client_id, [given for given, _ in rows])
    changed_at = instant_of_change(client_id)
    results: dict[int, Result] = {}
    run: dict[int, Candidate] = {}
    for index, (given, wrong) in enumerate(rows):
        lead, event = directory.lead(given), external_event(given)
        by_itself = not wrong and (lead is None or _hangs_on_others(given, directory))
        if by_itself:
            results |= _log_run(client_id, run)
            run = {}
            results[index] = alone(_log, client_id, given, directory)
            continue
        references, unknown = _references(client_id, given, directory)
        if wrong or unknown or lead is None:
            results[index] = InvalidRequest(unknown | wrong)
            continue
        meeting = _new_meeting(new_id(), lead, given, references, changed_at)
        run[index] = Candidate(given, lead, references, event, meeting)
    results |= _log_run(client_id, run)
    return [results[index] for index in range(len(rows))]


LOG = Together(_log_all, _log_one)


def _hangs_on_others(booking: Row, directory: Directory) -> bool:
    """Whether what becomes of a booking hangs on what is stored, beyond its own external event."""
    host = directory.host(booking["host_email"]) if booking.get("host_email") else None
    inactive = host is not None and not host["active"]
    return inactive or booking.get("previous_external_event_id") is not None


def _log_run(client_id: str, run: dict[int, Candidate]) -> dict[int, Result]:
    """Log bookings together: the first of each external event that is new, the rest as replays."""
    owners = _insert_free(client_id, list(run.values()))
    new = {
        one.meeting["id"]: one.meeting | _lead_columns(one.lead)
        for one in run.values()
        if one.meeting["id"] not in owners
    }
    known = new | _lock_all(client_id, set(owners.values()) - new.keys())
    results: dict[int, Result] = {}
    for index, one in run.items():
        owner = owners.get(one.meeting["id"])
        if owner is None:
            results[index] = one.meeting, True
            continue
        try:  # a replay is refused before it writes, so there is nothing to undo
            meeting = _replay(known[owner], one.lead, one.booking, one.references)
        except ServiceError as error:
            results[index] = error
        else:
            known[owner] = meeting  # for another name of the same meeting
            results[index] = meeting, False
    return results


def _insert_free(client_id: str, run: list[Candidate]) -> dict[str, str]:
    """Store the meetings whose pair was free; for each other's id, return whose the pair is."""
    # In one order everywhere, so that two arrays wait for each other and do not deadlock.
    with_event = sorted((one for one in run if one.event), key=lambda one: one.event["event_id"])
    inserted = INSERT_EXTERNAL_EVENT.run_many(
        [
            {**one.event, "client_id": client_id, "meeting_id": one.meeting["id"]}
            for one in with_event
        ]
    )
    taken = {} if inserted == len(with_event) else _owners(client_id, with_event)
    free = [one.meeting for one in run if one.meeting["id"] not in taken]
    INSERT_MEETING.run_many(free)
    timeline.record_many([_scheduled(meeting) for meeting in free])
    return taken


def _owners(client_id: str, candidates: list[Candidate]) -> dict[str, str]:
    """For the id of each candidate whose pair names another meeting, the id of that meeting."""
    event_ids = [one.event["event_id"] for one in candidates]
    owners = {
        (row["provider"], row["event_id"]): row["meeting_id"]
        for row in EXTERNAL_EVENTS.rows_among("event_id", event_ids, client_id=client_id)
    }
    return {
        one.meeting["id"]: owner
        for one in candidates
        if (owner := owners[one.event["provider"], one.event["event_id"]]) != one.meeting["id"]
    }


def _lock_all(client_id: str, ids: set[str]) -> dict[str, Row]:
    """The meetings of the ids, locked until the transaction ends."""
    return {row["id"]: row for row in MEETINGS_LOCKED.rows_among("id", ids, client_id=client_id)}


def _claim(client_id: str, booking: Row, meeting_id: str) -> Row | None:
    """The meeting that the booking is already known as; None where it is new, and now `meeting_id`.

    The table's key decides, however many ask at once: on PostgreSQL the others wait here until the
    first has committed, on SQLite they wait for their transaction to begin. A booking without a
    pair is always new.
    """
    event = external_event(booking)
    if event is None:
        return None
    event_id = event["event_id"]
    previous = {**event, "event_id": booking.get("previous_external_event_id") or event_id}
    if previous == event:
        return None if _take(event, client_id, meeting_id) else _known(event, client_id)
    old = None if _take(previous, client_id, meeting_id) else _known(previous, client_id)
    if _take(event, client_id, old["id"] if old else meeting_id):
        return old and old | {"adopts": event_id}
    new = _known(event, client_id)
    if old is None:
        POINT_EXTERNAL_EVENT.run(client_id=client_id, **previous, meeting_id=new["id"])
    elif old["id"] != new["id"]:
        raise ExternalEventConflict(
            f"{previous['event_id']} and {event_id} already name two meetings;"
            f" {event_id} is meeting {new['id']}."
        )
    return new


def external_event(booking: Row) -> Row | None:
    """The booking's pair, as the columns of its key; None where it has half of one or none."""
    provider = booking.get("external_calendar_provider")
    event_id = booking.get("external_event_id")
    if provider is None or event_id is None:
        return None
    return {"provider": provider, "event_id": event_id}


def _take(event: Row, client_id: str, meeting_id: str) -> bool:
    """Whether the pair was free; it is the meeting's then, for ever."""
    return bool(INSERT_EXTERNAL_EVENT.run(client_id=client_id, meeting_id=meeting_id, **event))


def take_for(meeting: Row) -> str:
    """Take the meeting's pair for it; returns the id of the meeting that has it now."""
    event = external_event(meeting)
    assert event is not None
    if _take(event, meeting["client_id"], meeting["id"]):
        return str(meeting["id"])
    return str(_known(event, meeting["client_id"])["id"])


def _known(event: Row, client_id: str) -> Row:
    """The meeting of a pair that is taken."""
    meeting = MEETING_OF_EXTERNAL_EVENT.row_or_none(client_id=client_id, **event)
    assert meeting is not None  # a pair is never given up
    return meeting


def _names_lead_of(meeting: Row, booking: Row) -> bool:
    """Whether a replay names the meeting's lead: by id, or by an email that does or did."""
    if booking.get("lead_id") is not None:
        return bool(booking["lead_id"] == meeting["lead_id"])
    email = booking["lead_email"].lower()
    return email == (meeting["lead_email"] or "").lower() or email in meeting["matched_emails"]


def _references(
    client_id: str, booking: Row, directory: Directory
) -> tuple[Row, dict[str, list[str]]]:
    """The columns that a booking's host and type set or clear, and what is wrong with the two."""
    columns: Row = {}
    wrong: dict[str, list[str]] = {}
    if "host_email" in booking:
        email = booking["host_email"]
        host = directory.host(email) if email else None
        columns |= host_columns(host)
        if email and (host is None or not (host["active"] or _hosts(client_id, host, booking))):
            wrong["host_email"] = ["No active user of yours has this email."]
    if "meeting_type_id" in booking:
        type_id = booking["meeting_type_id"]
        meeting_type = directory.meeting_type(type_id) if type_id else None
        columns |= type_columns(meeting_type)
        if type_id and meeting_type is None:
            wrong["meeting_type_id"] = ["No meeting type of yours has this id."]
    return columns, wrong


def host_columns(host: Row | None) -> Row:
    """What a meeting holds and shows of its host."""
    return {
        "host_id": host and host["id"],
        "host_email": host and host["email"],
        "host_first_name": host and host["first_name"],
        "host_last_name": host and host["last_name"],
    }


def type_columns(meeting_type: Row | None) -> Row:
    """What a meeting holds and shows of its type."""
    return {
        "meeting_type_id": meeting_type and meeting_type["id"],
        "meeting_type_name": meeting_type and meeting_type["name"],
    }


def _hosts(client_id: str, host: Row, booking: Row) -> bool:
    """Whether a host, though inactive now, may be named: by a replay of a meeting that is theirs.

    So may any host by the late retry of a booking that has another id by now, which changes
    nothing.
    """
    event = external_event(booking)
    if event is None:
        return False
    meeting = MEETING_OF_EXTERNAL_EVENT.row_or_none(client_id=client_id, **event)
    if meeting is not None and meeting["external_event_id"] != event["event_id"]:
        return True
    if meeting is None and booking.get("previous_external_event_id") is not None:
        event |= {"event_id": booking["previous_external_event_id"]}
        meeting = MEETING_OF_EXTERNAL_EVENT.row_or_none(client_id=client_id, **event)
    return meeting is not None and meeting["host_id"] == host["id"]


def _defaults(lead: Row) -> Row:
    return {
        "timezone": "UTC",
        "meeting_url": None,
        "location_type": "video",
        "location_details": None,
        "description": None,
        "attendee_name": full_name(lead["first_name"], lead["last_name"]),
        "attendee_email": lead["email"],
        "attendee_phone": lead["phone"],
        "additional_attendees": [],
    }


def _given(booking: Row, defaults: Row) -> Row:
    """The plain fields a booking carries, the default in place of None."""
    return {
        field: defaults[field] if booking[field] is None else booking[field]
        for field in PLAIN_FIELDS
        if field in booking
    }


def _new_meeting(
    meeting_id: str, lead: Row, booking: Row, references: Row, changed_at: datetime
) -> Row:
    defaults = _defaults(lead)
    return {
        "id": meeting_id,
        "client_id": lead["client_id"],
        "lead_id": lead["id"],
        "starts_at": booking["starts_at"],
        "ends_at": booking["ends_at"],
        "status": "scheduled",
        "confirmed_by_lead": booking.get("status") == "confirmed",
        "external_calendar_provider": booking.get("external_calendar_provider"),
        "external_event_id": booking.get("external_event_id"),
        "matched_emails": _matching_emails([], booking),
        "source": SOURCE,
        "reschedules": [],
        "cancelled_at": None,
        "cancellation_reason": None,
        "no_show_reason": None,
        "outcome_at": None,
        "outcome_notes": None,
        "created_at": utc_now(),
        "updated_at": changed_at,
        **host_columns(None),
        **type_columns(None),
        **defaults,
        **_given(booking, defaults),
        **references,
    }


def _matching_emails(known: list[str], booking: Row) -> list[str]:
    """The emails that have named the lead, with that of a booking that names it so, too."""
    if booking.get("lead_id") is not None or booking["lead_email"].lower() in known:
        return known
    return [*known, booking["lead_email"].lower()]


def _replay(meeting: Row, lead: Row | None, booking: Row, references: Row) -> Row:
    """Update a meeting with what a replay carries; an identical replay writes nothing.

    The meeting returned says with `unchanged` whether its caller sees it as it was before.
    Raises LeadNotFound or ExternalEventConflict where it names nobody or another lead.
    """
    if not _names_lead_of(meeting, booking):
        if lead is None:
            raise LeadNotFound(leads.naming(booking))
        if lead["id"] != meeting["lead_id"]:
            raise ExternalEventConflict(
                f"{booking['external_calendar_provider']} / {booking['external_event_id']}"
                f" already belongs to another lead, as meeting {meeting['id']}."
            )
    adopts = meeting.pop("adopts", None)
    if adopts is None and meeting["external_event_id"] != booking["external_event_id"]:
        return meeting | {"unchanged": True}  # a late retry of what the booking was before
    after = {
        **meeting,
        "external_event_id": booking["external_event_id"],
        "matched_emails": _matching_emails(meeting["matched_emails"], booking),
        "starts_at": booking["starts_at"],
        "ends_at": booking["ends_at"],
        **_given(booking, _defaults(_lead_of(meeting))),
        **references,
    }
    if meeting["status"] == "scheduled" and "status" in booking:
        after["confirmed_by_lead"] = booking["status"] == "confirmed"
    stored = store_changes(meeting, after, None)
    return stored | {"unchanged": stored["updated_at"] == meeting["updated_at"]}


def _lead_columns(lead: Row) -> Row:
    """What a locked meeting shows of its lead."""
    return {f"lead_{field}": lead[field] for field in ("email", "first_name", "last_name", "phone")}


def _lead_of(meeting: Row) -> Row:
    return {
        "first_name": meeting["lead_first_name"],
        "last_name": meeting["lead_last_name"],
        "email": meeting["lead_email"],
        "phone": meeting["lead_phone"],
    }


def store_changes(meeting: Row, after: Row, reason: str | None) -> Row:
    """Write what changed of a meeting, and one timeline entry telling it; else write nothing.

    A move of the instants is added to the meeting's reschedules, with its reason.
    """
    if after == meeting:
        return meeting
    changes = timeline.changes_between(_as_told(meeting), _as_told(after))
    if not changes:  # but an email was learned
        UPDATE_MEETING.run(**after)
        return after
    after["updated_at"] = instant_of_change(meeting["client_id"])
    moved = "starts_at" in changes or "ends_at" in changes
    if moved:
        after["reschedules"] = [*meeting["reschedules"], _move(meeting, after, reason)]
    UPDATE_MEETING.run(**after)
    timeline.record(
        meeting["client_id"],
        meeting["lead_id"],
        "meeting_rescheduled" if moved else "meeting_updated",
        f"Meeting {'rescheduled' if moved else 'updated'}: {after['title']}",
        after["updated_at"],
        description=reason,
        meeting_id=meeting["id"],
        changes=changes,
    )
    return after


def _move(before: Row, after: Row, reason: str | None) -> Row:
    def span(meeting: Row) -> Row:
        return {field: format_instant(meeting[field]) for field in ("starts_at", "ends_at")}

    at = format_instant(after["updated_at"])
    return {"from": span(before), "to": span(after), "reason": reason, "at": at}


def _as_told(meeting: Row) -> Row:
    """The fields of a meeting that a replay may change, as callers name and see them."""
    return {
        **{field: meeting[field] for field in PLAIN_FIELDS},
        "starts_at": format_instant(meeting["starts_at"]),
        "ends_at": format_instant(meeting["ends_at"]),
        "host_email": meeting["host_email"],
        "meeting_type_id": meeting["meeting_type_id"],
        "external_event_id": meeting["external_event_id"],
        "status": shown_status(meeting),
    }


def _scheduled(meeting: Row) -> Row:
    starts_at, ends_at = format_instant(meeting["starts_at"]), format_instant(meeting["ends_at"])
    return timeline.activity(
        meeting["client_id"],
        meeting["lead_id"],
        "meeting_scheduled",
        f"Meeting scheduled: {meeting['title']}",
        meeting["created_at"],
        description=f"{starts_at} to {ends_at} ({meeting['timezone']})",
        meeting_id=meeting["id"],
    )
