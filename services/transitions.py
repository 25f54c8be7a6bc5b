"""Changes of a meeting's state: confirm, cancel, complete, mark missed, reopen, reschedule."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from database import RowGone, transaction
from models import SHOWN_STATUSES, Meeting
from services import external_events, meetings, timeline, waiting
from services.errors import (
    ExternalEventConflict,
    InvalidRequest,
    InvalidTransition,
    MeetingNotFound,
)
from services.results import Details, Loaded, RowResult
from services.timeline import ChangeSet, insert_activities
from times import TOO_LATE, format_instant, resolve_times, utc_now

Fields = dict[str, Any]

# The columns that outcomes set. Each sets its own and clears those of the others.
NO_OUTCOME: dict[str, Any] = {
    "cancelled_at": None,
    "cancellation_reason": None,
    "no_show_reason": None,
    "outcome_at": None,
    "outcome_notes": None,
}
DEFAULT_NO_SHOW_REASON = "api_marked"


@dataclass(frozen=True)
class Transition:
    """The statuses that a transition starts from, and what it sets and records.

    In a status of `done_in`, it changes nothing. Statuses are those that callers see, so a
    confirmed meeting is `confirmed`. `sets` returns the columns to set.
    """

    verb: str
    begins_in: frozenset[str]
    done_in: frozenset[str]
    activity_type: str
    sets: Callable[[Fields, datetime], dict[str, Any]]


CONFIRM = Transition(
    "confirmed",
    frozenset({"scheduled"}),
    frozenset({"confirmed"}),
    "meeting_confirmed",
    lambda given, now: {"confirmed_by_lead": True},
)
CANCEL = Transition(
    "cancelled",
    frozenset({"scheduled", "confirmed"}),
    frozenset({"cancelled"}),
    "meeting_cancelled",
    lambda given, now: {
        **NO_OUTCOME,
        "status": "cancelled",
        "cancelled_at": now,
        "cancellation_reason": given.get("reason"),
    },
)
COMPLETE = Transition(
    "completed",
    frozenset({"scheduled", "confirmed", "no_show"}),
    frozenset({"completed"}),
    "meeting_completed",
    lambda given, now: {
        **NO_OUTCOME,
        "status": "completed",
        "outcome_at": now,
        "outcome_notes": given.get("notes"),
    },
)
NO_SHOW = Transition(
    "marked as a no-show",
    frozenset({"scheduled", "confirmed", "completed"}),
    frozenset({"no_show"}),
    "meeting_no_show",
    lambda given, now: {
        **NO_OUTCOME,
        "status": "no_show",
        "no_show_reason": given.get("reason") or DEFAULT_NO_SHOW_REASON,
        "outcome_at": now,
        "outcome_notes": given.get("notes"),
    },
)
REOPEN = Transition(
    "reopened",
    frozenset({"completed", "no_show", "cancelled"}),
    frozenset({"scheduled", "confirmed"}),
    "meeting_reopened",
    lambda given, now: {**NO_OUTCOME, "status": "scheduled", "confirmed_by_lead": False},
)
# A booking system undoes its no-show; the service may have a later outcome by now.
UNDO_NO_SHOW = replace(
    REOPEN,
    begins_in=frozenset({"no_show"}),
    done_in=frozenset(SHOWN_STATUSES) - {"no_show"},
)
BY_NAME = {
    "confirm": CONFIRM,
    "complete": COMPLETE,
    "no-show": NO_SHOW,
    "cancel": CANCEL,
    "reopen": REOPEN,
}


def possible(meeting: Meeting) -> set[str]:
    """Return the names of the calls that would change a meeting now, such as `no-show`."""
    status = meeting.shown_status
    names = {name for name, transition in BY_NAME.items() if status in transition.begins_in}
    return names | {"reschedule"} if _may_move(meeting) else names


def _may_move(meeting: Meeting) -> bool:
    return bool(meeting.status == "scheduled")


def confirm(client_id: str, meeting_id: str) -> RowResult:
    """Record that the lead confirmed. Raises MeetingNotFound, InvalidTransition."""
    return _carry_out(CONFIRM, client_id, meeting_id, {})


def cancel(client_id: str, meeting_id: str, given: Fields) -> RowResult:
    """Cancel a meeting, with a `reason`. Raises MeetingNotFound, InvalidTransition."""
    return _carry_out(CANCEL, client_id, meeting_id, given)


def complete(client_id: str, meeting_id: str, given: Fields) -> RowResult:
    """Record that a meeting took place, with `notes`. Raises MeetingNotFound, InvalidTransition."""
    return _carry_out(COMPLETE, client_id, meeting_id, given)


def mark_no_show(client_id: str, meeting_id: str, given: Fields) -> RowResult:
    """Record that the lead did not show up, with `reason` and `notes`.

    Raises MeetingNotFound, InvalidTransition.
    """
    return _carry_out(NO_SHOW, client_id, meeting_id, given)


def reopen(client_id: str, meeting_id: str) -> RowResult:
    """Make a meeting scheduled and unconfirmed again; raises MeetingNotFound."""
    return _carry_out(REOPEN, client_id, meeting_id, {})


def undo_no_show(client_id: str, meeting_id: str) -> RowResult:
    """Reopen a meeting if it is a no-show, and leave it alone otherwise; raises MeetingNotFound."""
    return _carry_out(UNDO_NO_SHOW, client_id, meeting_id, {})


class PlannedTransition(NamedTuple):
    """A transition that a meeting is to go through, with its reason or notes."""

    transition: Transition
    given: Fields


@transaction
def _carry_out(transition: Transition, client_id: str, meeting_id: str, given: Fields) -> RowResult:
    """Lock a meeting and apply a transition to it.

    Of two conflicting calls, the second sees what the first did.
    """
    meeting = meetings.find_locked(client_id, meeting_id)
    if refused := refusal(transition, meeting):
        raise refused
    changes = ChangeSet(client_id, meetings.latest_change)
    result = apply(PlannedTransition(transition, given), meeting, changes)
    meetings.update_rows([*changes.rows.values()])
    insert_activities(changes)
    return result


def refusal(transition: Transition, meeting: Meeting) -> InvalidTransition | None:
    """Return the error if a meeting cannot go through a transition."""
    if meeting.shown_status in transition.begins_in | transition.done_in:
        return None
    return InvalidTransition(meeting.shown_status, transition.verb)


def apply(planned: PlannedTransition, meeting: Meeting, changes: ChangeSet) -> RowResult:
    """Add to the changes what a possible transition changes about a meeting, locked or new."""
    transition, given = planned
    if meeting.shown_status in transition.done_in:
        return RowResult(meeting, "unchanged")
    now = utc_now()
    after = meeting.copy()
    after.set_all({**transition.sets(given, now), "updated_at": changes.time_of(now)})
    changes.rows[after.id] = after
    changes.record(
        meeting.lead_id,
        transition.activity_type,
        f"Meeting {transition.verb}: {meeting.title}",
        after.updated_at,
        description=given.get("reason") or given.get("notes"),
        meeting_id=meeting.id,
        changes=timeline.changes_between(_described(meeting), _described(after)),
        meeting=after,
    )
    return RowResult(after, "updated")


def _described(meeting: Meeting) -> dict[str, Any]:
    """The status and outcome of a meeting, as callers see them."""
    return {
        "status": meeting.shown_status,
        **{name: meeting.__data__[name] for name in NO_OUTCOME},
        "cancelled_at": format_instant(meeting.cancelled_at),
        "outcome_at": format_instant(meeting.outcome_at),
    }


@transaction
def reschedule(client_id: str, meeting_id: str, move: Loaded) -> RowResult:
    """Move a meeting to other times.

    `move` has `starts_at`, perhaps `ends_at` or `duration_minutes` (else the duration stays), and
    perhaps `timezone`, `reason` and `external_event_id`. Wall-clock times of the meeting's own zone
    stay as written. Raises InvalidRequest with all faults, including those that the schema found,
    MeetingNotFound, InvalidTransition, ExternalEventConflict.
    """
    given = move.valid
    owner_id = _claim_new_id(client_id, meeting_id, move)
    try:
        meeting = meetings.find_locked(client_id, meeting_id)
    except MeetingNotFound as error:
        raise InvalidRequest(move.wrong) if move.wrong else error from None
    times, wrong = _times_of_move(meeting, given)
    if wrong or move.wrong:
        raise InvalidRequest(wrong | move.wrong)
    if not _may_move(meeting):
        raise InvalidTransition(meeting.status, "rescheduled")
    after = meeting.copy()
    after.set_all(times)
    after.timezone = given.get("timezone") or meeting.timezone
    if meeting.starts_at != after.starts_at or meeting.ends_at != after.ends_at:
        after.confirmed_by_lead = False
    if given.get("external_event_id"):
        after.external_event_id = given["external_event_id"]
        if owner_id != meeting.id:
            raise ExternalEventConflict(
                f"{meeting.external_calendar_provider} / {after.external_event_id}"
                f" already names meeting {owner_id}."
            )
    changes = ChangeSet(client_id, meetings.latest_change)
    result = meetings.change(meeting, after, given.get("reason"), changes)
    meetings.update_rows([*changes.rows.values()])
    insert_activities(changes)
    if after.external_event_id != meeting.external_event_id:
        pair = str(meeting.external_calendar_provider), str(after.external_event_id)
        waiting.release(client_id, pairs=[pair])
    return result


def reschedule_by_event(client_id: str, move: Loaded) -> RowResult:
    """Move the meeting that a pair names, like `reschedule`.

    `move` also has the pair, `external_calendar_provider` and `external_event_id`; the booking's
    new id is `new_external_event_id`. Raises the same errors.
    """
    given, wrong = move
    if not {"external_calendar_provider", "external_event_id"} <= given.keys():
        raise InvalidRequest(wrong)
    try:
        meeting_id = external_events.find_meeting_id(client_id, given)
    except MeetingNotFound as error:
        raise InvalidRequest(wrong) if wrong else error from None
    given = given | {"external_event_id": given.get("new_external_event_id")}
    return reschedule(client_id, meeting_id, Loaded(given, wrong))


def _claim_new_id(client_id: str, meeting_id: str, move: Loaded) -> str | None:
    """Claim a rescheduled booking's new id for the meeting; returns the id of the owning meeting.

    The old id stays an alias. A new id that only a receipt waits for is free. All code claims ids
    before it locks meetings, so that a concurrent booking cannot deadlock with this. If the move is
    refused, the claim is undone.
    """
    event_id = move.valid.get("external_event_id")
    if event_id is None or move.wrong:
        return None
    provider = meetings.find(client_id, meeting_id).external_calendar_provider
    if provider is None:
        return None
    if external_events.claim(client_id, {(provider, event_id): meeting_id}):
        return meeting_id
    pair = {"client_id": client_id, "provider": provider, "event_id": event_id}
    if external_events.take_waiting_pair.run(**pair, meeting_id=meeting_id):
        return meeting_id
    event = external_events.owner_of_pair.first(**pair)
    if event is None:
        raise RowGone()
    return str(event.meeting_id)


def _times_of_move(meeting: Meeting, given: Fields) -> tuple[dict[str, Any], Details]:
    """Return the new times of a meeting, and the faults of the move."""
    times = {
        field: given[field]
        for field in ("starts_at", "ends_at", "duration_minutes")
        if given.get(field) is not None
    }
    wrong = resolve_times(dict(times), times, given.get("timezone") or meeting.timezone)
    if given.get("external_event_id") and not meeting.external_calendar_provider:
        wrong["external_event_id"] = ["The meeting has no external_calendar_provider."]
    if "starts_at" in times and "ends_at" not in times and "ends_at" not in wrong:
        times["ends_at"] = times["starts_at"] + (meeting.ends_at - meeting.starts_at)
        if times["ends_at"] >= TOO_LATE:
            wrong["starts_at"] = ["The meeting must end before the year 2200."]
    return times, wrong
