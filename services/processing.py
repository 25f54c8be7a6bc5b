"""Apply what a booking system's webhook reports, and record the outcome on its receipt."""

from datetime import datetime
from itertools import groupby
from typing import Any

from database import db
from intake_models import Receipt, Source
from models import Meeting
from services import (
    bookings,
    erased_events,
    external_events,
    lead_changes,
    leads,
    meeting_types,
    payloads,
    transitions,
    users,
)
from services.errors import InvalidTransition, LeadNotFound, ServiceError
from services.providers.events import ReportedEvent
from services.results import Details, Loaded, Result, RowResult
from services.waiting import Pair

MESSAGES = {
    "logged": "Logged a new meeting.",
    "updated": "Updated the meeting.",
    "rescheduled": "Moved the meeting to another time.",
    "cancelled": "Cancelled the meeting.",
    "completed": "Marked the meeting as completed.",
    "no_show": "Marked the meeting as a no-show.",
    "reopened": "Undid the no-show.",
    "unchanged": "There was nothing to change.",
}
EFFECTS = {
    "created": "logged",
    "updated": "updated",
    "rescheduled": "rescheduled",
    "unchanged": "unchanged",
}
NO_EMAIL = "The payload has no email that could name a lead; correct it or the mapping, and retry."
KNOWN_BOOKING = "The booking is meeting {}, whose lead never had the email {}."
NO_LEAD = "No lead has the email {}; the booking is processed again when one has."
OUTDATED = "The booking system has reported a later outcome, or this one before."
UNKNOWN_BOOKING = (
    "The booking is not known yet, and the event lacks what is needed to log it; it is processed"
    " again when the booking is logged."
)
ERASED = "The booking belonged to a lead that was erased; what arrived was not kept."
UNKEPT = "null"  # the payload of such a receipt
# What a receipt says about a lead and its booking.
NAMES = ("lead_email", "email_key", "event_provider", "external_event_id", "previous_event_id")


class Item:
    """A receipt with what its payload says. `settle` sets the outcome on the receipt."""

    def __init__(self, receipt: Receipt, source: Source, event: ReportedEvent) -> None:
        self.receipt, self.event = receipt, event
        repaired = payloads.repair(event)
        valid, self.wrong = repaired.booking
        self.stamp = _stamp(event.at, receipt.payload)
        self.given = valid | {"create_lead": source.create_leads}
        if event.action == "log":
            self.given["stamp"] = self.stamp
        self.repairs: Details = repaired.repairs
        self.creates_lead = source.create_leads
        event_id = valid.get("external_event_id")
        self.pairs = external_events.pairs_of(
            valid.get("external_calendar_provider") or source.event_provider,
            event_id,
            valid.get("previous_external_event_id"),
        )
        receipt.set_all(
            {
                "event": event.name,
                "lead_email": repaired.lead_email,
                "email_key": repaired.lead_email and repaired.lead_email.lower(),
                "event_provider": self.pairs[0][0] if self.pairs else None,
                "external_event_id": event_id,
                "previous_event_id": self.pairs[1][1] if len(self.pairs) > 1 else None,
            }
        )

    @property
    def is_booking(self) -> bool:
        """Whether it is a booking that may be logged."""
        return self.event.action == "log" and not self.wrong

    @property
    def loaded(self) -> Loaded:
        """The booking as `bookings.Batch` takes it."""
        return Loaded(self.given, self.wrong)

    def leave_out(self, field: str, sentence: str) -> None:
        """Treat a field of the booking as absent; in the reason, `{}` stands for its value."""
        sentences = [*self.repairs.get(field, []), sentence.format(self.given.pop(field))]
        self.repairs = self.repairs | {field: sentences}

    def keep_repairs(self, *fields: str) -> None:
        """Keep the repairs of these fields only: the other fields have no effect."""
        self.repairs = {name: self.repairs[name] for name in fields if name in self.repairs}

    def settle(
        self,
        outcome: str,
        meeting: Meeting | None = None,
        message: str | None = None,
        details: Details | None = None,
    ) -> None:
        """Set the outcome; `details` are added to those of the repairs."""
        found = dict(self.repairs)
        for field, sentences in (details or {}).items():
            found[field] = [*found.get(field, []), *sentences]
        self.receipt.set_all(
            {
                "outcome": outcome,
                "message": message or MESSAGES[outcome],
                "details": found or None,
                "meeting": meeting and meeting.id,
                "lead": meeting and meeting.lead_id,
            }
        )

    def forget(self) -> None:
        """Ignore the receipt, and keep nothing of its payload."""
        self.repairs = {}
        self.settle("ignored", message=ERASED)
        self.receipt.set_all({**dict.fromkeys(NAMES), "payload": UNKEPT})

    def refuse(self, error: ServiceError, field: str, meeting: Meeting | None = None) -> None:
        """Refuse the receipt for a service's error; one without details concerns the field."""
        details = error.details or {field: [error.message]}
        self.settle("refused", meeting, error.message, details)


