"""The filters of the list of meetings, as its address has them."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from marshmallow.fields import Date
from marshmallow.validate import Range

import fields
from schemas import MeetingsQuery
from times import start_of_day


class Day(fields.InputField, Date):
    """A day, as a browser sends it: `2026-03-02`."""

    default_error_messages = {"invalid": "Must be a day, such as 2026-03-02."}

    def __init__(self) -> None:
        error = "Must lie between 1970 and 2199."
        super().__init__(validate=Range(date(1970, 1, 1), date(2199, 12, 31), error=error))


class MeetingList(MeetingsQuery):
    """The parameters of GET /meetings, and also days, read in a zone, and a lead to search.

    The zone is part of the address, so the address shows every reader the same meetings.
    """

    first_day = Day()
    last_day = Day()
    changed_since = Day()
    zone = fields.Timezone(required=True)
    lead = fields.Text(255)

    def check(self, valid: dict[str, Any], given: Mapping[str, Any]) -> dict[str, list[str]]:
        """Turn the days into instants; the last day is included."""
        if zone := valid.get("zone"):
            if first := valid.pop("first_day", None):
                valid["starts_after"] = start_of_day(first, zone)
            if last := valid.pop("last_day", None):
                valid["starts_before"] = start_of_day(last + timedelta(days=1), zone)
            if changed := valid.pop("changed_since", None):
                valid["updated_after"] = start_of_day(changed, zone)
        return super().check(valid, given)
