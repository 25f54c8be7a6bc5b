"""iCalendar exports, checked with two independent parsers, and feeds that need no key."""

import json
from datetime import UTC, datetime

import icalendar
import pytest
import vobject
from conftest import booking

import database
from services import users

PEOPLE = [{"name": 'Rhodey "War Machine", Jr.; \n', "email": "rhodey@example.com"},
          {"email": "nobody@example.com"}]  # fmt: skip


@pytest.fixture
def meeting(api, lead):
    users.create(api.client_id, "Pepper@example.com", "Pepper", "Potts")
    database.release()
    body = booking(
        host_email="pepper@example.com",
        title="Discovery; with, a \\ back\nslash and é😀",
        additional_attendees=PEOPLE,
        location_details="200 Park Avenue",
    )
    return api.post("/meetings", json=body).json["meeting"]


def read(answer):
    """Return the events; both parsers must read them the same way."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/calendar; charset=utf-8"
    calendar = icalendar.Calendar.from_ical(answer.data)
    assert calendar["version"] == "2.0"
    assert not calendar.get_missing_tzids()
    assert all(len(line) <= 75 for line in answer.data.split(b"\r\n"))
    events = calendar.walk("VEVENT")
    # vobject caches time zones across calendars; clear them to parse this one by its own VTIMEZONE.
    vars(vobject.icalendar)["__tzidMap"].clear()
    parsed_by_vobject = getattr(vobject.readOne(answer.data.decode()), "vevent_list", [])
    assert [(e["uid"], e["dtstart"].dt.astimezone(UTC), e["dtend"].dt.astimezone(UTC), e["summary"])
            for e in events] == [
        (o.uid.value, o.dtstart.value.astimezone(UTC), o.dtend.value.astimezone(UTC),
         o.summary.value) for o in parsed_by_vobject
    ]  # fmt: skip
    return events


def test_a_meeting_is_exported_with_its_times_place_and_people(api, meeting):
    [event] = read(api.get(f"/meetings/{meeting['id']}.ics"))

    assert event["uid"].startswith(meeting["id"])
    assert event["sequence"] == 0
    assert event["dtstart"].params["TZID"] == "America/Santiago"
    assert event["dtstart"].dt.replace(tzinfo=None) == datetime(2025, 12, 29, 14)
    assert event["dtstart"].dt.astimezone(UTC) == datetime(2025, 12, 29, 17, tzinfo=UTC)
    assert event["summary"] == meeting["title"]
    assert event["status"] == "CONFIRMED"
    assert event["location"] == "200 Park Avenue"
    assert event["url"] == meeting["meeting_url"]
    assert event["organizer"] == "mailto:Pepper@example.com"
    assert event["organizer"].params["CN"] == "Pepper Potts"
    tony, rhodey, nobody = event["attendee"]
    assert (tony, tony.params["CN"]) == ("mailto:Tony.Stark@gmail.com", "Tony Stark")
    assert tony.params["PARTSTAT"] == "ACCEPTED"
    assert rhodey.params["CN"] == PEOPLE[0]["name"].strip()
    assert "CN" not in nobody.params


def test_an_event_keeps_its_uid_and_its_sequence_counts_reschedules(api, meeting):
    path = f"/meetings/{meeting['id']}"
    [before] = read(api.get(f"{path}.ics"))
    for day in (1, 2):
        api.post(f"{path}/reschedule", json={"starts_at": f"2026-07-0{day}T10:00"})
    [moved] = read(api.get(f"{path}.ics"))
    api.post(f"{path}/cancel")
    [cancelled] = read(api.get(f"{path}.ics"))

    assert before["uid"] == moved["uid"] == cancelled["uid"]
    assert [e["sequence"] for e in (before, moved, cancelled)] == [0, 2, 2]
    assert [e["status"] for e in (before, moved, cancelled)] == [
        "CONFIRMED",
        "TENTATIVE",
        "CANCELLED",
    ]
    assert moved["dtstart"].dt.astimezone(UTC) == datetime(2026, 7, 2, 14, tzinfo=UTC)


@pytest.mark.parametrize(
    ("timezone", "starts_at", "instant"),
    [
        ("UTC", "2026-01-01T10:00", datetime(2026, 1, 1, 10, tzinfo=UTC)),
        ("Atlantic/Reykjavik", "2026-01-01T10:00", datetime(2026, 1, 1, 10, tzinfo=UTC)),
        ("Europe/Berlin", "2026-07-01T10:00", datetime(2026, 7, 1, 8, tzinfo=UTC)),
        ("Australia/Lord_Howe", "2026-01-01T10:00", datetime(2025, 12, 31, 23, tzinfo=UTC)),
        ("Asia/Kathmandu", "2026-01-01T10:00", datetime(2026, 1, 1, 4, 15, tzinfo=UTC)),
        ("America/New_York", "2150-07-01T10:00", datetime(2150, 7, 1, 14, tzinfo=UTC)),
        # the second of two equal wall-clock times, which a TZID cannot express
        ("America/Santiago", "2026-04-05T03:30Z", datetime(2026, 4, 5, 3, 30, tzinfo=UTC)),
    ],
)
def test_the_instant_is_preserved_in_any_zone(api, lead, timezone, starts_at, instant):
    meeting = api.post(
        "/meetings",
        json=booking(timezone=timezone, starts_at=starts_at, ends_at=..., duration_minutes=45),
    ).json["meeting"]

    [event] = read(api.get(f"/meetings/{meeting['id']}.ics"))

    assert event["dtstart"].dt.astimezone(UTC) == instant
    if timezone != "UTC" and instant.month != 4:
        assert event["dtstart"].params["TZID"] == timezone


def test_a_calendar_can_be_limited_to_a_lead_or_a_host(api, lead, meeting):
    other = api.new_lead(email="other@example.com")
    api.post("/meetings", json=booking(lead_id=other["id"], external_event_id="2", timezone="UTC"))

    def titles(path):
        return {event["summary"] for event in read(api.get(path))}

    of_tony, of_other = meeting["title"], booking()["title"]
    assert titles(f"/leads/{lead['id']}/meetings.ics") == {of_tony}
    assert titles(f"/leads/{other['id']}/meetings.ics") == {of_other}
    assert titles("/meetings.ics?host_email=PEPPER@example.com") == {of_tony}
    assert titles("/meetings.ics?host_email=nobody@example.com") == set()
    assert titles("/meetings.ics") == {of_tony, of_other}


def test_another_clients_calendars_are_not_found(api, lead, meeting, stranger):
    assert stranger.get(f"/meetings/{meeting['id']}.ics").json["code"] == "meeting_not_found"
    assert stranger.get(f"/leads/{lead['id']}/meetings.ics").json["code"] == "lead_not_found"
    assert read(stranger.get("/meetings.ics")) == []


class TestFeeds:
    @pytest.fixture
    def run(self, app):
        def run(*arguments, fails=False):
            result = app.test_cli_runner().invoke(args=["feeds", *arguments, "--json"])
            assert result.exit_code == (2 if fails else 0), result.output
            return result.output if fails else json.loads(result.output)

        return run

    def get(self, api, feed, **options):
        return api.http.get(feed["url"].removeprefix("http://127.0.0.1:8000"), **options)

    def test_a_feed_needs_no_key(self, api, lead, meeting, run):
        other = api.new_lead(email="other@example.com")
        api.post("/meetings", json=booking(lead_id=other["id"], external_event_id="2"))

        everything = run("create", api.client_id)
        of_host = run("create", api.client_id, "--host", "pepper@EXAMPLE.com")
        of_lead = run("create", api.client_id, "--lead", other["id"].upper())

        of_tony, of_other = meeting["title"], booking()["title"]
        titles = [{e["summary"] for e in read(self.get(api, feed))}
                  for feed in (everything, of_host, of_lead)]  # fmt: skip
        assert titles == [{of_tony, of_other}, {of_tony}, {of_other}]

    def test_a_revoked_feed_is_not_found_just_like_an_unknown_one(self, api, run):
        feed = run("create", api.client_id)
        assert run("revoke", feed["id"])["revoked"]

        for address in (feed, {"url": "/feeds/unknown.ics"}, {"url": "/feeds/%00.ics"}):
            answer = self.get(api, address)
            assert (answer.status_code, answer.json["code"]) == (404, "not_found")
        [listed] = run("list", api.client_id)
        assert listed == {key: feed[key] for key in feed if key not in ("url", "revoked",
            "revoked_at")} | {"revoked": True, "revoked_at": listed["revoked_at"]}  # fmt: skip

    def test_the_token_of_a_feed_is_neither_stored_nor_logged(self, api, run, caplog):
        caplog.set_level("INFO", logger="meetings")
        feed = run("create", api.client_id)
        token = feed["url"].rsplit("/", 1)[1].removesuffix(".ics")

        self.get(api, feed)
        stored = database.db.execute_sql("SELECT * FROM feeds").fetchall()
        database.release()

        assert len(token) >= 43
        assert token not in str(stored)
        assert token not in caplog.text
        assert "path=/feeds/*" in caplog.text
        assert token not in json.dumps(run("list", api.client_id))

    def test_an_invalid_argument_is_named_in_the_error(self, api, lead, stranger, run):
        users.create(api.client_id, "host@example.com", "A", "B")
        database.release()
        assert "both" in run(
            "create", api.client_id, "--host", "host@example.com", "--lead", lead["id"], fails=True
        )
        assert "nobody" in run("create", api.client_id, "--host", "nobody@x.co", fails=True)
        assert lead["id"] in run("create", stranger.client_id, "--lead", lead["id"], fails=True)
        assert "UUID" in run("create", api.client_id, "--lead", "5", fails=True)
        assert "no feed" in run("revoke", lead["id"], fails=True)

    def test_a_feed_refuses_parameters_and_other_methods_than_get(self, api, run):
        feed = run("create", api.client_id)

        assert self.get(api, feed, query_string={"x": 1}).status_code == 400
        path = feed["url"].removeprefix("http://127.0.0.1:8000")
        assert api.http.post(path).status_code == 405
