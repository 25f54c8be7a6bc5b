"""Bookings: logging each as a meeting exactly once, and what a replay does to the meeting."""

from typing import Any

from database import transaction
from database.group_commit import LARGEST_GROUP, GroupCommit
from database.queries import Compiled, Insert, among, compiled, locking
from models import SOURCE, ExternalEvent, Lead, Meeting, MeetingType, User, new_id
from scheduling import in_turns
from services import leads, meeting_types, meetings, users
from services.errors import ExternalEventConflict, InvalidRequest, LeadNotFound, ServiceError
from services.results import Details, Loaded, Result, RowResult
from services.timeline import ChangeSet, insert_activities
from times import format_instant, utc_now

Pair = tuple[str, str]  # provider and event id, which name one meeting

NO_VALUES = dict.fromkeys(Meeting._meta.fields)  # of a new meeting, before any is set

insert_meetings = Insert(Meeting)
insert_unless_taken = Insert(ExternalEvent, unless_taken=True)


def _owners(client_id: Any, event_ids: Any) -> Any:
    return (
        ExternalEvent.select(
            ExternalEvent.provider, ExternalEvent.event_id, *Meeting._meta.sorted_fields
        )
        .join(Meeting)
        .where(ExternalEvent.client == client_id, among(ExternalEvent.event_id, event_ids))
        .order_by(Meeting.id)
    )


@compiled
def owners(client_id: Any, event_ids: Any) -> Any:
    """Return the client's external events with any of these ids, with their meetings."""
    return _owners(client_id, event_ids)


@compiled
def owners_locked(client_id: Any, event_ids: Any) -> Any:
    """Return the same, with the meetings locked until the transaction ends."""
    return locking(_owners(client_id, event_ids), Meeting)


def _is_pair(client_id: Any, provider: Any, event_id: Any) -> tuple[Any, ...]:
    return (
        ExternalEvent.client == client_id,
        ExternalEvent.provider == provider,
        ExternalEvent.event_id == event_id,
    )


@compiled
def owner_of_pair(client_id: Any, provider: Any, event_id: Any) -> Any:
    """Return the external event of a pair."""
    return ExternalEvent.select().where(*_is_pair(client_id, provider, event_id))


@compiled
def give_pair(client_id: Any, provider: Any, event_id: Any, meeting_id: Any) -> Any:
    """Make a pair name a meeting."""
    return ExternalEvent.update({ExternalEvent.meeting: meeting_id}).where(
        *_is_pair(client_id, provider, event_id)
    )


@compiled
def release_pair(client_id: Any, provider: Any, event_id: Any) -> Any:
    """Make a pair name nothing."""
    return ExternalEvent.delete().where(*_is_pair(client_id, provider, event_id))


def log(client_id: str, rows: list[Loaded]) -> list[Result]:
    """Log bookings as meetings of their leads, or update the meetings they were logged as before.

    Each booking holds the fields given, None for those to be set to their default, and UTC instants
    for times. The result of each, as if it came alone, is its meeting or the error that refused it:
    InvalidRequest, LeadNotFound or ExternalEventConflict.

    A transaction logs up to 500 bookings, also those of concurrent requests. A process killed
    half-way leaves whole meetings, and the same bookings sent again complete them.
    """
    results: list[Result] = []
    for part in in_turns(rows, LARGEST_GROUP):
        results += _log_together(client_id, part)
    return results


@transaction
def _log(client_id: str, rows: list[Loaded]) -> list[Result]:
    return Batch(client_id, rows).log()


_log_together: GroupCommit[Loaded, Result] = GroupCommit(_log)


def claim(client_id: str, pairs: dict[Pair, str]) -> int:
    """Make each pair that is free name the meeting given; returns how many were free.

    The table's key decides, however many transactions claim a pair at once: on PostgreSQL the
    others wait here until the first has committed, on SQLite until they may begin. All claim in
    one order, so that they wait for each other instead of deadlocking.
    """
    events = [
        ExternalEvent.of(
            {"client": client_id, "provider": pair[0], "event_id": pair[1], "meeting": pairs[pair]}
        )
        for pair in sorted(pairs)
    ]
    return insert_unless_taken(events)


