"""The floor: the same calls with as little Python as possible, as a baseline for the service.

It is a bare WSGI callable behind gunicorn's stock sync workers. It uses the driver directly, with
hand-written SQL, hand-written checks and small tables. It logs meetings, handles replays and lists
a lead's meetings, and does nothing else. Its bodies, responses, look-ups and durable commits are
those of the service.
"""

import hashlib
import json
import os
import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg

PREFIX = "/api/public"
STATUS = {200: "200 OK", 201: "201 Created", 400: "400 Bad Request", 401: "401 Unauthorized",
          404: "404 Not Found", 409: "409 Conflict"}  # fmt: skip
TITLES = {400: "validation_error", 401: "invalid_api_key", 404: "not_found", 409: "conflict"}
EMAIL = re.compile(r"[^@\s]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+").fullmatch

# The keys of a meeting in the response to a booking, in order, and those that a list adds.
SHOWN = (
    "id", "lead_id", "title", "starts_at", "ends_at", "duration_minutes", "timezone", "status",
    "meeting_url", "location_type", "location_details", "host_name", "meeting_type",
    "attendee_name", "attendee_email", "external_calendar_provider", "external_event_id", "source",
    "created_at",
)  # fmt: skip
SHOWN_IN_LISTS = (
    "confirmed_by_lead", "cancelled_at", "cancellation_reason", "no_show_reason", "outcome_at",
    "outcome_notes", "updated_at", "host", "description", "attendee_phone", "additional_attendees",
    "meeting_type_id", "reschedules",
)  # fmt: skip
TIMES = {"starts_at", "ends_at", "created_at", "updated_at"}  # stored as seconds since 1970

COLUMNS = (
    "id", "client_id", "lead_id", "title", "starts_at", "ends_at", "timezone", "status",
    "confirmed_by_lead", "meeting_url", "location_type", "location_details", "description",
    "attendee_name", "attendee_email", "attendee_phone", "external_calendar_provider",
    "external_event_id", "created_at", "updated_at",
)  # fmt: skip
FIXED = {"id", "client_id", "lead_id", "external_calendar_provider", "external_event_id",
         "created_at"}  # fmt: skip
NUMBERS = {"starts_at", "ends_at", "confirmed_by_lead", "created_at", "updated_at"}

TABLES = f"""
CREATE TABLE api_keys (hash TEXT PRIMARY KEY, client_id TEXT NOT NULL);
CREATE TABLE leads (id TEXT PRIMARY KEY, client_id TEXT NOT NULL, email TEXT NOT NULL,
    name TEXT NOT NULL, phone TEXT);
CREATE INDEX leads_email ON leads (client_id, email);
CREATE TABLE meetings (
    {", ".join(f"{name} {'BIGINT' if name in NUMBERS else 'TEXT'}" for name in COLUMNS)},
    PRIMARY KEY (id), UNIQUE (client_id, external_calendar_provider, external_event_id));
CREATE INDEX meetings_lead ON meetings (lead_id, starts_at);
CREATE TABLE timeline (id TEXT PRIMARY KEY, lead_id TEXT NOT NULL, meeting_id TEXT NOT NULL,
    title TEXT NOT NULL, created_at BIGINT NOT NULL);
CREATE INDEX timeline_lead ON timeline (lead_id, created_at);
"""
FIND_CLIENT = "SELECT client_id FROM api_keys WHERE hash = %s"
FIND_LEAD = "SELECT id, email, name, phone FROM leads WHERE client_id = %s AND email = %s"
CHANGED = [name for name in COLUMNS if name not in FIXED]
STORE = (
    f"INSERT INTO meetings ({', '.join(COLUMNS)}) VALUES ({', '.join(['%s'] * len(COLUMNS))})"
    " ON CONFLICT (client_id, external_calendar_provider, external_event_id) DO NOTHING"
)
FIND_MEETING = (
    f"SELECT {', '.join(COLUMNS)} FROM meetings WHERE client_id = %s"
    " AND external_calendar_provider = %s AND external_event_id = %s"
)
# For a replay that differs; an identical one writes nothing.
UPDATE = f"UPDATE meetings SET {', '.join(f'{name} = %s' for name in CHANGED)} WHERE id = %s"
INSERT_ACTIVITY = "INSERT INTO timeline VALUES (%s, %s, %s, %s, %s)"
LIST = (
    f"SELECT {', '.join(COLUMNS)} FROM meetings WHERE lead_id = %s AND client_id = %s"
    " ORDER BY starts_at DESC LIMIT %s"
)

Answer = tuple[int, dict[str, Any]]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class Refused(Exception):
    """A refused request: its status, and the wrong field, header or path."""


