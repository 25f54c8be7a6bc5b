"""Leads: creating, finding, changing and listing the people sold to."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from peewee import IntegrityError, Select, fn

from database import db, transaction
from database.group_commit import LARGEST_GROUP, GroupCommit
from database.queries import Compiled, Insert, Update, among, checked, compiled, locking, rows_of
from ids import new_id
from models import SOURCE, Lead, metadata_fault
from scheduling import in_turns
from services import timeline, waiting
from services.errors import ExternalIdConflict, InvalidRequest, LeadNotFound, Unavailable
from services.results import Loaded, Result, RowResult
from services.timeline import ChangeSet, insert_activities
from times import utc_now

Key = tuple[str, str]  # a column and its value: ("email_key", "tony.stark@gmail.com")

# The fields that callers set, each with the value it has unless given.
DEFAULTS: dict[str, Any] = {
    "first_name": None,
    "last_name": None,
    "email": None,
    "phone": None,
    "company": None,
    "title": None,
    "source": SOURCE,
    "external_id": None,
    "metadata": {},
}
# The columns by which a row finds the lead that it updates, in the order in which they are tried,
# and what callers call them.
KEYS = {"external_id": "external_id", "email_key": "email", "phone_digits": "phone"}
TRIES = 5  # to insert or lock leads whose external ids or emails others are changing
EXACT = {"email", "external_id", "phone"}  # parameters of the list that leave few leads
FIELD_SEPARATOR, PHONE_DIGITS = "\x1f", "\x1e"  # text fields refuse these characters
# What may stand between the digits of a phone number: spaces, dashes, brackets and these signs.
PHONE_CATEGORIES, PHONE_SIGNS = {"Nd", "Zs", "Pd", "Ps", "Pe"}, "+./,*#"

insert = Insert(Lead)
insert_unless_taken = Insert(Lead, unless_taken=True)
update_rows = Update(Lead, fixed={"id", "client", "created_at"})
latest_change = timeline.latest_change(Lead)


def _found_by(condition: Any, client_id: Any, *columns: Any) -> Any:
    """Select the client's leads that a condition on something else finds."""
    return Lead.select(*columns).where(checked(Lead.client == client_id), condition)


@compiled
def lead_by_id(client_id: Any, lead_id: Any) -> Any:
    """Return the client's lead with an id."""
    return _found_by(Lead.id == lead_id, client_id)


@compiled
def lead_by_id_locked(client_id: Any, lead_id: Any) -> Any:
    """Return the client's lead with an id, locked until the transaction ends."""
    return locking(_found_by(Lead.id == lead_id, client_id))


@compiled
def leads_by_id(client_id: Any, ids: Any) -> Any:
    """Return the client's leads with any of these ids."""
    return _found_by(among(Lead.id, ids), client_id)


@compiled
def leads_by_external_id_locked(client_id: Any, external_ids: Any) -> Any:
    """Return the client's leads with any of these external ids, locked in one order."""
    query = _found_by(among(Lead.external_id, external_ids), client_id)
    return locking(query.order_by(Lead.id))


def _latest_ids(column: Any, keys: Any, client_id: Any, most: Any) -> Any:
    """Select for each key in a column the ids of the client's leads that were updated last."""
    place = fn.ROW_NUMBER().over(partition_by=[column], order_by=[*Lead.latest_first()])
    ranked = _found_by(among(column, keys), client_id, Lead.id, place.alias("place"))
    return Select((ranked,), (ranked.c.id,)).where(ranked.c.place <= most)


@compiled
def latest_leads_by_email(client_id: Any, email_keys: Any) -> Any:
    """Return for each of these emails the client's lead that was updated last."""
    return _found_by(Lead.id.in_(_latest_ids(Lead.email_key, email_keys, client_id, 1)), client_id)


@compiled
def leads_by_keys_locked(
    client_id: Any, external_ids: Any, email_keys: Any, phone_digits: Any, most: Any
) -> Any:
    """Return the client's leads with any of these keys, locked in one order.

    Of those that share an email or a phone, it returns `most`, the ones updated last.
    """
    ids = (
        _found_by(among(Lead.external_id, external_ids), client_id, Lead.id)
        | _latest_ids(Lead.email_key, email_keys, client_id, most)
        | _latest_ids(Lead.phone_digits, phone_digits, client_id, most)
    )
    return locking(_found_by(Lead.id.in_(ids), client_id).order_by(Lead.id))


