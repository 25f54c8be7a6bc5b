"""The responses around a meeting or a lead, as the documentation shows them.

The routes build their responses directly; these schemas describe them, and load and dump nothing.
The tests check every response they get against them.
"""

from typing import Any, ClassVar

from marshmallow import Schema

from schemas import (
    COUNT,
    FLAG,
    RATE,
    TEXT,
    TRUE,
    ActivityResponse,
    LeadResponse,
    LeadSummary,
    MeetingItem,
    MeetingResponse,
    Shown,
    one_of,
)


class Answer(Schema):
    """A success. What is not `always` there is left out where it has nothing to say."""

    EXAMPLE: ClassVar[dict[str, Any]] = {}

    success = Shown(TRUE)


class MeetingLogged(Answer):
    """The meeting that was logged."""

    meeting = Shown(MeetingResponse)
    warnings = Shown(
        {"type": "array", "items": TEXT, "minItems": 1},
        always=False,
        about="Half a pair of provider and event id protects from nothing.",
    )


class MeetingAnswer(Answer):
    """One meeting."""

    meeting = Shown(MeetingItem)


class MeetingAfterwards(MeetingItem):
    """A meeting after a call that may have had nothing left to do."""

    idempotent = Shown(TRUE, always=False, about="There was nothing left to do.")


class MeetingChanged(Answer):
    """A meeting, and whether there was nothing left to do."""

    meeting = Shown(MeetingAfterwards)
    idempotent = Shown(TRUE, always=False, about="There was nothing left to do.")


class CursorPagination(Schema):
    """Where a page stands among pages that follow cursors."""

    EXAMPLE = {"limit": 50, "has_more": False, "next_cursor": None}

    limit = Shown({"type": "integer", "minimum": 1})
    has_more = Shown(FLAG)
    next_cursor = Shown(null=True, about="The `cursor` of the next page.")


class MeetingPage(Answer):
    """A page of meetings."""

    meetings = Shown([MeetingItem])
    pagination = Shown(CursorPagination)


class Stats(Schema):
    """How many meetings there are of each status, and how many leads showed up."""

    EXAMPLE = {
        "total": 9,
        "scheduled": 2,
        "confirmed": 1,
        "completed": 3,
        "cancelled": 2,
        "no_show": 1,
        "show_rate": 0.75,
        "no_show_rate": 0.25,
    }

    total = Shown(COUNT)
    scheduled = Shown(COUNT)
    confirmed = Shown(COUNT)
    completed = Shown(COUNT)
    cancelled = Shown(COUNT)
    no_show = Shown(COUNT)
    show_rate = Shown(RATE, null=True, about="completed / (completed + no_show)")
    no_show_rate = Shown(RATE, null=True)


class StatsAnswer(Answer):
    """The statistics of meetings."""

    stats = Shown(Stats)


class LeadSaved(Answer):
    """The lead that was saved."""

    lead = Shown(LeadResponse)
    existed = Shown(TRUE, always=False, about="The `external_id` named a lead already.")


class LeadAnswer(Answer):
    """One lead."""

    lead = Shown(LeadResponse)


class PagePagination(Schema):
    """Where a page stands among numbered ones."""

    EXAMPLE = {"page": 0, "limit": 50, "has_more": False}

    page = Shown(COUNT)
    limit = Shown({"type": "integer", "minimum": 1})
    has_more = Shown(FLAG)


class LeadPage(Answer):
    """A page of leads."""

    leads = Shown([LeadResponse])
    pagination = Shown(PagePagination)


class LeadHistory(Answer):
    """What happened to a lead."""

    lead = Shown(LeadSummary)
    history = Shown([ActivityResponse])


class StatusAnswer(Answer):
    """How the service is."""

    status = Shown(one_of("ok", "ready"))


class StoredRow(Answer):
    """A row of an array that was stored."""

    index = Shown(COUNT)
    status = Shown(one_of(201, 200))


class StoredMeeting(StoredRow, MeetingLogged):
    """A row of an array that was logged, or replayed."""


class StoredLead(StoredRow, LeadSaved):
    """A row of an array that was created, or updated."""
