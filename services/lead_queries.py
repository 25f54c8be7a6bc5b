"""The queries that find leads, and the text by which leads are searched."""

import unicodedata
from typing import Any

from peewee import Select, fn

from database.queries import among, checked, compiled, locking
from models import Lead

EXACT = {"email", "external_id", "phone"}  # parameters of the list that leave few leads
FIELD_SEPARATOR, PHONE_DIGITS = "\x1f", "\x1e"  # text fields refuse these characters
# What may stand between the digits of a phone number: spaces, dashes, brackets and these signs.
PHONE_CATEGORIES, PHONE_SIGNS = {"Nd", "Zs", "Pd", "Ps", "Pe"}, "+./,*#"


def _found_by(condition: Any, client_id: Any, *columns: Any) -> Any:
    """Select the client's leads that meet a condition on columns other than the client."""
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


def page(client_id: Any, query: dict[str, Any]) -> Any:
    """Select a page of the list, and one lead more, which tells whether another page follows."""
    limit = query["limit"]
    rows = filtered(client_id, query).order_by(*Lead.latest_first())
    return rows.limit(limit + 1).offset(query["page"] * limit)


def filtered(client_id: Any, query: dict[str, Any]) -> Any:
    """Select the client's leads that pass the filters of the list."""
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
        select = select.where(Lead.phone_digits == digits_of(query["phone"]))
    return select


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def digits_of(text: str) -> str:
    """Return the digits of a phone number in any script as ASCII digits."""
    return "".join(str(unicodedata.decimal(sign)) for sign in text if sign.isdecimal())


def _is_phone_like(text: str) -> bool:
    return any(sign.isdecimal() for sign in text) and all(
        sign in PHONE_SIGNS or unicodedata.category(sign) in PHONE_CATEGORIES for sign in text
    )


def search_key(lead: dict[str, Any]) -> str:
    """Fold name, email and phone of a lead into the text that is searched."""
    phone = lead["phone"] or ""
    name = " ".join(filter(None, (lead["first_name"], lead["last_name"])))
    text = FIELD_SEPARATOR.join((name, lead["email"] or "", phone))
    return _fold(text) + PHONE_DIGITS + digits_of(phone)


def _matches(search: str) -> Any:
    condition = Lead.search_key.contains(_fold(search))
    if _is_phone_like(search):
        condition |= Lead.search_key.ilike(f"%{PHONE_DIGITS}%{digits_of(search)}%")
    return condition