def find(client_id: str, lead_id: str) -> Lead:
    """Return the client's lead with an id; raises LeadNotFound."""
    lead: Lead | None = lead_by_id.first(client_id=client_id, lead_id=lead_id)
    if lead is None:
        raise LeadNotFound(f"id {lead_id}")
    return lead


def find_all(client_id: str, ids: list[str]) -> dict[str, Lead]:
    """Return the client's leads with any of the ids, by id."""
    if not ids:
        return {}
    return {lead.id: lead for lead in leads_by_id(client_id=client_id, ids=ids)}


def find_named(client_id: str, bookings: list[dict[str, Any]]) -> list[Lead | None]:
    """Return the lead that each booking names: by its `lead_id` if given, else by `lead_email`.

    An email names, in any case, the lead that was updated last of those that have it.
    """
    ids, email_keys = set(), set()
    for booking in bookings:
        if booking.get("lead_id"):
            ids.add(booking["lead_id"])
        elif booking.get("lead_email"):
            email_keys.add(booking["lead_email"].lower())
    found = find_all(client_id, sorted(ids))
    if email_keys:
        for lead in latest_leads_by_email(client_id=client_id, email_keys=sorted(email_keys)):
            found[lead.email_key] = lead
    named = []
    for booking in bookings:
        name = booking.get("lead_id") or (booking.get("lead_email") or "").lower()
        named.append(found.get(name))
    return named


def email_key(booking: dict[str, Any]) -> str | None:
    """Return a booking's `lead_email` as emails are compared, or None."""
    email = booking.get("lead_email")
    return email.lower() if email else None


def of_booking(client_id: str, booking: dict[str, Any]) -> Lead:
    """Make the lead of a booking whose email no lead has; the caller inserts it."""
    email = booking["lead_email"]
    names = (booking.get("attendee_name") or email.partition("@")[0]).split(None, 1)
    now = utc_now()
    given = {
        "first_name": names[0],
        "last_name": names[1] if len(names) > 1 else None,
        "email": email,
        "phone": booking.get("attendee_phone"),
        "source": booking.get("external_calendar_provider"),
    }
    return _with_given(_blank(client_id, now), given)


def naming(booking: dict[str, Any]) -> str:
    """Say how a booking names its lead, for a person."""
    if booking.get("lead_id") is not None:
        return f"id {booking['lead_id']}"
    return f"email {booking['lead_email']}"


class LeadChanges(ChangeSet):
    """The changes of leads in a transaction, and the emails that leads get by them."""

    def __init__(self, client_id: str) -> None:
        super().__init__(client_id, latest_change)
        self.new: list[Lead] = []  # still to be inserted
        self.email_keys: set[str] = set()

    def created(self, lead: Lead) -> None:
        """Record that a lead was created."""
        self.record(lead.id, "lead_created", "Lead created", lead.created_at, lead=lead)
        self.email_keys.update(filter(None, [lead.email_key]))

    def store(self) -> None:
        """Store the changes so far."""
        insert([self.rows.pop(lead.id, lead) for lead in self.new])
        update_rows([*self.rows.values()])
        insert_activities(self)
        self.new, self.rows, self.activities = [], {}, []

    def release_waiting(self) -> None:
        """Process the receipts again that wait for one of the emails; all changes are stored."""
        if self.email_keys:
            waiting.release(self.client_id, email_keys=sorted(self.email_keys))


def email_lock(client_id: str, email: str) -> str:
    """Return the name to lock (`db.lock_names`) for an email that may have no lead yet.

    A transaction that gives a lead the email holds a shared lock. One that depends on no lead
    having the email holds an exclusive lock. Both lock before they lock or insert any row.
    """
    return f"{client_id} email {email.lower()}"


def _locks(client_id: str, given: dict[str, Any]) -> set[str]:
    """The names to lock before a lead gets the external id and email given."""
    names = set()
    if given.get("email"):
        names.add(email_lock(client_id, given["email"]))
    if given.get("external_id"):
        names.add(f"{client_id} external_id {given['external_id']}")
    return names