class Database:
    """One persistent connection, which takes SQL with %s placeholders on both databases."""

    def __init__(self, url: str) -> None:
        self.is_sqlite = url.startswith("sqlite:///")
        self.begin = "BEGIN IMMEDIATE" if self.is_sqlite else "BEGIN"
        self.connection: Any
        if self.is_sqlite:
            path = url.removeprefix("sqlite:///")
            self.connection = sqlite3.connect(path, timeout=30, isolation_level=None)
            self.connection.execute("PRAGMA journal_mode = wal")
            self.connection.execute("PRAGMA synchronous = full")
        else:
            self.connection = psycopg.connect(url, autocommit=True, prepare_threshold=0)

    def run(self, sql: str, values: Iterable[Any] = ()) -> Any:
        """Run a statement; returns the cursor."""
        return self.connection.execute(_spelled(sql, self.is_sqlite), tuple(values))


@cache
def _spelled(sql: str, is_sqlite: bool) -> str:
    return sql.replace("%s", "?") if is_sqlite else sql


def create(url: str, key: str, emails: list[str]) -> None:
    """Create the tables, a client with the key, and its leads."""
    database, client_id = Database(url), new_id()
    for statement in TABLES.split(";"):
        if statement.strip():
            database.run(statement)
    database.run(database.begin)
    database.run("INSERT INTO api_keys VALUES (%s, %s)", (hash_key(key), client_id))
    for email in emails:
        lead = (new_id(), client_id, email, "Tony Stark", None)
        database.run("INSERT INTO leads VALUES (%s, %s, %s, %s, %s)", lead)
    database.run("COMMIT")
    database.connection.close()


def new_id() -> str:
    """Return a new UUID of version 7."""
    head = time.time_ns() // 1_000_000 << 80
    return str(
        UUID(int=head | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62))
    )


def hash_key(key: str) -> str:
    """Return the hash under which a key is stored."""
    return hashlib.sha256(key.encode()).hexdigest()


zone = cache(ZoneInfo)


def check_text(body: dict[str, Any], name: str, limit: int, required: bool = False) -> str | None:
    """Return a text of the body, of at most `limit` characters; raises Refused."""
    value = body.get(name)
    if (value is None and required) or (
        value is not None and (not isinstance(value, str) or not 0 < len(value) <= limit)
    ):
        raise Refused(400, name)
    return value


def check_email(body: dict[str, Any], name: str, required: bool = False) -> str | None:
    """Return an email of the body; raises Refused."""
    value = check_text(body, name, 254, required)
    if value is not None and not EMAIL(value):
        raise Refused(400, name)
    return value


def check_instant(body: dict[str, Any], name: str, timezone: str) -> int:
    """Return a time of the body in seconds since 1970, read in the zone if it has no offset."""
    try:
        value = datetime.fromisoformat(check_text(body, name, 40, required=True) or "")
        value = value if value.tzinfo else value.replace(tzinfo=zone(timezone))
    except (ValueError, KeyError, OSError) as error:
        raise Refused(400, f"{name} or timezone") from error
    return int(value.timestamp())


def check_choice(body: dict[str, Any], name: str, choices: tuple[str, ...]) -> str:
    """Return one of the choices, by default the first; raises Refused."""
    value = body.get(name) or choices[0]
    if value not in choices:
        raise Refused(400, name)
    return str(value)


def check_booking(raw: bytes) -> dict[str, Any]:
    """Return the columns of a valid booking, and its `lead_email`; raises Refused."""
    try:
        body = json.loads(raw)
    except ValueError as error:
        raise Refused(400, "body") from error
    if not isinstance(body, dict):
        raise Refused(400, "body")
    timezone = check_text(body, "timezone", 64) or "UTC"
    starts_at = check_instant(body, "starts_at", timezone)
    ends_at = check_instant(body, "ends_at", timezone)
    if not 60 <= ends_at - starts_at <= timedelta(days=31).total_seconds():
        raise Refused(400, "ends_at")
    status = check_choice(body, "status", ("scheduled", "confirmed"))
    return {
        "lead_email": check_email(body, "lead_email", required=True),
        "title": check_text(body, "title", 255, required=True),
        "starts_at": starts_at,
        "ends_at": ends_at,
        "timezone": timezone,
        "status": "scheduled",
        "confirmed_by_lead": int(status == "confirmed"),
        "meeting_url": check_text(body, "meeting_url", 2048),
        "location_type": check_choice(body, "location_type", ("video", "phone", "in_person")),
        "location_details": check_text(body, "location_details", 255),
        "description": check_text(body, "description", 10_000),
        "attendee_name": check_text(body, "attendee_name", 255),
        "attendee_email": check_email(body, "attendee_email"),
        "attendee_phone": check_text(body, "attendee_phone", 50),
        "external_calendar_provider": check_text(body, "external_calendar_provider", 64, True),
        "external_event_id": check_text(body, "external_event_id", 255, True),
    }