class Booking:
    """A booking with the rows that it names."""

    def __init__(
        self, loaded: Loaded, lead: Lead | None, host: User | None, meeting_type: MeetingType | None
    ) -> None:
        self.given, self.wrong = loaded
        self.lead, self.host, self.meeting_type = lead, host, meeting_type
        self.meeting_id = new_id()  # if it becomes a new meeting
        provider = self.given.get("external_calendar_provider")
        self.event_id = self.given.get("external_event_id")
        previous = self.given.get("previous_external_event_id")
        # The pairs that name its meeting: its own last, the previous one of a rescheduled booking
        # first; none without replay protection.
        self.pairs: list[Pair] = []
        if provider and self.event_id:
            self.pairs = [(provider, self.event_id)]
            if previous and previous != self.event_id:
                self.pairs.insert(0, (provider, previous))

    @property
    def may_create(self) -> bool:
        """Whether it may claim its pairs: not if it can only replay a meeting or be refused."""
        is_named = self.lead is not None or len(self.pairs) > 1
        return is_named and not self.wrong and not self.faults(None, is_replay=True)

    def faults(self, meeting: Meeting | None, is_replay: bool) -> Details:
        """What is wrong with it: the schema's findings, and an unknown host or meeting type.

        A replay may name the host that the meeting has, even if that user is inactive.
        """
        found: Details = {}
        if self.given.get("host_email"):
            is_hosting = meeting is not None and self.host and self.host.id == meeting.host_id
            if self.host is None or not (self.host.active or is_replay or is_hosting):
                found["host_email"] = ["No active user of yours has this email."]
        if self.given.get("meeting_type_id") and self.meeting_type is None:
            found["meeting_type_id"] = ["No meeting type of yours has this id."]
        return found | self.wrong

    def names_lead_of(self, meeting: Meeting) -> bool:
        """Whether it names the meeting's lead: by id, or by an email that does or did."""
        lead_id = self.given.get("lead_id")
        if lead_id is not None:
            return bool(lead_id == meeting.lead_id)
        email = self.given["lead_email"].lower()
        return email == (meeting.lead.email or "").lower() or email in meeting.matched_emails

    def matched_emails(self, known: list[str]) -> list[str]:
        """The emails that have named the meeting's lead, including that of this booking."""
        email = (self.given.get("lead_email") or "").lower()
        if self.given.get("lead_id") is not None or email in known:
            return known
        return [*known, email]

    def values(self, defaults: dict[str, Any]) -> dict[str, Any]:
        """The columns that it sets, with the default for an explicit null."""
        given = self.given
        values = {"starts_at": given["starts_at"], "ends_at": given["ends_at"]}
        for name, default in defaults.items():
            if name in given:
                values[name] = default if given[name] is None else given[name]
        if "host_email" in given:
            values["host"] = self.host
        if "meeting_type_id" in given:
            values["meeting_type"] = self.meeting_type
        return values


def _with_what_they_name(client_id: str, rows: list[Loaded]) -> list[Booking]:
    """Find the leads, hosts and meeting types that bookings name, all of a kind in one query."""
    emails, type_ids = set(), set()
    for given, _ in rows:
        emails.add((given.get("host_email") or "").lower())
        type_ids.add(given.get("meeting_type_id") or "")
    hosts = users.find_all(client_id, sorted(emails - {""}))
    types = meeting_types.find_all(client_id, sorted(type_ids - {""}))
    named = leads.find_named(client_id, [loaded.valid for loaded in rows])
    bookings = []
    for loaded, lead in zip(rows, named, strict=True):
        host = hosts.get((loaded.valid.get("host_email") or "").lower())
        meeting_type = types.get(loaded.valid.get("meeting_type_id") or "")
        bookings.append(Booking(loaded, lead, host, meeting_type))
    return bookings