def save(client_id: str, rows: list[Loaded], match: frozenset[str] | None = None) -> list[Result]:
    """Create leads, or update those that exist already, each as if it came alone.

    A lead exists already if it has the external id of a row, or else the email or phone, if
    `match` contains `email` or `phone`. The result of a row is the lead, or the error that refused
    it. A transaction stores up to 500 rows: a process killed half-way leaves whole leads, and the
    same rows sent again complete them.
    """
    results: list[Result] = []
    for part in in_turns(rows, LARGEST_GROUP):
        if match:
            results += _match_together(client_id, [MatchedRow(loaded, match) for loaded in part])
        else:
            results += _save_together(client_id, part)
    return results


@transaction
def _save(client_id: str, rows: list[Loaded]) -> list[Result]:
    """Insert all rows that are new, lock those that exist, then decide row by row."""
    if names := set().union(*(_locks(client_id, loaded.valid) for loaded in rows)):
        db.lock_names(names, shared=True)
    changes = LeadChanges(client_id)
    if any(loaded.valid.get("external_id") for loaded in rows):
        _ = changes.latest  # is read before new rows count as the latest
    candidates = [_new_lead(client_id, loaded) for loaded in rows]
    stored = _insert_or_lock(client_id, [row for row in candidates if isinstance(row, Lead)])
    results = [
        candidate
        if isinstance(candidate, InvalidRequest)
        else _save_row(loaded, candidate, stored, changes)
        for loaded, candidate in zip(rows, candidates, strict=True)
    ]
    changes.store()
    changes.release_waiting()
    return results


_save_together: GroupCommit[Loaded, Result] = GroupCommit(_save)


def _insert_or_lock(client_id: str, candidates: list[Lead]) -> dict[str, Lead]:
    """Insert the leads whose external id is free; returns the stored lead of each key.

    The unique index decides. Rows are inserted, then others locked, in one order everywhere, so
    that concurrent arrays wait for each other instead of deadlocking.
    """
    stored: dict[str, Lead] = {}
    for lead in candidates:
        stored.setdefault(_key(lead), lead)
    new = sorted(stored.values(), key=lambda lead: lead.external_id or "")
    for _ in range(TRIES):
        if insert_unless_taken(new) == len(new):
            return stored
        external_ids = [lead.external_id for lead in new if lead.external_id]
        found = leads_by_external_id_locked(client_id=client_id, external_ids=external_ids)
        owners = {str(lead.external_id): lead for lead in found}
        for external_id, owner in owners.items():
            if owner.id != stored[external_id].id:  # else it was inserted just now
                stored[external_id] = owner
        # An owner is missing if another transaction has just given it another external id.
        new = [lead for lead in new if lead.external_id and lead.external_id not in owners]
        if not new:
            return stored
    for lead in new:
        del stored[_key(lead)]
    return stored


def _key(lead: Lead) -> str:
    """The key that rows for the same lead share."""
    return str(lead.external_id or lead.id)


def _save_row(
    loaded: Loaded, candidate: Lead, stored: dict[str, Lead], changes: LeadChanges
) -> Result:
    """Decide whether a row is a new lead or an update of the stored one."""
    key = _key(candidate)
    lead = stored.get(key)
    if lead is None:
        return Unavailable("The lead was being changed by another request. Please try again.")
    if lead is candidate:
        changes.created(lead)
        return RowResult(lead, "created")
    try:
        result = _change(lead, loaded.valid, changes, candidate.created_at)
    except InvalidRequest as error:
        return error
    stored[key] = result.row
    return result


class MatchedRow(NamedTuple):
    """A row to save, and the fields besides `external_id` by which it finds an existing lead."""

    loaded: Loaded
    match: frozenset[str]

    def keys(self, candidate: Lead) -> list[Key]:
        """The keys that find the row's lead, given the lead that it becomes if there is none."""
        fields = {"external_id", *self.match}
        return [key for key in _keys(candidate) if KEYS[key[0]] in fields]


def _keys(lead: Lead) -> list[Key]:
    return [(name, lead.__data__[name]) for name in KEYS if lead.__data__[name] is not None]


