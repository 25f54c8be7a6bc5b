"""Saving rows by email or phone: the row updates the lead that has them, or creates one."""

from collections import defaultdict
from typing import NamedTuple

from database import db, transaction
from database.group_commit import GroupCommit
from models import Lead
from services.errors import InvalidRequest
from services.lead_changes import TRIES, LeadChanges, change, names_to_lock, new_lead
from services.lead_queries import leads_by_keys_locked
from services.results import Loaded, Result, RowResult

MatchKey = tuple[str, str]  # a column and its value: ("email_key", "tony.stark@gmail.com")
# The columns by which a row finds the lead that it updates, in the order in which they are tried,
# and what callers call them.
KEYS = {"external_id": "external_id", "email_key": "email", "phone_digits": "phone"}


class MatchedRow(NamedTuple):
    """A row to save, and the fields besides `external_id` by which it finds an existing lead."""

    loaded: Loaded
    match: frozenset[str]

    def keys(self, candidate: Lead) -> list[MatchKey]:
        """The keys that find the row's lead, given the lead that it becomes if there is none."""
        fields = {"external_id", *self.match}
        return [key for key in _keys(candidate) if KEYS[key[0]] in fields]


def _keys(lead: Lead) -> list[MatchKey]:
    return [(name, lead.__data__[name]) for name in KEYS if lead.__data__[name] is not None]


@transaction
def _match(client_id: str, rows: list[MatchedRow]) -> list[Result]:
    """Lock all names and leads that rows may match, then decide row by row.

    The names are locked because a lead that does not exist yet cannot be. So of many concurrent
    calls for one email, one creates the lead.
    """
    candidates = [new_lead(client_id, row.loaded) for row in rows]
    wanted = defaultdict(set)
    names: set[str] = set()
    for row, candidate in zip(rows, candidates, strict=True):
        if isinstance(candidate, Lead):
            names |= names_to_lock(client_id, row.loaded.valid)
            for name, value in row.keys(candidate):
                wanted[name].add(value)
    names |= {f"{client_id} phone {digits}" for digits in wanted["phone_digits"]}
    if names:
        db.lock_names(names)
    changes = LeadChanges(client_id)
    changes.read_latest()
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


match_together: GroupCommit[MatchedRow, Result] = GroupCommit(_match)


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
        self._by_key: dict[MatchKey, dict[str, Lead]] = defaultdict(dict)
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

    def find(self, keys: list[MatchKey]) -> Lead | None:
        """Return the lead of the first key that names one: of several, the one updated last."""
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
        result = change(lead, row.loaded.valid, changes, candidate.created_at)
    except InvalidRequest as error:
        return error
    known.replace(lead, result.row)
    if result.row.external_id != lead.external_id:
        changes.store()  # a later row may give another lead the external id that is free now
    return result
