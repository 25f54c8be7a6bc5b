"""Today: the meetings that lack an outcome, those of the day, and the next ones."""

from contextlib import suppress
from typing import Any
from uuid import UUID

from flask import g, redirect, render_template, request, url_for

from desk import clock
from desk.blueprint import desk
from desk.templating import UNDOABLE
from services import agenda, meetings
from services.errors import MeetingNotFound
from times import utc_now


@desk.get("")
def show_today() -> Any:
    """Show the agenda, and a notice about the last recorded outcome, which can be undone."""
    now = utc_now()
    return render_template(
        "desk/today.html",
        agenda=agenda.read(g.client_id, now, g.zone_name),
        now=now,
        today=clock.local(now).date(),
        done=_done(),
    )


def _done() -> Any:
    """Return the meeting whose outcome was just recorded, if the address names one."""
    if request.args.get("done") in UNDOABLE:
        with suppress(MeetingNotFound):
            about: UUID | None = request.args.get("about", type=UUID)
            return meetings.find(g.client_id, str(about)) if about else None
    return None


@desk.get("/")
def show_today_without_slash() -> Any:
    """Redirect to the address without a slash."""
    return redirect(url_for("desk.show_today"))