class Processing:
    """The processing of receipts in one transaction, one after another.

    It collects the emails of new leads and the pairs that meetings got, for which other receipts
    may wait.
    """

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id
        self.email_keys: set[str] = set()
        self.pairs: set[Pair] = set()

    def run(self, items: list[Item]) -> None:
        """Apply what the payloads report, and set the outcomes on the receipts."""
        items = self._ignore_erased(items)
        self._leave_out_unknown(items)
        self._lock_unknown_emails(items)
        for is_booking, group in groupby(items, key=lambda item: item.is_booking):
            members = [*group]
            if is_booking:
                results = self._log([item.loaded for item in members])
                for item, result in zip(members, results, strict=True):
                    self._settle_booking(item, result)
            else:
                for item in members:
                    self._process(item)

    def _ignore_erased(self, items: list[Item]) -> list[Item]:
        """Ignore receipts about an erased booking; returns the other items.

        A new id of such a booking is erased with the others.
        """
        erased = erased_events.find(self.client_id, {pair for item in items for pair in item.pairs})
        if not erased:
            return items
        left = []
        for item in items:
            found = [erased[pair] for pair in item.pairs if pair in erased]
            if found:
                new = [pair for pair in item.pairs if pair not in erased]
                erased_events.add(self.client_id, new, found[0].expires_at)
                item.forget()
            else:
                left.append(item)
        return left

    def _leave_out_unknown(self, items: list[Item]) -> None:
        """Leave out hosts and meeting types that the client does not have."""
        emails = {item.given["host_email"] for item in items if "host_email" in item.given}
        hosts = users.find_by_email(self.client_id, sorted(emails))
        ids = {item.given["meeting_type_id"] for item in items if "meeting_type_id" in item.given}
        types = meeting_types.find_by_id(self.client_id, sorted(ids))
        for item in items:
            host = hosts.get(item.given.get("host_email", "").lower())
            if "host_email" in item.given and not (host and host.active):
                item.leave_out("host_email", "Left out: no active user of yours has the email {}.")
            if "meeting_type_id" in item.given and item.given["meeting_type_id"] not in types:
                item.leave_out(
                    "meeting_type_id", "No meeting type of yours has the id {}; left out."
                )

    def _lock_unknown_emails(self, items: list[Item]) -> None:
        """Lock the emails that no lead has, so that a receipt cannot miss a lead created just now.

        Bookings that create leads lock their emails themselves.
        """
        waiting_for = [item for item in items if not item.creates_lead and item.receipt.email_key]
        if not waiting_for:
            return
        named = leads.find_named(self.client_id, [item.given for item in waiting_for])
        unknown = {
            str(item.receipt.email_key)
            for item, lead in zip(waiting_for, named, strict=True)
            if lead is None
        }
        if unknown:
            db.lock_names([lead_changes.email_lock(self.client_id, key) for key in unknown])

    def _log(self, rows: list[Loaded]) -> list[Result]:
        batch = bookings.Batch(self.client_id, rows)
        results = batch.log()
        self.email_keys |= batch.new_email_keys
        self.pairs |= batch.met_pairs
        return results

    def _process(self, item: Item) -> None:
        """Process an event that is no booking, or a booking that cannot be logged."""
        event = item.event
        if event.action == "ignore":
            item.keep_repairs()
            item.settle("ignored", message=f"{event.name} {event.message}")
        elif event.action == "refuse":
            [sentence, *_] = next(iter(event.details.values()))
            item.settle("refused", message=sentence, details=event.details)
        elif not item.pairs or (event.action == "log" and item.wrong.keys() - {"lead_email"}):
            item.settle("refused", message=_sentence(item.wrong), details=item.wrong)
        elif event.action == "log":
            item.settle("unmatched", message=NO_EMAIL, details=item.wrong)
        else:
            self._process_outcome(item)

    def _settle_booking(self, item: Item, result: Result) -> None:
        if isinstance(result, RowResult):
            item.settle(EFFECTS[result.effect], result.row)
        elif not isinstance(result, LeadNotFound):
            item.refuse(result, "external_event_id")
        elif "lead_id" in item.given:
            item.refuse(result, "lead_id")
        elif known := self._wait(item, item.pairs):
            sentence = KNOWN_BOOKING.format(known.id, item.receipt.lead_email)
            item.settle("refused", message=sentence, details={"lead_email": [sentence]})
        else:
            item.settle("unmatched", message=NO_LEAD.format(item.receipt.lead_email))

    def _wait(self, item: Item, pairs: list[Pair]) -> Meeting | None:
        """Let a receipt wait for its pairs; or return the meeting that one of the `pairs` names."""
        if meeting := self._find(pairs):
            return meeting
        external_events.await_pairs(self.client_id, item.pairs)
        return self._find(pairs)  # another transaction may just have logged it

    def _find(self, pairs: list[Pair]) -> Meeting | None:
        found = (external_events.find_or_none(self.client_id, pair) for pair in pairs)
        return next((event.meeting for event in found if event), None)

    def _process_outcome(self, item: Item) -> None:
        """Apply a cancellation, a completion, a no-show or its undoing."""
        if item.wrong and not self._wait(item, item.pairs[:1]):
            item.settle("unmatched", message=UNKNOWN_BOOKING, details=item.wrong)
            return
        known = external_events.find_or_none(self.client_id, item.pairs[0])
        if known and external_events.is_outdated(item.stamp, known.outcome_stamp):
            item.keep_repairs("reason")
            item.settle("unchanged", known.meeting, OUTDATED)
            return
        meeting = known.meeting if known else None
        try:
            with db.atomic():
                self._apply(item, meeting)
        except InvalidTransition as error:
            item.refuse(error, "status", meeting)

    def _apply(self, item: Item, meeting: Meeting | None) -> None:
        """Apply an outcome to the meeting that its pair names, or log the meeting first."""
        if meeting is not None and (item.wrong or self._is_current(item, meeting)):
            self._apply_to_known(item, meeting)
        else:
            # The booking is not known yet, or is known by its previous id. Or the event is late: it
            # has an earlier id, and changes nothing.
            self._log_and_apply(item)

    def _is_current(self, item: Item, meeting: Meeting) -> bool:
        """Whether the event has the id that the meeting's booking has now."""
        return bool(meeting.external_event_id == item.pairs[0][1])

    def _apply_to_known(self, item: Item, meeting: Meeting) -> None:
        item.keep_repairs("reason")  # the other fields are not used
        if not self._is_current(item, meeting):
            item.settle("unchanged", meeting)
        elif error := self._lead_fault(item, meeting):
            item.refuse(error, "lead_email")
        else:
            item.settle(self._carry_out(item, meeting.id) or "unchanged", meeting)

    def _log_and_apply(self, item: Item) -> None:
        [result] = self._log([item.loaded])
        if not isinstance(result, RowResult):
            self._settle_booking(item, result)
            return
        effect = EFFECTS[result.effect]
        if self._is_current(item, result.row):
            effect = self._carry_out(item, result.row.id) or effect
        item.settle(effect, result.row)

    def _lead_fault(self, item: Item, meeting: Meeting) -> ServiceError | None:
        """The error if an event's email does not name the lead of the meeting that it is about."""
        if not item.receipt.email_key:
            return None
        return bookings.lead_fault(self.client_id, item.given, meeting)

    def _carry_out(self, item: Item, meeting_id: str) -> str | None:
        """Carry out the event's action; returns its outcome, or None if nothing changed."""
        client_id, given = self.client_id, {"reason": payloads.reason_of(item.event)}
        match item.event.action:
            case "cancel":
                outcome, result = "cancelled", transitions.cancel(client_id, meeting_id, given)
            case "complete":
                outcome, result = "completed", transitions.complete(client_id, meeting_id, {})
            case "no_show":
                outcome, result = "no_show", transitions.mark_no_show(client_id, meeting_id, given)
            case _:
                outcome, result = "reopened", transitions.undo_no_show(client_id, meeting_id)
        if item.stamp:
            provider, event_id = item.pairs[0]
            key = {"client_id": client_id, "provider": provider, "event_id": event_id}
            external_events.set_outcome_stamp.run(**key, stamp=item.stamp)
        return None if result.effect == "unchanged" else outcome


def _sentence(wrong: Details) -> str:
    return " ".join(f"{field}: {found[0]}" for field, found in wrong.items())


def _stamp(at: Any, payload: str) -> str | None:
    """Return the stamp of an event that was reported at a time; None without a valid one."""
    try:
        reported = datetime.fromisoformat(at)
        return external_events.stamp_of(reported, payload) if reported.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        return None
