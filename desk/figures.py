"""Figures: the show rate by week, by host and by the lead's source."""

from typing import Any

from flask import g, render_template

from desk.blueprint import desk
from services import figures
from times import utc_now


@desk.get("/figures")
def show_figures() -> Any:
    """Show the figures of twelve weeks, as a picture with its table, and as lists."""
    return render_template(
        "desk/figures.html", figures=figures.read(g.client_id, utc_now(), g.zone_name)
    )
