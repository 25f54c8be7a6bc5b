"""Bookings: logging each as a meeting exactly once, and what a replay does to the meeting."""

from typing import Any

from database import RowGone, db, transaction
from database.group_commit import LARGEST_GROUP, GroupCommit
from database.queries import Compiled, Insert
from ids import new_id
from models import SOURCE, ExternalEvent, Lead, Meeting, MeetingType, User
from scheduling import in_turns
from services import (
    external_events,
    lead_changes,
    leads,
    meeting_types,
    meetings,
    transitions,
    users,
    waiting,
)
from services.errors import (
    ExternalEventConflict,
    InvalidRequest,
    LeadNotFound,
    ServiceError,
)
from services.results import Details, Loaded, Result, RowResult
from services.timeline import ChangeSet, insert_activities
from services.transitions import PlannedTransition
from services.waiting import Pair
from times import format_instant, utc_now

NO_VALUES = dict.fromkeys(Meeting._meta.fields)  # of a new meeting, before any is set

insert_meetings = Insert(Meeting)


def log(client_id: str, rows: list[Loaded]) -> list[Result]:
    """Log bookings as meetings of their leads, or update the meetings that they became earlier.

    Each booking holds the fields given, with UTC instants for times. None sets a field to its
    default. The result of each booking, as if it came alone, is its meeting or the error that
    refused it: InvalidRequest, LeadNotFound or ExternalEventConflict. With `create_lead`, a booking
    whose email no lead has creates the lead. With an `outcome` (a `PlannedTransition`), the meeting
    then goes through that transition, or the result is InvalidTransition.

    A transaction logs up to 500 bookings, also those of concurrent requests. A process killed
    half-way leaves whole meetings, and the same bookings sent again complete them.
    """
    results: list[Result] = []
    for part in in_turns(rows, LARGEST_GROUP):
        results += _log_together(client_id, part)
    return results


@transaction
def _log(client_id: str, rows: list[Loaded]) -> list[Result]:
    batch = Batch(client_id, rows)
    results = batch.log()
    waiting.release(client_id, email_keys=batch.new_email_keys, pairs=batch.met_pairs)
    return results


_log_together: GroupCommit[Loaded, Result] = GroupCommit(_log)


class Booking:
    """A booking with the rows that it names."""

    def __init__(
        self, loaded: Loaded, lead: Lead | None, host: User | None, meeting_type: MeetingType | None
    ) -> None:
        self.given, self.wrong = loaded
        self.lead, self.host, self.meeting_type = lead, host, meeting_type
        # The email that names its lead, in lower case; None if an id does.
        self.email_key = None if self.given.get("lead_id") else leads.email_key(self.given)
        self.creates_lead = bool(self.given.get("create_lead") and self.email_key)
        self.is_lead_known = lead is not None  # or an earlier booking of the batch creates it
        self.stamp = self.given.get("stamp")  # if a booking system reported it with a time
        self.meeting_id = new_id()  # if it becomes a new meeting
        self.event_id = self.given.get("external_event_id")
        self.pairs = external_events.pairs_of(  # its own first; none without replay protection
            self.given.get("external_calendar_provider"),
            self.event_id,
            self.given.get("previous_external_event_id"),
        )

    @property
    def may_create(self) -> bool:
        """Whether it may claim its pairs: not if it can only replay a meeting or be refused."""
        is_named = self.is_lead_known or len(self.pairs) > 1
        return is_named and not self.wrong and not self.faults(None, is_replay=True)

    def faults(self, meeting: Meeting | None, is_replay: bool) -> Details:
        """What is wrong with it: the schema's findings, and an unknown host or meeting type.

        With `is_replay` an inactive host is no fault.
        """
        named = self.given, self.host, self.meeting_type
        return meetings.unknown_names(*named, meeting, may_be_inactive=is_replay) | self.wrong

    def names_lead_of(self, meeting: Meeting) -> bool:
        """Whether it names the meeting's lead: by id, or by a present or past email."""
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
        times = {name: self.given[name] for name in ("starts_at", "ends_at")}
        return times | meetings.values(self.given, self.host, self.meeting_type, defaults)


