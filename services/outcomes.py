"""What becomes of a meeting: confirmed, cancelled, completed, missed, reopened, moved.

A transition is data; one function carries out all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from database import Row, transaction
from models import shown_status
from services import bookings, meetings, timeline
from services.errors import (
    ExternalEventConflict,
    InvalidRequest,
    InvalidTransition,
    MeetingNotFound,
)
from services.results import Loaded, RowResult
from times import TOO_LATE, format_instant, resolve_times, utc_now

# What an outcome sets. Each sets its own and clears the others'.
OUTCOME_FIELDS = (
    "cancelled_at",
    "cancellation_reason",
    "no_show_reason",
    "outcome_at",
    "outcome_notes",
)
DEFAULT_NO_SHOW_REASON = "api_marked"


@dataclass(frozen=True)
class Transition:
    """From which statuses, in which there is nothing left to do, what it sets, what it records.

    `sets` gives columns from the request's fields and the time; a confirmed meeting is `confirmed`
    here, as callers see it.
    """

    verb: str
    begins_in: frozenset[str]
    done_in: frozenset[str]
    activity_type: str
    sets: Callable[[Row, datetime], Row]


def _outcome(status: str, **columns: Any) -> Row:
    return {"status": status, **dict.fromkeys(OUTCOME_FIELDS), **columns}


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
    lambda given, now: _outcome(
        "cancelled", cancelled_at=now, cancellation_reason=given.get("reason")
    ),
)
COMPLETE = Transition(
    "completed",
    frozenset({"scheduled", "confirmed", "no_show"}),
    frozenset({"completed"}),
    "meeting_completed",
    lambda given, now: _outcome("completed", outcome_at=now, outcome_notes=given.get("notes")),
)
NO_SHOW = Transition(
    "marked as a no-show",
    frozenset({"scheduled", "confirmed", "completed"}),
    frozenset({"no_show"}),
    "meeting_no_show",
    lambda given, now: _outcome(
        "no_show",
        no_show_reason=given.get("reason") or DEFAULT_NO_SHOW_REASON,
        outcome_at=now,
        outcome_notes=given.get("notes"),
    ),
)
REOPEN = Transition(
    "reopened",
    frozenset({"completed", "no_show", "cancelled"}),
    frozenset({"scheduled", "confirmed"}),
    "meeting_reopened",
    lambda given, now: _outcome("scheduled", confirmed_by_lead=False),
)


def confirm(client_id: str, meeting_id: str) -> RowResult:
    """Note that the lead has confirmed; raises MeetingNotFound, InvalidTransition."""
    return _result(*carry_out(CONFIRM, client_id, meeting_id, {}))


def cancel(client_id: str, meeting_id: str, given: Row) -> RowResult:
    """Cancel a meeting, with a `reason` perhaps; raises MeetingNotFound, InvalidTransition."""
    return _result(*carry_out(CANCEL, client_id, meeting_id, given))


def complete(client_id: str, meeting_id: str, given: Row) -> RowResult:
    """Complete a meeting, with `notes` perhaps; raises MeetingNotFound, InvalidTransition."""
    return _result(*carry_out(COMPLETE, client_id, meeting_id, given))


def mark_no_show(client_id: str, meeting_id: str, given: Row) -> RowResult:
    """Note that the lead did not come; raises MeetingNotFound, InvalidTransition."""
    return _result(*carry_out(NO_SHOW, client_id, meeting_id, given))


def reopen(client_id: str, meeting_id: str) -> RowResult:
    """Make a meeting scheduled again, unconfirmed; raises MeetingNotFound."""
    return _result(*carry_out(REOPEN, client_id, meeting_id, {}))


def reschedule(client_id: str, meeting_id: str, loaded: Loaded) -> RowResult:
    """Move a meeting; raises what `move` raises, and InvalidRequest that names every fault."""
    if loaded.wrong:
        raise InvalidRequest(wrong_move(client_id, loaded.valid, meeting_id) | loaded.wrong)
    return _result(*move(client_id, meeting_id, loaded.valid))


def _result(meeting: Row, changed: bool) -> RowResult:
    return RowResult(meeting, "updated" if changed else "unchanged")


@transaction
def carry_out(
    transition: Transition, client_id: str, meeting_id: str, given: Row
) -> tuple[Row, bool]:
    """Take a meeting through a transition; returns it and whether anything changed.

    The meeting is locked while it is looked at, so of two conflicting calls the second sees what
    the first did. Raises MeetingNotFound, InvalidTransition.
    """
    meeting = meetings.find(client_id, meeting_id, lock=True)
    status = shown_status(meeting)
    if status in transition.done_in:
        return meeting, False
    if status not in transition.begins_in:
        raise InvalidTransition(status, transition.verb)
    after = {**meeting, **transition.sets(given, utc_now())}
    after["updated_at"] = meetings.instant_of_change(client_id)
    bookings.UPDATE_MEETING.run(**after)
    timeline.record(
        client_id,
        meeting["lead_id"],
        transition.activity_type,
        f"Meeting {transition.verb}: {meeting['title']}",
        after["updated_at"],
        description=given.get("reason") or given.get("notes"),
        meeting_id=meeting_id,
        changes=timeline.changes_between(_as_told(meeting), _as_told(after)),
    )
    return after, True


def _as_told(meeting: Row) -> Row:
    told = {"status": shown_status(meeting)} | {field: meeting[field] for field in OUTCOME_FIELDS}
    return told | {
        field: format_instant(meeting[field]) for field in ("cancelled_at", "outcome_at")
    }


@transaction
def move(client_id: str, meeting_id: str, given: Row) -> tuple[Row, bool]:
    """Move a meeting to other instants; returns it and whether anything changed.

    `given` has `starts_at`, perhaps `ends_at` or `duration_minutes` (else the duration stays), all
    as written where they are wall-clock times of the meeting's own zone, and perhaps `timezone`,
    `reason` and `external_event_id`. Raises MeetingNotFound, InvalidTransition, InvalidRequest,
    ExternalEventConflict.
    """
    meeting = meetings.find(client_id, meeting_id, lock=True)
    times, wrong = _move_of(meeting, given)
    if wrong:
        raise InvalidRequest(wrong)
    if meeting["status"] != "scheduled":
        raise InvalidTransition(meeting["status"], "rescheduled")
    moved = any(times[field] != meeting[field] for field in times)
    after = {
        **meeting,
        **times,
        "timezone": given.get("timezone") or meeting["timezone"],
        "external_event_id": given.get("external_event_id") or meeting["external_event_id"],
        "confirmed_by_lead": meeting["confirmed_by_lead"] and not moved,
    }
    if after == meeting:
        return meeting, False
    if after["external_event_id"] != meeting["external_event_id"]:
        _take_external_event(after)
    return bookings.store_changes(meeting, after, given.get("reason")), True


def wrong_move(client_id: str, given: Row, meeting_id: str) -> dict[str, list[str]]:
    """What only the meeting tells to be wrong with a body of `reschedule`: field → sentences.

    `given` may be part of one, where the rest was refused already; of no meeting, nothing is told.
    """
    try:
        return _move_of(meetings.find(client_id, meeting_id), given)[1]
    except MeetingNotFound:
        return {}


def _move_of(meeting: Row, given: Row) -> tuple[Row, dict[str, list[str]]]:
    """The instants a meeting is to be moved to, and what is wrong with the move."""
    times = {
        field: given[field]
        for field in ("starts_at", "ends_at", "duration_minutes")
        if given.get(field) is not None
    }
    zone = given.get("timezone") or meeting["timezone"]
    wrong = resolve_times(dict(times), times, zone)
    if given.get("external_event_id") and not meeting["external_calendar_provider"]:
        wrong["external_event_id"] = ["The meeting has no external_calendar_provider to go with."]
    if "starts_at" in times and "ends_at" not in times and "ends_at" not in wrong:
        times["ends_at"] = times["starts_at"] + (meeting["ends_at"] - meeting["starts_at"])
        if times["ends_at"] >= TOO_LATE:
            wrong["starts_at"] = ["The meeting must end before the year 2200."]
    return times, wrong


def _take_external_event(meeting: Row) -> None:
    """Give the meeting its new external id; the old one stays an alias. Raises on one taken."""
    owner = bookings.take_for(meeting)
    if owner != meeting["id"]:
        raise ExternalEventConflict(
            f"{meeting['external_calendar_provider']} / {meeting['external_event_id']}"
            f" already names meeting {owner}."
        )