@transaction
def _match(client_id: str, rows: list[MatchedRow]) -> list[Result]:
    """Lock all names and leads that rows may match, then decide row by row.

    The names are locked because a lead that does not exist yet cannot be. So of many concurrent
    calls for one email, one creates the lead.
    """
    candidates = [_new_lead(client_id, row.loaded) for row in rows]
    wanted = defaultdict(set)
    names: set[str] = set()
    for row, candidate in zip(rows, candidates, strict=True):
        if isinstance(candidate, Lead):
            names |= _locks(client_id, row.loaded.valid)
            for name, value in row.keys(candidate):
                wanted[name].add(value)
    names |= {f"{client_id} phone {digits}" for digits in wanted["phone_digits"]}
    if names:
        db.lock_names(names)
    changes = LeadChanges(client_id)
    _ = changes.latest  # is read before new rows count as the latest
    known = KnownLeads(_find_wanted(client_id, wanted, len(rows)))
    results = [
        candidate
        if isinstance(candidate, InvalidRequest)
        else _match_row(row, candidate, known, changes)
        for row, candidate in zip(rows, candidates, strict=True)
    ]
    changes.store()
    changes.release_waiting()
    return results


_match_together: GroupCommit[MatchedRow, Result] = GroupCommit(_match)


def _find_wanted(client_id: str, wanted: dict[str, set[str]], most: int) -> list[Lead]:
    """Return the leads that have any of the keys wanted, locked.

    Of leads with the same key, as many as there are rows suffice: a row takes the key from at most
    one of them.
    """
    if not any(wanted.values()):
        return []
    external_ids, email_keys, phone_digits = (sorted(wanted[name]) for name in KEYS)
    found: list[Lead] = []
    for _ in range(TRIES):
        found = leads_by_keys_locked(
            client_id=client_id,
            external_ids=external_ids,
            email_keys=email_keys,
            phone_digits=phone_digits,
            most=most,
        )
        # A lead has lost its key if another transaction changed it before it could be locked. Then
        # a lead that was updated earlier may have the key.
        if all(any(value in wanted[name] for name, value in _keys(lead)) for lead in found):
            break
    return found


class KnownLeads:
    """The leads that the rows of a transaction may match, as they are after the rows so far."""

    def __init__(self, leads: list[Lead]) -> None:
        self._by_key: dict[Key, dict[str, Lead]] = defaultdict(dict)
        for lead in leads:
            self.add(lead)

    def add(self, lead: Lead) -> None:
        """Add a lead under its keys."""
        for key in _keys(lead):
            self._by_key[key][lead.id] = lead

    def replace(self, lead: Lead, after: Lead) -> None:
        """Put a changed lead in the place of the lead as it was before."""
        for key in _keys(lead):
            del self._by_key[key][lead.id]
        self.add(after)

    def find(self, keys: list[Key]) -> Lead | None:
        """Return the lead that the first key names that names any: the one updated last."""
        for key in keys:
            if leads := self._by_key[key].values():
                return max(leads, key=lambda lead: (lead.updated_at, lead.created_at, lead.id))
        return None


def _match_row(row: MatchedRow, candidate: Lead, known: KnownLeads, changes: LeadChanges) -> Result:
    """Decide whether a row updates the lead that it matches, or creates one."""
    lead = known.find(row.keys(candidate))
    if lead is None:
        known.add(candidate)
        changes.new.append(candidate)
        changes.created(candidate)
        return RowResult(candidate, "created")
    try:
        result = _change(lead, row.loaded.valid, changes, candidate.created_at)
    except InvalidRequest as error:
        return error
    known.replace(lead, result.row)
    if result.row.external_id != lead.external_id:
        changes.store()  # a later row may give another lead the external id that is free now
    return result


def _new_lead(client_id: str, loaded: Loaded) -> Lead | InvalidRequest:
    """Make the lead that a row becomes unless its external id is taken."""
    if loaded.wrong:
        return InvalidRequest(loaded.wrong)
    try:
        return _with_given(_blank(client_id, utc_now()), loaded.valid)
    except InvalidRequest as error:
        return error


def _blank(client_id: str, at: datetime) -> Lead:
    """Make a lead that has only the defaults, created at a time."""
    own = {"id": new_id(), "client": client_id, "created_at": at, "updated_at": at}
    return Lead.of(DEFAULTS | own)


@transaction
def update(client_id: str, lead_id: str, given: dict[str, Any]) -> Lead:
    """Change the fields given; raises LeadNotFound, InvalidRequest, ExternalIdConflict."""
    if names := _locks(client_id, given):
        db.lock_names(names, shared=True)
    lead = lead_by_id_locked.first(client_id=client_id, lead_id=lead_id)
    if lead is None:
        raise LeadNotFound(f"id {lead_id}")
    changes = LeadChanges(client_id)
    changed: Lead = _change(lead, given, changes, utc_now()).row
    try:
        changes.store()
    except IntegrityError as error:
        raise ExternalIdConflict(str(changed.external_id)) from error
    changes.release_waiting()
    return changed