class Batch:
    """The bookings that one transaction logs.

    The transaction first reads all rows that the bookings name. It then decides the bookings in
    memory, one after another, and finally writes all changes. So the rows of an array behave as if
    they were sent one after another.
    """

    def __init__(self, client_id: str, rows: list[Loaded]) -> None:
        self.client_id = client_id
        self.bookings = _with_what_they_name(client_id, rows)
        self.claims: dict[Pair, str] = {}  # the meeting that each pair was claimed for
        self.known_event_ids: list[str] = []  # of the pairs that may name a stored meeting

    def log(self) -> list[Result]:
        """Log the bookings; returns a result for each."""
        self._claim_pairs()
        results = self._decide_all(owners)
        if self.changes.rows:
            # Only a change of a stored meeting needs its lock. The usual replay changes nothing;
            # without a lock it writes nothing, and its commit does not wait for the disk.
            results = self._decide_all(owners_locked)
        self._write()
        return results

    def _claim_pairs(self) -> None:
        """Claim the pairs of all bookings that may create a meeting."""
        others: set[Pair] = set()
        for booking in self.bookings:
            if booking.may_create:
                for pair in booking.pairs:
                    self.claims.setdefault(pair, booking.meeting_id)
            else:
                others.update(booking.pairs)
        if claim(self.client_id, self.claims) < len(self.claims) or others - self.claims.keys():
            self.known_event_ids = sorted({event_id for _, event_id in others | self.claims.keys()})

    def _decide_all(self, find_owners: Compiled) -> list[Result]:
        self.changes = ChangeSet(self.client_id, meetings.latest_change)
        self.owners: dict[Pair, str] = {}  # the meeting that each pair names, as decided so far
        self.meetings: dict[str, Meeting] = {}  # by id, as they are after the bookings so far
        self.new: list[Meeting] = []
        if self.known_event_ids:
            self._read_owners(find_owners)
        return [self._decide(booking) for booking in self.bookings]

    def _read_owners(self, find_owners: Compiled) -> None:
        """Read the meetings that pairs named before; those just claimed have none yet."""
        for event in find_owners(client_id=self.client_id, event_ids=self.known_event_ids):
            pair = event.provider, event.event_id
            meeting = self.meetings.setdefault(event.meeting.id, event.meeting)
            self.owners[pair] = meeting.id
            self.claims.pop(pair, None)
        found = [*self.meetings.values()]
        named = [(b.lead, b.host, b.meeting_type) for b in self.bookings]
        known = {row.id: row for rows in named for row in rows if row is not None}
        meetings.add_host_and_type(self.client_id, found, known)
        lead_ids = {meeting.lead_id for meeting in found} - known.keys()
        known |= leads.find_all(self.client_id, sorted(lead_ids))
        for meeting in found:
            meeting.lead = known[meeting.lead_id]

    def _decide(self, booking: Booking) -> Result:
        """Decide whether a booking is a new meeting, a replay or refused."""
        owner_ids = [self.owners.get(pair) for pair in booking.pairs]
        owner_id = next(filter(None, reversed(owner_ids)), None)
        meeting = self.meetings[owner_id] if owner_id else None
        # A late retry of a booking that has another id by now changes nothing.
        is_late = (
            meeting is not None
            and owner_ids[-1] is not None
            and meeting.external_event_id != booking.event_id
        )
        if faults := booking.faults(meeting, is_late):
            return InvalidRequest(faults)
        if meeting is None and booking.lead is None:
            return LeadNotFound(leads.naming(booking.given))
        if meeting is None:
            meeting = self._create(booking)
            result = RowResult(meeting, "created")
        elif refusal := self._refusal(booking, meeting, owner_ids):
            return refusal
        elif is_late:
            result = RowResult(meeting, "unchanged")
        else:
            result = self._replay(booking, meeting)
        for pair in booking.pairs:
            self.owners.setdefault(pair, meeting.id)
        return result

    def _refusal(
        self, booking: Booking, meeting: Meeting, owner_ids: list[str | None]
    ) -> ServiceError | None:
        """The error if a booking is not a replay of the meeting that one of its pairs names."""
        if not booking.names_lead_of(meeting):
            if booking.lead is None:
                return LeadNotFound(leads.naming(booking.given))
            if booking.lead.id != meeting.lead_id:
                return ExternalEventConflict(
                    f"{' / '.join(booking.pairs[-1])} already belongs to another lead,"
                    f" as meeting {meeting.id}."
                )
        if all(owner_ids) and len(set(owner_ids)) > 1:
            (_, previous), (_, event_id) = booking.pairs
            return ExternalEventConflict(
                f"{previous} and {event_id} already name two meetings;"
                f" {event_id} is meeting {meeting.id}."
            )
        return None

    def _create(self, booking: Booking) -> Meeting:
        lead, given = booking.lead, booking.given
        assert lead is not None
        now, defaults = utc_now(), meetings.defaults_for(lead)
        data = {
            **NO_VALUES,
            **defaults,
            "id": booking.meeting_id,
            "client": self.client_id,
            "lead": lead.id,
            "status": "scheduled",
            "confirmed_by_lead": given.get("status") == "confirmed",
            "external_calendar_provider": given.get("external_calendar_provider"),
            "external_event_id": booking.event_id,
            "matched_emails": booking.matched_emails([]),
            "source": SOURCE,
            "reschedules": [],
            "created_at": now,
            "updated_at": self.changes.time_of(now),
        }
        meeting = Meeting.of(data, lead=lead)
        meeting.set_all(booking.values(defaults))
        self.meetings[meeting.id] = meeting
        self.new.append(meeting)
        times = f"{format_instant(meeting.starts_at)} to {format_instant(meeting.ends_at)}"
        self.changes.record(
            lead.id,
            "meeting_scheduled",
            f"Meeting scheduled: {meeting.title}",
            meeting.created_at,
            description=f"{times} ({meeting.timezone})",
            meeting_id=meeting.id,
            meeting=meeting,
        )
        return meeting

    def _replay(self, booking: Booking, meeting: Meeting) -> RowResult:
        """Update a meeting with what a replay carries; an identical one changes nothing."""
        after = meeting.copy()
        after.set_all(booking.values(meetings.defaults_for(meeting.lead)))
        after.external_event_id = booking.event_id
        after.matched_emails = booking.matched_emails(meeting.matched_emails)
        if meeting.status == "scheduled" and "status" in booking.given:
            after.confirmed_by_lead = booking.given["status"] == "confirmed"
        result = meetings.change(meeting, after, None, self.changes)
        self.meetings[meeting.id] = result.row
        return result

    def _write(self) -> None:
        changed = self.changes.rows
        insert_meetings([changed.pop(meeting.id, meeting) for meeting in self.new])
        meetings.update_rows([*changed.values()])
        for pair, claimed_for in self.claims.items():
            owner_id = self.owners.get(pair)
            key = {"client_id": self.client_id, "provider": pair[0], "event_id": pair[1]}
            if owner_id is None:  # its booking was refused
                release_pair.run(**key)
            elif owner_id != claimed_for:
                give_pair.run(**key, meeting_id=owner_id)
        insert_activities(self.changes)