def _with_what_they_name(client_id: str, rows: list[Loaded]) -> list[Booking]:
    """Find the leads, hosts and meeting types that bookings name, all of a kind in one query."""
    emails, type_ids = set(), set()
    for given, _ in rows:
        emails.add((given.get("host_email") or "").lower())
        type_ids.add(given.get("meeting_type_id") or "")
    hosts = users.find_by_email(client_id, sorted(emails - {""}))
    types = meeting_types.find_by_id(client_id, sorted(type_ids - {""}))
    named = leads.find_named(client_id, [loaded.valid for loaded in rows])
    bookings = []
    for loaded, lead in zip(rows, named, strict=True):
        host = hosts.get((loaded.valid.get("host_email") or "").lower())
        meeting_type = types.get(loaded.valid.get("meeting_type_id") or "")
        bookings.append(Booking(loaded, lead, host, meeting_type))
    _lock_leads_to_create(client_id, bookings)
    return bookings


def _lock_leads_to_create(client_id: str, bookings: list[Booking]) -> None:
    """Lock the unknown emails that bookings create leads for, so that each gets one lead.

    Leads that other transactions created meanwhile are found. A booking of the same batch that does
    not itself create the lead may follow one that does.
    """
    new = {b.email_key for b in bookings if b.creates_lead and b.lead is None}
    if not new:
        return
    db.lock_names([lead_changes.email_lock(client_id, str(email_key)) for email_key in new])
    named = [booking for booking in bookings if booking.lead is None and booking.email_key in new]
    found = leads.find_named(client_id, [booking.given for booking in named])
    for booking, lead in zip(named, found, strict=True):
        booking.lead, booking.is_lead_known = lead, True


def lead_fault(client_id: str, given: dict[str, Any], meeting: Meeting) -> ServiceError | None:
    """The error if a booking whose pair names a meeting does not name the meeting's lead."""
    if leads.email_key(given) in meeting.matched_emails:
        return None
    meeting.lead = leads.find(client_id, meeting.lead_id)
    [lead] = leads.find_named(client_id, [given])
    return _lead_fault(Booking(Loaded(given, {}), lead, None, None), lead, meeting)