def list_leads(client_id: str, query: dict[str, Any]) -> tuple[list[Lead], bool]:
    """Return a page of the client's leads, latest updated first, and whether there are more."""
    limit = query["limit"]
    rows = rows_of(_page(client_id, query))
    return rows[:limit], len(rows) > limit


def stream(client_id: str, query: dict[str, Any]) -> Iterator[Lead]:
    """Yield the client's leads that pass the filters of `list_leads`, of one snapshot.

    The lead updated last comes last: imported in this order, of several leads with one email the
    same one is chosen again.
    """
    rows = _filtered(client_id, query)
    ordered = rows.order_by(Lead.updated_at, Lead.created_at, Lead.id)
    return Compiled(lambda: ordered).stream()


def _page(client_id: Any, query: dict[str, Any]) -> Any:
    limit = query["limit"]
    rows = _filtered(client_id, query).order_by(*Lead.latest_first())
    return rows.limit(limit + 1).offset(query["page"] * limit)


def _filtered(client_id: Any, query: dict[str, Any]) -> Any:
    of_client = Lead.client == client_id
    is_exact = not EXACT.isdisjoint(query)
    select = Lead.select().where(checked(of_client) if is_exact else of_client)
    if "email" in query:
        select = select.where(Lead.email_key == query["email"].lower())
    if "search" in query:
        select = select.where(_matches(query["search"]))
    if "external_id" in query:
        select = select.where(Lead.external_id == query["external_id"])
    if "phone" in query:
        select = select.where(Lead.phone_digits == _digits(query["phone"]))
    return select


def _change(lead: Lead, given: dict[str, Any], changes: LeadChanges, at: datetime) -> RowResult:
    """Add what the fields given change about a stored lead to the changes."""
    after = _with_given(lead, given)
    differences = {
        field: [before, new]
        for field in DEFAULTS
        # Compared as JSON, since 1, 1.0 and True are equal in Python.
        if orjson.dumps(before := getattr(lead, field))
        != orjson.dumps(new := getattr(after, field))
    }
    if not differences:
        return RowResult(lead, "unchanged")
    after.updated_at = changes.time_of(at)
    changes.rows[after.id] = after
    if after.email_key and after.email_key != lead.email_key:
        changes.email_keys.add(after.email_key)
    changes.record(
        lead.id, "lead_updated", "Lead updated", after.updated_at, changes=differences, lead=after
    )
    return RowResult(after, "updated")


def _with_given(lead: Lead, given: dict[str, Any]) -> Lead:
    """Copy the lead with the fields given; None clears a field, metadata is merged."""
    data = lead.__data__ | {name: value for name, value in given.items() if name in DEFAULTS}
    data["source"] = data["source"] or SOURCE
    stored = {} if given.get("clear_metadata") else lead.metadata
    data["metadata"] = _merged(stored, given.get("metadata") or {})
    data["email_key"] = data["email"] and data["email"].lower()
    data["phone_digits"] = _digits(data["phone"] or "") or None
    data["search_key"] = _search_key(data)
    return Lead.of(data)


def _merged(stored: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    metadata = {key: value for key, value in (stored | given).items() if value is not None}
    if fault := metadata_fault(metadata):
        raise InvalidRequest({"metadata": [fault]})
    return metadata


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _digits(text: str) -> str:
    return "".join(str(unicodedata.decimal(sign)) for sign in text if sign.isdecimal())


def _is_phone_like(text: str) -> bool:
    return any(sign.isdecimal() for sign in text) and all(
        sign in PHONE_SIGNS or unicodedata.category(sign) in PHONE_CATEGORIES for sign in text
    )


def _search_key(lead: dict[str, Any]) -> str:
    """Fold name, email and phone of a lead into the text that is searched."""
    phone = lead["phone"] or ""
    name = " ".join(filter(None, (lead["first_name"], lead["last_name"])))
    text = FIELD_SEPARATOR.join((name, lead["email"] or "", phone))
    return _fold(text) + PHONE_DIGITS + _digits(phone)


def _matches(search: str) -> Any:
    condition = Lead.search_key.contains(_fold(search))
    if _is_phone_like(search):
        condition |= Lead.search_key.ilike(f"%{PHONE_DIGITS}%{_digits(search)}%")
    return condition
