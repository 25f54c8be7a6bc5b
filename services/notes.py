"""Notes about meetings: storing what a note-taking tool wrote down, and listing it."""

from datetime import timedelta
from functools import lru_cache
from typing import Any

from peewee import Tuple

from database import transaction
from database.queries import Compiled, Insert, Update, checked, compiled, locking
from ids import new_id
from models import LATEST_START, NOTE_CONTENTS, OLDEST_FIRST, Meeting, MeetingNote
from services import external_events, meetings
from services.errors import InvalidRequest, MeetingNotFound, Unavailable
from services.results import Key, RowResult, page_of
from services.timeline import ChangeSet, insert_activities
from times import format_instant, utc_now

PROVIDER = "manual"  # unless given
WITHIN = timedelta(minutes=60)  # of the date, for a meeting that the lead's email identifies

insert_unless_taken = Insert(MeetingNote, unless_taken=True)
update_rows = Update(
    MeetingNote,
    fixed={
        "id",
        "client",
        "meeting",
        "provider",
        "external_meeting_id",
        "matched_by",
        "created_at",
    },
)


def with_meeting() -> Any:
    """Select notes, each with the lead of its meeting."""
    return MeetingNote.select(*MeetingNote._meta.sorted_fields, Meeting.id, Meeting.lead).join(
        Meeting
    )


def _by_tool(client_id: Any, provider: Any, external_meeting_id: Any) -> Any:
    return with_meeting().where(
        MeetingNote.external_meeting_id == external_meeting_id,
        MeetingNote.client == client_id,
        MeetingNote.provider == provider,
    )


@compiled
def note_by_tool(client_id: Any, provider: Any, external_meeting_id: Any) -> Any:
    """Return the client's note that has this id in this tool."""
    return _by_tool(client_id, provider, external_meeting_id)


@compiled
def note_by_tool_locked(client_id: Any, provider: Any, external_meeting_id: Any) -> Any:
    """Return the same, locked until the transaction ends."""
    return locking(_by_tool(client_id, provider, external_meeting_id), MeetingNote)


def save(client_id: str, given: dict[str, Any]) -> RowResult:
    """Store a note for the meeting that the fields given identify.

    A note that the tool has sent before is updated, whatever meeting the fields identify now. None
    clears a field. Raises MeetingNotFound, and InvalidRequest for a new note without contents.
    """
    provider, its_id = given.get("provider") or PROVIDER, given.get("external_meeting_id")
    tool = {"client_id": client_id, "provider": provider, "external_meeting_id": its_id}
    if its_id and note_by_tool.first(**tool):
        return _update(tool, given)
    if all(given.get(name) is None for name in NOTE_CONTENTS):
        sentence = f"A new note needs one of: {', '.join(NOTE_CONTENTS)}."
        raise InvalidRequest({NOTE_CONTENTS[0]: [sentence]})
    # The search may take long, so it is no part of the transaction, which other writers wait for.
    matched_by, meeting_id = _find_meeting(client_id, given)
    return _insert(tool, meeting_id, matched_by, given)


def _find_meeting(client_id: str, given: dict[str, Any]) -> tuple[str, str]:
    """Return the first of the fields given that identifies a meeting, and the meeting's id.

    Raises MeetingNotFound if that field finds none, without trying the next.
    """
    date, url, email = (given.get(name) for name in ("meeting_date", "meeting_url", "lead_email"))
    if given.get("calendar_event_id"):
        return "calendar_event_id", meetings.find(client_id, given["calendar_event_id"]).id
    if given.get("external_calendar_event_id"):
        pair = given | {"external_event_id": given["external_calendar_event_id"]}
        return "external_calendar_event_id", external_events.find_meeting_id(client_id, pair)
    if url:
        name, named_by = "meeting_url", f"meeting_url {url}"
        meeting = meetings.nearest(client_id, date or utc_now(), {"meeting_url": url})
    elif date:
        name, named_by = "lead_email", f"lead_email {email} near {format_instant(date)}"
        meeting = meetings.nearest(client_id, date, {"lead_email": email}, WITHIN)
    else:
        name, named_by = "lead_email", f"lead_email {email} that has begun"
        has_begun = {"lead_email": email, "starts_before": utc_now() + meetings.MICROSECOND}
        meeting = meetings.first(client_id, LATEST_START, has_begun)
    if meeting is None:
        raise MeetingNotFound(named_by)
    return name, meeting.id


@transaction
def _insert(
    tool: dict[str, Any], meeting_id: str, matched_by: str, given: dict[str, Any]
) -> RowResult:
    """Store a note, unless another call has stored it meanwhile; then update that one.

    The unique index decides.
    """
    client_id = tool["client_id"]
    # Locked, so that the events of later changes follow the event that reports it as it is now.
    meeting, now = meetings.find_locked(client_id, meeting_id), utc_now()
    data = {
        "id": new_id(),
        "client": client_id,
        "meeting": meeting_id,
        "provider": tool["provider"],
        "external_meeting_id": tool["external_meeting_id"],
        **{name: given.get(name) for name in NOTE_CONTENTS},
        "matched_by": matched_by,
        "created_at": now,
        "updated_at": now,
    }
    note = MeetingNote.of(data, meeting=meeting)
    if not insert_unless_taken([note]):
        return _update(tool, given)
    changes = ChangeSet(client_id, meetings.latest_change)
    changes.record(
        meeting.lead_id,
        "note_added",
        f"Note added: {meeting.title}",
        now,
        description=f"From {note.provider}",
        meeting_id=meeting_id,
        meeting=meeting,
        note=note,
    )
    insert_activities(changes)
    return RowResult(note, "created")


@transaction
def _update(tool: dict[str, Any], given: dict[str, Any]) -> RowResult:
    """Replace the contents given of a note; it keeps its meeting."""
    note = note_by_tool_locked.first(**tool)
    if note is None:  # it was deleted just now
        raise Unavailable("The note was being changed by another request. Please try again.")
    after = note.copy()
    after.set_all({name: given[name] for name in NOTE_CONTENTS if name in given})
    if after.__data__ == note.__data__:
        return RowResult(note, "unchanged")
    after.updated_at = utc_now()
    update_rows([after])
    return RowResult(after, "updated")


def list_of_meeting(
    client_id: str, meeting_id: str, query: dict[str, Any]
) -> tuple[list[MeetingNote], Key | None]:
    """Return a page of a meeting's notes, oldest first, and the key to go on from, if any.

    Raises MeetingNotFound.
    """
    values, limit = {"meeting_id": meeting_id, "limit": query["limit"] + 1}, query["limit"]
    if "cursor" in query:
        _, values["cursor_at"], values["cursor_id"] = query["cursor"]
    rows = _page("cursor" in query)(client_id=client_id, **values)
    if not rows:  # the meeting may have no notes, or may not exist
        meetings.find(client_id, meeting_id)
    return page_of(rows, limit, lambda row: (OLDEST_FIRST, row.created_at, row.id))


@lru_cache(maxsize=2)
def _page(after_cursor: bool) -> Compiled:
    def build(client_id: Any, meeting_id: Any, limit: Any, **cursor: Any) -> Any:
        key = MeetingNote.created_at, MeetingNote.id
        query = with_meeting().where(
            checked(MeetingNote.client == client_id), MeetingNote.meeting == meeting_id
        )
        if after_cursor:
            query = query.where(Tuple(*key) > Tuple(cursor["cursor_at"], cursor["cursor_id"]))
        return query.order_by(*key).limit(limit)

    names = ("cursor_at", "cursor_id") if after_cursor else ()
    return Compiled(build, ("client_id", "meeting_id", "limit", *names))
