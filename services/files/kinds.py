"""What the rows of a file become: leads, or meetings with their outcomes."""

import re
from typing import Any

from decoding import decode_json
from ids import is_uuid
from lead_schemas import LeadRequest, LeadResponse
from models import SHOWN_STATUSES
from schemas import PAIR, MeetingExport, MeetingRequest, ReasonAndNotes
from services import bookings, leads, meeting_types
from services.files.importing import fingerprint
from services.loading import load_object
from services.results import Details, Loaded, Result
from services.transitions import CANCEL, COMPLETE, NO_SHOW, PlannedTransition, Transition

DERIVED_PROVIDER = "csv"  # of the external ids that are derived from the cells of a row
# Outcome → its transition, and the column of a file for each field of its call.
OUTCOMES: dict[str, tuple[Transition, dict[str, str]]] = {
    "cancelled": (CANCEL, {"reason": "cancellation_reason"}),
    "completed": (COMPLETE, {"notes": "outcome_notes"}),
    "no_show": (NO_SHOW, {"reason": "no_show_reason", "notes": "outcome_notes"}),
}
OUTCOME_COLUMNS = ("cancellation_reason", "no_show_reason", "outcome_notes")
WRONG_STATUS = f"Must be one of: {', '.join(SHOWN_STATUSES)}."
# Excel turns long numbers into 1.23E+17, and ids such as 3-4 into dates.
MANGLED = re.compile(
    r"[0-9]+(?:[.,][0-9]+)?E\+[0-9]+"
    r"|[0-9]{1,2}[-.](?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)(?:[-.][0-9]{2,4})?"
    r"|(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[-.][0-9]{2}"
)
MANGLED_FAULT = (
    "Looks like an id or a number that a spreadsheet has shortened or turned into a date. Format"
    " the column as text, and enter the value again."
)
PROTECTED = (
    "external_event_id",
    "previous_external_event_id",
    "external_id",
    "phone",
    "attendee_phone",
)


def _mangled(cells: dict[str, Any]) -> Details:
    """Return the faults of the ids and phones that a spreadsheet has changed."""
    return {
        name: [MANGLED_FAULT]
        for name in PROTECTED
        if isinstance(cells.get(name), str) and MANGLED.fullmatch(cells[name].strip())
    }


def _parse(cells: dict[str, Any], name: str) -> Details:
    """Read the JSON in a cell, in place; returns its fault."""
    if isinstance(cells.get(name), str) and cells[name].strip():
        try:
            cells[name] = decode_json(cells[name])
        except (ValueError, RecursionError):
            del cells[name]
            return {name: ["Must be JSON."]}
    return {}


class Leads:
    """Leads; columns that no lead has become metadata."""

    fields = frozenset(LeadRequest().fields)
    ignored = frozenset(LeadResponse().fields) - fields
    takes_any = True

    def __init__(self) -> None:
        self._schema = LeadRequest()

    def prepare(self, client_id: str, cells: list[dict[str, Any]]) -> list[Loaded]:
        """Load rows, each with its fields by name, as far as they are valid."""
        return [self._load(row) for row in cells]

    def _load(self, cells: dict[str, Any]) -> Loaded:
        wrong = _mangled(cells) | _parse(cells, "metadata")
        valid, own_wrong = load_object(self._schema, cells)
        return Loaded(valid, own_wrong | wrong)

    def store(self, client_id: str, rows: list[Loaded]) -> list[Result]:
        """Store loaded leads; returns a result for each."""
        return leads.save(client_id, rows)


class Meetings:
    """Meetings, with their outcomes."""

    fields = frozenset({*MeetingRequest().fields, *OUTCOME_COLUMNS})
    ignored = frozenset(MeetingExport().fields) - fields
    takes_any = False

    def __init__(self) -> None:
        self._schema, self._outcome_schema = MeetingRequest(), ReasonAndNotes()

    def prepare(self, client_id: str, cells: list[dict[str, Any]]) -> list[Loaded]:
        """Load rows, each with its fields by name, as far as they are valid.

        An export from another database names leads and meeting types by ids that are unknown here;
        then their emails and names count.
        """
        types = meeting_types.list_all(client_id)
        type_ids, by_name = {row.id for row in types}, {row.name: row.id for row in types}
        lead_ids = [_id_or_none(row.get("lead_id")) for row in cells]
        known = leads.find_by_id(client_id, sorted({lead_id for lead_id in lead_ids if lead_id}))
        for row, lead_id in zip(cells, lead_ids, strict=True):
            self._add_derived_id(row)
            if lead_id and lead_id not in known and row.get("lead_email"):
                del row["lead_id"]
            type_id, name = _id_or_none(row.get("meeting_type_id")), row.get("meeting_type")
            if type_id and type_id not in type_ids and isinstance(name, str) and name in by_name:
                row["meeting_type_id"] = by_name[name]
        return [self._load(row) for row in cells]

    def _add_derived_id(self, cells: dict[str, Any]) -> None:
        """Give a row without an external id one that is the same whenever the row is imported."""
        provider, event_id = PAIR
        if not cells.get(event_id):
            cells[event_id], cells[provider] = fingerprint(cells), DERIVED_PROVIDER
        elif not cells.get(provider):
            cells[provider] = DERIVED_PROVIDER

    def _load(self, cells: dict[str, Any]) -> Loaded:
        wrong = _mangled(cells) | _parse(cells, "additional_attendees")
        given = {name: cell for name, cell in cells.items() if name not in self.ignored}
        if isinstance(given.get("create_lead"), str):
            given["create_lead"] = given["create_lead"].lower()  # spreadsheets write TRUE
        texts = {name: given.pop(name) for name in OUTCOME_COLUMNS if name in given}
        status = given.get("status")
        transition: Transition | None = None
        columns: dict[str, str] = {}
        if isinstance(status, str) and status.strip() in OUTCOMES:
            transition, columns = OUTCOMES[status.strip()]
            del given["status"]
            if cells.get("confirmed_by_lead") in (True, "true"):  # as an export writes it
                given["status"] = "confirmed"
        outcome, outcome_wrong = self._load_outcome(texts, columns)
        valid, own_wrong = load_object(self._schema, given)
        if "status" in own_wrong:
            own_wrong["status"] = [WRONG_STATUS]
        if transition:
            valid["outcome"] = PlannedTransition(transition, outcome)
        return Loaded(valid, own_wrong | outcome_wrong | wrong)

    def _load_outcome(
        self, texts: dict[str, Any], columns: dict[str, str]
    ) -> tuple[dict[str, Any], Details]:
        """Load an outcome's reason and notes; the faults are by column."""
        given = {field: texts[column] for field, column in columns.items() if column in texts}
        outcome, wrong = load_object(self._outcome_schema, given) if given else Loaded({}, {})
        faults = {columns[field]: sentences for field, sentences in wrong.items()}
        for column in texts.keys() - columns.values():
            if texts[column]:
                faults[column] = ["Needs a matching status."]
        return outcome, faults

    def store(self, client_id: str, rows: list[Loaded]) -> list[Result]:
        """Log loaded bookings with their outcomes; returns a result for each."""
        return bookings.log(client_id, rows)


def _id_or_none(cell: Any) -> str | None:
    """Return the UUID in a cell, or None for anything else, which the schema checks."""
    text = cell.strip().lower() if isinstance(cell, str) else ""
    return text if is_uuid(text) else None