def _lead_fault(booking: Booking, lead: Lead | None, meeting: Meeting) -> ServiceError | None:
    if booking.names_lead_of(meeting):
        return None
    if lead is None:
        return LeadNotFound(leads.naming(booking.given))
    if lead.id == meeting.lead_id:
        return None
    return ExternalEventConflict(
        f"{' / '.join(booking.pairs[0])} already belongs to another lead, as meeting {meeting.id}."
    )


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
        self.claimed_stamps: dict[Pair, str] = {}  # the stamps stored with these claims
        self.taken = 0  # how many of the claimed pairs were not free
        self.awaited: set[Pair] = set()  # the claimed pairs that receipts wait for
        self.known_event_ids: list[str] = []  # of the pairs that may name a stored meeting
        self.stored_pairs: set[Pair] = set()  # the pairs that do name one
        self._forget_decisions()

    def _forget_decisions(self) -> None:
        """Reset the state to that before the first booking is decided."""
        self.changes = ChangeSet(self.client_id, meetings.latest_change)
        self.owners: dict[Pair, str] = {}  # the meeting that each pair names, as decided so far
        self.meetings: dict[str, Meeting] = {}  # by id, as they are after the bookings so far
        self.new: list[Meeting] = []
        self.new_leads: dict[str | None, Lead] = {}  # by email in lower case
        self.stamps: dict[Pair, str | None] = {}  # the latest of each pair, as decided so far
        self.new_stamps: dict[Pair, str] = {}

    def log(self) -> list[Result]:
        """Log the bookings; returns a result for each."""
        self._claim_pairs()
        results = self._decide_all(external_events.owners)
        if self.changes.rows.keys() - {meeting.id for meeting in self.new}:
            # Only a change of a stored meeting needs its lock. The usual replay changes nothing;
            # without a lock it writes nothing, and its commit does not wait for the disk.
            self._forget_decisions()
            results = self._decide_all(external_events.owners_locked)
        self._write()
        return results

    def _claim_pairs(self) -> None:
        """Claim the pairs of all bookings that may create a meeting."""
        others: set[Pair] = set()
        for booking in self.bookings:
            if booking.may_create:
                for pair in booking.pairs:
                    self.claims.setdefault(pair, booking.meeting_id)
                if booking.stamp:
                    self.claimed_stamps.setdefault(booking.pairs[0], booking.stamp)
            else:
                others.update(booking.pairs)
        free = external_events.claim(self.client_id, self.claims, self.claimed_stamps)
        self.taken = len(self.claims) - free
        if self.taken or others - self.claims.keys():
            self.known_event_ids = sorted({event_id for _, event_id in others | self.claims.keys()})

    def _decide_all(self, find_owners: Compiled) -> list[Result]:
        if self.known_event_ids:
            self._read_owners(find_owners)
        return [self._decide(booking) for booking in self.bookings]

    def _read_owners(self, find_owners: Compiled) -> None:
        """Read the meetings that pairs named before; those just claimed have none yet."""
        events = find_owners(client_id=self.client_id, event_ids=self.known_event_ids)
        if self._lock_awaited(events):
            events = find_owners(client_id=self.client_id, event_ids=self.known_event_ids)
        self._require_all({(event.provider, event.event_id) for event in events})
        for event in events:
            pair = event.provider, event.event_id
            meeting = self.meetings.setdefault(event.meeting.id, event.meeting)
            self.owners[pair] = meeting.id
            self.stamps[pair] = event.booking_stamp
            if self.claims.pop(pair, None):
                self.taken -= 1
        found = [*self.meetings.values()]
        named = [(b.lead, b.host, b.meeting_type) for b in self.bookings]
        known = {row.id: row for rows in named for row in rows if row is not None}
        meetings.add_host_and_type(self.client_id, found, known)
        lead_ids = {meeting.lead_id for meeting in found} - known.keys()
        known |= leads.find_by_id(self.client_id, sorted(lead_ids))
        for meeting in found:
            if meeting.lead_id not in known:
                raise RowGone()
            meeting.lead = known[meeting.lead_id]

    def _require_all(self, stored_pairs: set[Pair]) -> None:
        """Raise RowGone if an erasure has deleted a pair since this transaction saw it."""
        is_taken_pair_gone = self.taken > len(self.claims.keys() & (stored_pairs | self.awaited))
        if is_taken_pair_gone or self.stored_pairs - stored_pairs:
            raise RowGone()
        self.stored_pairs = stored_pairs

    def _lock_awaited(self, events: list[ExternalEvent]) -> bool:
        """Lock the pairs that were taken although no meeting has them; returns whether any were.

        A receipt waits for such a pair. Another transaction may be giving it to a meeting just now,
        so the owners must be read again under the lock.
        """
        owned = self.claims.keys() & {(event.provider, event.event_id) for event in events}
        if self.taken <= len(owned) + len(self.awaited):
            return False
        awaited = external_events.awaited_locked(
            client_id=self.client_id, event_ids=self.known_event_ids
        )
        self.awaited = self.claims.keys() & {(event.provider, event.event_id) for event in awaited}
        return True

    def _decide(self, booking: Booking) -> Result:
        """Decide whether a booking is a new meeting, a replay or refused."""
        owner_ids = [self.owners.get(pair) for pair in booking.pairs]
        owner_id = next(filter(None, owner_ids), None)
        meeting = self.meetings[owner_id] if owner_id else None
        # Two things change nothing: a late retry of a booking that has another id by now, and an
        # event that the booking system reported before the latest one.
        is_late = (
            meeting is not None
            and owner_ids[0] is not None
            and (
                meeting.external_event_id != booking.event_id
                or external_events.is_outdated(booking.stamp, self.stamps.get(booking.pairs[0]))
            )
        )
        if faults := booking.faults(meeting, is_late):
            return InvalidRequest(faults)
        lead = booking.lead or self.new_leads.get(booking.email_key)
        if meeting is None and lead is None and not booking.creates_lead:
            return LeadNotFound(leads.naming(booking.given))
        if meeting is None:
            meeting = self._create(booking, lead or self._create_lead(booking))
            result = RowResult(meeting, "created", lead_created=lead is None)
        elif refusal := self._refusal(booking, lead, meeting, owner_ids):
            return refusal
        elif is_late:
            result = RowResult(meeting, "unchanged")
        else:
            result = self._replay(booking, meeting)
        for pair in booking.pairs:
            self.owners.setdefault(pair, meeting.id)
        if booking.stamp and booking.pairs and not is_late:
            self.stamps[booking.pairs[0]] = self.new_stamps[booking.pairs[0]] = booking.stamp
        outcome = booking.given.get("outcome")
        return self._with_outcome(result, outcome) if outcome else result

    def _with_outcome(self, logged: RowResult, outcome: PlannedTransition) -> RowResult:
        """Apply a transition to the meeting that a booking logged."""
        result = transitions.apply(outcome, logged.row, self.changes)
        self.meetings[result.row.id] = result.row
        return result if logged.effect == "unchanged" else logged._replace(row=result.row)

    def _refusal(
        self,
        booking: Booking,
        lead: Lead | None,
        meeting: Meeting,
        owner_ids: list[str | None],
    ) -> ServiceError | None:
        """The error if a booking cannot replay the meeting that one of its pairs names."""
        if error := _lead_fault(booking, lead, meeting):
            return error
        if all(owner_ids) and len(set(owner_ids)) > 1:
            (_, event_id), (_, previous) = booking.pairs
            return ExternalEventConflict(
                f"{previous} and {event_id} already name two meetings:"
                f" {previous} is meeting {owner_ids[1]}, {event_id} is meeting {meeting.id}."
            )
        outcome = booking.given.get("outcome")
        return transitions.refusal(outcome.transition, meeting) if outcome else None

    def _create_lead(self, booking: Booking) -> Lead:
        lead = leads.of_booking(self.client_id, booking.given)
        self.new_leads[booking.email_key] = lead
        self.changes.record(lead.id, "lead_created", "Lead created", lead.created_at, lead=lead)
        return lead

    def _create(self, booking: Booking, lead: Lead) -> Meeting:
        given = booking.given
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
        """Update a meeting with the fields of a replay; an identical replay changes nothing."""
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
        lead_changes.insert_unless_taken([*self.new_leads.values()])
        insert_meetings([changed.pop(meeting.id, meeting) for meeting in self.new])
        meetings.update_rows([*changed.values()])
        for pair, claimed_for in self.claims.items():
            owner_id = self.owners.get(pair)
            key = self._columns_of(pair)
            if owner_id is None and pair not in self.awaited:  # its booking was refused
                external_events.release_pair.run(**key)
            elif owner_id is not None and (owner_id != claimed_for or pair in self.awaited):
                external_events.give_pair.run(**key, meeting_id=owner_id)
        self._write_stamps()
        insert_activities(self.changes)

    def _write_stamps(self) -> None:
        """Store the stamps that were not stored with a claim."""
        for pair, stamp in self.new_stamps.items():
            was_claimed = pair in self.claims and pair not in self.awaited
            if not was_claimed or self.claimed_stamps.get(pair) != stamp:
                external_events.set_booking_stamp.run(**self._columns_of(pair), stamp=stamp)

    def _columns_of(self, pair: Pair) -> dict[str, str]:
        return {"client_id": self.client_id, "provider": pair[0], "event_id": pair[1]}

    @property
    def new_email_keys(self) -> set[str]:
        """The emails, in lower case, of the leads that the bookings created."""
        return {str(email_key) for email_key in self.new_leads}

    @property
    def met_pairs(self) -> set[Pair]:
        """The pairs that receipts waited for and that meetings have now."""
        return self.awaited & self.owners.keys()