def log(database: Database, client_id: str, raw: bytes) -> Answer:
    """Create the meeting of a booking, or update it if the booking is a replay."""
    booking = check_booking(raw)
    lead = database.run(FIND_LEAD, (client_id, booking["lead_email"].lower())).fetchone()
    if lead is None:
        raise Refused(404, "lead_email")
    now = int(time.time())
    meeting = booking | {
        "id": new_id(),
        "client_id": client_id,
        "lead_id": lead[0],
        "attendee_name": booking["attendee_name"] or lead[2],
        "attendee_email": booking["attendee_email"] or lead[1],
        "attendee_phone": booking["attendee_phone"] or lead[3],
        "created_at": now,
        "updated_at": now,
    }
    database.run(database.begin)
    try:
        created = database.run(STORE, [meeting[name] for name in COLUMNS]).rowcount == 1
        if created:
            add_activity(database, meeting, f"Meeting scheduled: {meeting['title']}")
        else:
            meeting = replay(database, meeting)
        database.run("COMMIT")
    except BaseException:
        database.run("ROLLBACK")
        raise
    return (201 if created else 200), {"success": True, "meeting": show(meeting)}


def replay(database: Database, sent: dict[str, Any]) -> dict[str, Any]:
    """Update the stored meeting if the replay differs from it; returns the meeting."""
    pair = (sent["client_id"], sent["external_calendar_provider"], sent["external_event_id"])
    stored = dict(zip(COLUMNS, database.run(FIND_MEETING, pair).fetchone(), strict=True))
    if stored["lead_id"] != sent["lead_id"]:
        raise Refused(409, "external_event_id")
    after = stored | {name: sent[name] for name in CHANGED}
    if after | {"updated_at": stored["updated_at"]} == stored:
        return stored
    database.run(UPDATE, [*(after[name] for name in CHANGED), after["id"]])
    add_activity(database, after, f"Meeting updated: {after['title']}")
    return after


def add_activity(database: Database, meeting: dict[str, Any], title: str) -> None:
    """Add an entry to the lead's timeline."""
    activity = (new_id(), meeting["lead_id"], meeting["id"], title, meeting["updated_at"])
    database.run(INSERT_ACTIVITY, activity)


def list_meetings(database: Database, client_id: str, lead_id: str, limit: int) -> Answer:
    """Return a lead's meetings, latest start first."""
    rows = database.run(LIST, (lead_id, client_id, limit + 1)).fetchall()
    meetings = [dict(zip(COLUMNS, row, strict=True)) for row in rows[:limit]]
    pagination = {"limit": limit, "has_more": len(rows) > limit, "next_cursor": None}
    shown = [show(meeting, SHOWN + SHOWN_IN_LISTS) for meeting in meetings]
    return 200, {"success": True, "meetings": shown, "pagination": pagination}


def show(meeting: dict[str, Any], names: tuple[str, ...] = SHOWN) -> dict[str, Any]:
    """Return a meeting as responses show it."""
    seen = meeting | {name: iso(meeting[name]) for name in TIMES}
    seen["duration_minutes"] = (meeting["ends_at"] - meeting["starts_at"]) // 60
    seen["confirmed_by_lead"] = bool(meeting["confirmed_by_lead"])
    seen["source"] = "api"
    seen["additional_attendees"] = seen["reschedules"] = []
    if seen["confirmed_by_lead"] and seen["status"] == "scheduled":
        seen["status"] = "confirmed"
    return {name: seen.get(name) for name in names}


def iso(seconds: int) -> str:
    """Format an instant as responses show it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def answer(database: Database, environ: dict[str, Any]) -> Answer:
    """Handle one request; raises Refused."""
    client = database.run(FIND_CLIENT, (hash_key(environ.get("HTTP_X_API_KEY", "")),)).fetchone()
    if client is None:
        raise Refused(401, "X-API-Key")
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if (method, path) == ("POST", f"{PREFIX}/meetings"):
        length = int(environ.get("CONTENT_LENGTH") or 0)
        return log(database, client[0], environ["wsgi.input"].read(length))
    called = re.fullmatch(rf"{PREFIX}/leads/([0-9a-f-]{{36}})/meetings", path)
    limited = re.fullmatch(r"limit=(\d{1,3})", environ.get("QUERY_STRING", ""))
    if method != "GET" or called is None or limited is None:
        raise Refused(404, "path")
    return list_meetings(database, client[0], called[1], int(limited[1]))


def create_app() -> Callable[[dict[str, Any], StartResponse], list[bytes]]:
    """Return the WSGI application; each process connects to DATABASE_URL at its first request."""
    url = os.environ["DATABASE_URL"]
    kept: list[Database] = []

    def app(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
        if not kept:
            kept.append(Database(url))
        try:
            status, body = answer(kept[0], environ)
        except Refused as refused:
            status, message = refused.args
            body = {"success": False, "message": message, "code": TITLES[status]}
        data = json.dumps(body).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
        start_response(STATUS[status], headers)
        return [data]

    return app
