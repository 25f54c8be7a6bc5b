"""Notes about meetings: which meeting a note is about, sending it again, listing notes."""

import json
from urllib.parse import urlencode

import pytest
from conftest import booking
from freezegun import freeze_time
from server import Server

from services import notes

UNKNOWN_ID = "0198c0de-0000-7000-8000-000000000000"
NOTE_KEYS = [
    "id",
    "meeting_id",
    "lead_id",
    "provider",
    "external_meeting_id",
    "notes",
    "summary",
    "manual_ai_summary",
    "transcript_text",
    "action_items",
    "matched_by",
    "created_at",
    "updated_at",
]
CONTENTS = {
    "notes": "n",
    "transcript_text": "t",
    "summary": "s",
    "manual_ai_summary": "m",
    "action_items": ["a", "b"],
}
EVENT = {
    "external_calendar_provider": "ghl",
    "external_calendar_event_id": "1RZJ24WY65VGQFyhN0vJ",
}
URL = "https://meet.google.com/oki-fjnk-oyu"


@pytest.fixture
def meeting(api, lead):
    return api.post("/meetings", json=booking()).json["meeting"]


def log(api, starts_at, **changes):
    body = booking(
        starts_at=starts_at, ends_at=..., duration_minutes=30, external_event_id=..., timezone="UTC"
    )
    return api.post("/meetings", json=body | changes).json["meeting"]


def send(api, **fields):
    return api.post("/meeting-notes", json={"notes": "n"} | fields)


def stored(api, meeting):
    return api.get(f"/meetings/{meeting['id']}/notes").json["notes"]


def test_a_new_note_is_returned_with_every_field(api, lead, meeting):
    with freeze_time("2026-04-15T12:00:00.9Z"):
        answer = send(
            api, **EVENT, **CONTENTS, provider="fathom-2", external_meeting_id="x",
        )  # fmt: skip

    assert answer.status_code == 201, answer.json
    assert list(answer.json) == ["success", "note"]
    note = answer.json["note"]
    assert list(note) == NOTE_KEYS
    assert note == CONTENTS | {
        "id": note["id"],
        "meeting_id": meeting["id"],
        "lead_id": lead["id"],
        "provider": "fathom-2",
        "external_meeting_id": "x",
        "matched_by": "external_calendar_event_id",
        "created_at": "2026-04-15T12:00:00Z",
        "updated_at": "2026-04-15T12:00:00Z",
    }
    assert stored(api, meeting) == [note]


def test_the_timeline_shows_that_a_note_was_added(api, lead, meeting):
    send(api, **EVENT, provider="fathom")

    entry = api.history(lead)[-1]
    assert (entry["activity_type"], entry["meeting_id"]) == ("note_added", meeting["id"])
    assert meeting["title"] in entry["title"]
    assert entry["description"] == "From fathom"
    assert entry["changes"] is None


def test_a_note_changes_neither_the_meeting_nor_the_lead(api, lead, meeting):
    before = api.get(f"/meetings/{meeting['id']}").json

    send(api, **EVENT)

    assert api.get(f"/meetings/{meeting['id']}").json == before
    assert api.get(f"/leads/{lead['id']}").json["lead"] == lead


class TestWhichMeeting:
    def matched(self, answer):
        assert answer.status_code == 201, answer.json
        return answer.json["note"]["matched_by"], answer.json["note"]["meeting_id"]

    def test_by_the_meetings_id(self, api, meeting):
        answer = send(api, calendar_event_id=meeting["id"].upper())

        assert self.matched(answer) == ("calendar_event_id", meeting["id"])

    @pytest.mark.parametrize("event_id", [EVENT["external_calendar_event_id"], "new"])
    def test_by_the_current_or_an_earlier_id_of_the_booking(self, api, meeting, event_id):
        moved = {"external_event_id": "new", "starts_at": "2026-02-01T10:00:00Z"}
        api.post(f"/meetings/{meeting['id']}/reschedule", json=moved)

        answer = send(api, external_calendar_provider="GHL", external_calendar_event_id=event_id)

        assert self.matched(answer) == ("external_calendar_event_id", meeting["id"])

    @pytest.mark.parametrize(
        ("date", "day"),
        [
            ("2026-01-01T00:00:00Z", 1),
            ("2026-01-04T11:59:59Z", 3),
            ("2026-01-04T12:00:00Z", 5),  # as near to both: the later one
            ("2026-01-04T12:00:01Z", 5),
            ("2026-01-05T12:00:00", 5),  # UTC without an offset
            ("2026-01-06T09:30:00-03:00", 7),
            ("2199-01-01T00:00:00Z", 9),
        ],
    )
    def test_by_its_url_the_meeting_that_starts_nearest_to_the_date(self, api, lead, date, day):
        ids = {
            d: log(api, f"2026-01-0{d}T12:00:00", meeting_url=URL)["id"] for d in (1, 3, 5, 7, 9)
        }
        log(api, "2026-01-04T12:00:00", meeting_url=URL + "x")
        log(api, "2026-01-05T23:30:00", meeting_url=None)

        assert self.matched(send(api, meeting_url=URL, meeting_date=date)) == (
            "meeting_url", ids[day],
        )  # fmt: skip

    def test_by_its_url_without_a_date_the_one_nearest_to_now(self, api, lead):
        log(api, "2026-01-01T12:00:00")
        nearest = log(api, "2026-01-03T12:00:00")
        log(api, "2026-01-06T12:00:00")

        with freeze_time("2026-01-04T12:00:00Z"):
            assert self.matched(send(api, meeting_url=URL)) == ("meeting_url", nearest["id"])

    @pytest.mark.parametrize(
        ("date", "day"),
        [
            ("2026-01-01T11:00:00Z", 1),
            ("2026-01-01T13:00:00Z", 1),
            ("2026-01-01T10:59:59Z", None),
            ("2026-01-01T13:00:01Z", None),
            ("2026-01-02T12:14:00Z", 2),
            ("2026-01-02T12:16:00Z", 3),
        ],
    )
    def test_by_the_leads_email_the_nearest_within_an_hour_of_the_date(self, api, lead, date, day):
        times = {1: "2026-01-01T12:00:00", 2: "2026-01-02T12:00:00", 3: "2026-01-02T12:30:00"}
        ids = {number: log(api, time)["id"] for number, time in times.items()}
        other = api.new_lead(email="other@example.com")
        for time in ("2026-01-02T12:14:00", "2026-01-01T10:59:59"):
            log(api, time, lead_id=other["id"])

        answer = send(api, lead_email="TONY.stark@GMAIL.com", meeting_date=date)

        if day is None:
            assert (answer.status_code, answer.json["code"]) == (404, "meeting_not_found")
        else:
            assert self.matched(answer) == ("lead_email", ids[day])

    def test_by_the_leads_email_alone_the_latest_meeting_that_has_begun(self, api, lead):
        log(api, "2026-01-01T12:00:00")
        latest = log(api, "2026-01-03T12:00:00")
        log(api, "2026-01-03T12:00:01")

        with freeze_time("2026-01-03T12:00:00Z"):
            answer = send(api, lead_email=lead["email"])
        with freeze_time("2026-01-01T11:59:59Z"):
            too_early = send(api, lead_email=lead["email"])

        assert self.matched(answer) == ("lead_email", latest["id"])
        assert too_early.status_code == 404

    def test_the_first_identifier_given_decides_and_later_ones_are_not_tried(self, api, meeting):
        identifiers = [
            ("calendar_event_id", {"calendar_event_id": UNKNOWN_ID}),
            ("external_calendar_event_id", EVENT | {"external_calendar_event_id": "unknown"}),
            ("meeting_url", {"meeting_url": URL + "x"}),
            ("lead_email", {"lead_email": "nobody@example.com"}),
        ]
        right = [{"calendar_event_id": meeting["id"]}, EVENT, {"meeting_url": URL}]
        right.append({"lead_email": meeting["attendee_email"]})
        for place, (name, wrong) in enumerate(identifiers):
            later = {
                k: v for fields in right[place + 1 :] for k, v in fields.items() if k not in wrong
            }

            not_found = send(api, **wrong, **later)
            found = send(api, **right[place], **dict(pair for _, w in identifiers[place + 1 :] for pair in w.items() if pair[0] not in right[place]))  # fmt: skip  # noqa: E501

            assert (not_found.status_code, not_found.json["code"]) == (404, "meeting_not_found")
            assert self.matched(found) == (name, meeting["id"])

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"meeting_date": "2026-01-01T12:00:00Z"},
            {"calendar_event_id": None, "meeting_url": "", "lead_email": None},
        ],
    )
    def test_without_an_identifier_the_note_is_refused(self, api, meeting, fields):
        answer = send(api, **fields)

        assert (answer.status_code, set(answer.json["details"])) == (400, {"calendar_event_id"})

    def test_a_provider_needs_an_event_id(self, api, meeting):
        answer = send(api, external_calendar_provider="ghl")

        assert set(answer.json["details"]) == {"external_calendar_event_id"}

    def test_an_event_id_needs_its_provider(self, api, meeting):
        answer = send(api, external_calendar_event_id="x", meeting_url=URL)

        assert set(answer.json["details"]) == {"external_calendar_event_id"}

    def test_a_provider_without_an_event_id_does_not_count(self, api, meeting):
        answer = send(api, external_calendar_provider="ghl", meeting_url=URL)

        assert self.matched(answer) == ("meeting_url", meeting["id"])

    def test_nothing_is_stored_without_a_meeting(self, api, lead, meeting):
        tool = {"provider": "fathom", "external_meeting_id": "x"}
        assert send(api, meeting_url=URL + "x", **tool).status_code == 404

        assert send(api, meeting_url=URL, **tool).status_code == 201
        assert len(api.history(lead)) == 3

    @pytest.mark.parametrize(
        "fields",
        [
            EVENT,
            {"meeting_url": URL},
            {"lead_email": "tony.stark@gmail.com"},
            {"lead_email": "tony.stark@gmail.com", "meeting_date": "2025-12-29T17:00:00Z"},
        ],
    )
    def test_another_clients_meeting_is_never_found(self, meeting, stranger, fields):
        stranger.new_lead(email="tony.stark@gmail.com")

        answer = send(stranger, **fields)
        by_id = send(stranger, calendar_event_id=meeting["id"])

        assert {answer.json["code"], by_id.json["code"]} == {"meeting_not_found"}


class TestFields:
    @pytest.mark.parametrize("field", CONTENTS)
    def test_one_content_is_enough(self, api, meeting, field):
        answer = api.post("/meeting-notes", json=EVENT | {field: "text"})

        assert answer.status_code == 201
        note = answer.json["note"]
        assert [note[name] for name in CONTENTS if note[name] is not None] == ["text"]
        assert (note["provider"], note["external_meeting_id"]) == ("manual", None)

    @pytest.mark.parametrize(
        "contents", [{}, {"notes": ""}, {"notes": None, "summary": None}, {"action_items": None}]
    )
    def test_a_new_note_without_contents_is_refused(self, api, lead, meeting, contents):
        answer = api.post("/meeting-notes", json=EVENT | contents)

        assert (answer.status_code, set(answer.json["details"])) == (400, {"notes"})
        assert stored(api, meeting) == []

    def test_an_empty_list_is_a_content(self, api, meeting):
        answer = api.post("/meeting-notes", json=EVENT | {"action_items": []})

        assert (answer.status_code, answer.json["note"]["action_items"]) == (201, [])

    def test_a_wrong_body_is_reported_before_an_unknown_meeting(self, api):
        assert send(api, calendar_event_id=UNKNOWN_ID, notes=None).status_code == 400
        assert send(api, calendar_event_id=UNKNOWN_ID).status_code == 404

    @pytest.mark.parametrize("field", [name for name in CONTENTS if name != "action_items"])
    def test_a_text_may_have_half_a_million_characters(self, api, meeting, field):
        text = "é" * 500_000

        assert send(api, **EVENT, **{field: text}).json["note"][field] == text
        over = send(api, **EVENT, **{field: text + "x"})
        assert set(over.json["details"]) == {field}

    @pytest.mark.parametrize(
        "items", ["one text", "x" * 500_000, [], ["a"] * 200, ["é" * 1000], [" a ", ""]]
    )
    def test_action_items_are_a_text_or_a_list_of_texts(self, api, meeting, items):
        note = send(api, **EVENT, action_items=items).json["note"]

        cleaned = items
        if isinstance(items, list):
            cleaned = [item.strip() for item in items if item]
        assert note["action_items"] == cleaned
        assert stored(api, meeting)[0]["action_items"] == cleaned

    @pytest.mark.parametrize(
        ("items", "fault"),
        [
            (5, ["Must be a text or a list of texts."]),
            ({"a": "b"}, ["Must be a text or a list of texts."]),
            (["a"] * 201, ["Must hold at most 200 texts, not 201."]),
            (["a", 5], {"1": ["Must be text."]}),
            ([None], {"0": ["Must be text."]}),
            (["x" * 1001], {"0": ["Must be at most 1000 characters long, not 1001."]}),
            (["\u0000"], {"0": ["Must not contain control characters or unpaired surrogates."]}),
        ],
    )
    def test_other_action_items_are_refused(self, api, meeting, items, fault):
        answer = send(api, **EVENT, action_items=items)

        assert answer.json["details"] == {"action_items": fault}

    @pytest.mark.parametrize("provider", ["fathom", "a_b-9", "x" * 64, "gemini-2", "notgemini"])
    def test_a_provider_is_a_word_in_lower_case(self, api, meeting, provider):
        assert send(api, **EVENT, provider=provider).json["note"]["provider"] == provider

    @pytest.mark.parametrize(
        "provider",
        ["Fathom", "a b", "é", "x" * 65, "a.b", 5, "fireflies", "diio", "gemini", "retell"],
    )
    def test_another_provider_is_refused(self, api, meeting, provider):
        answer = send(api, **EVENT, provider=provider)

        assert (answer.status_code, set(answer.json["details"])) == (400, {"provider"})

    @pytest.mark.parametrize("provider", [None, "", "manual"])
    def test_the_provider_is_manual_by_default(self, api, meeting, provider):
        first = send(api, **EVENT, provider=provider, external_meeting_id="x")
        again = send(api, **EVENT, external_meeting_id="x")

        assert first.json["note"]["provider"] == "manual"
        assert again.json["note"]["id"] == first.json["note"]["id"]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("calendar_event_id", "not-a-uuid"),
            ("meeting_url", "ftp://example.com"),
            ("lead_email", "nope"),
            ("meeting_date", "2026-01-01"),
            ("meeting_date", "1969-12-31T23:59:59"),
            ("meeting_date", "2200-01-01T00:00:00Z"),
            ("external_meeting_id", "x" * 256),
            ("summary", 5),
            ("transcript", "x"),
        ],
    )
    def test_an_invalid_field_is_refused(self, api, meeting, field, value):
        answer = send(api, **EVENT, **{field: value})

        assert (answer.status_code, set(answer.json["details"])) == (400, {field})

    def test_one_error_names_every_wrong_field(self, api):
        answer = api.post("/meeting-notes?x=1", json={"provider": "A", "surprise": 1})

        assert set(answer.json["details"]) == {
            "x", "provider", "surprise", "calendar_event_id", "notes",
        }  # fmt: skip

    def test_the_body_may_have_four_mebibytes(self, api, meeting):
        body = json.dumps(EVENT | {"notes": "n"})
        at_limit = body + " " * (4 * 1024 * 1024 - len(body))

        assert api.post("/meeting-notes", data=at_limit).status_code == 201
        answer = api.post("/meeting-notes", data=at_limit + " ")
        assert (answer.status_code, answer.json["code"]) == (413, "payload_too_large")
        assert str(4 * 1024 * 1024) in answer.json["message"]

    def test_an_array_is_refused(self, api, meeting):
        assert api.post("/meeting-notes", json=[EVENT | {"notes": "n"}]).status_code == 400


class TestSentAgain:
    TOOL = {"provider": "fathom", "external_meeting_id": "x"}

    def test_given_contents_replace_and_null_clears(self, api, lead, meeting):
        first = send(api, **EVENT, **CONTENTS, **self.TOOL).json["note"]

        with freeze_time("2031-01-01T00:00:00Z"):
            again = api.post(
                "/meeting-notes",
                json=EVENT | self.TOOL | {"summary": "new", "notes": None, "action_items": "text"},
            )

        changes = {"summary": "new", "notes": None, "action_items": "text"}
        assert again.status_code == 200
        assert again.json == {
            "success": True,
            "note": first | changes | {"updated_at": "2031-01-01T00:00:00Z"},
        }
        assert stored(api, meeting) == [again.json["note"]]
        kinds = [entry["activity_type"] for entry in api.history(lead)]
        assert kinds.count("note_added") == 1

    def test_the_same_note_sent_again_changes_nothing(self, api, lead, meeting):
        first = send(api, **EVENT, **CONTENTS, **self.TOOL).json["note"]

        with freeze_time("2031-01-01"):
            again = send(api, **EVENT, **CONTENTS, **self.TOOL)

        assert (again.status_code, again.json["note"]) == (200, first)

    def test_all_contents_can_be_cleared(self, api, meeting):
        send(api, **EVENT, **self.TOOL)

        again = send(api, **EVENT, **self.TOOL, notes=None)

        assert (again.status_code, again.json["note"]["notes"]) == (200, None)

    @pytest.mark.parametrize("found", [True, False])
    def test_a_known_note_keeps_its_meeting_whatever_meeting_it_names(self, api, meeting, found):
        first = send(api, **EVENT, **self.TOOL).json["note"]
        other = log(api, "2026-01-05T10:00:00")
        name = {"calendar_event_id": other["id"] if found else UNKNOWN_ID}

        again = send(api, **name, **self.TOOL, notes="new")

        assert again.status_code == 200
        assert again.json["note"] == first | {
            "notes": "new",
            "updated_at": again.json["note"]["updated_at"],
        }
        assert stored(api, other) == []

    def test_notes_of_other_tools_and_clients_are_other_notes(self, api, meeting, stranger):
        stranger.new_lead(email="tony.stark@gmail.com")
        stranger.post("/meetings", json=booking())
        answers = [
            send(api, **EVENT, **self.TOOL),
            send(api, **EVENT, **self.TOOL | {"provider": "other"}),
            send(api, **EVENT, **self.TOOL | {"external_meeting_id": "X"}),
            send(stranger, **EVENT, **self.TOOL),
            send(api, **EVENT),
            send(api, **EVENT),
        ]

        assert [answer.status_code for answer in answers] == [201] * 6
        assert len(stored(api, meeting)) == 5

    def test_of_sixty_four_at_once_one_is_new(self, api, lead, meeting, database_url):
        server = Server(database_url).start()
        call = ("POST", "/api/public/meeting-notes", EVENT | CONTENTS | self.TOOL, api.key)

        answers = server.call_many([call] * 64)
        server.stop()

        assert sorted(answer.status for answer in answers) == [200] * 63 + [201]
        [note] = stored(api, meeting)
        assert all(answer.json["note"] == note for answer in answers)
        kinds = [entry["activity_type"] for entry in api.history(lead)]
        assert kinds.count("note_added") == 1

    def test_a_note_stored_between_the_look_up_and_the_insert_is_updated(
        self, api, lead, meeting, monkeypatch
    ):
        find = notes._find_meeting

        def find_slowly(client_id, given):
            monkeypatch.setattr(notes, "_find_meeting", find)
            assert send(api, **EVENT, **self.TOOL, notes="first").status_code == 201
            return find(client_id, given)

        monkeypatch.setattr(notes, "_find_meeting", find_slowly)

        answer = send(api, **EVENT, **self.TOOL, notes="second")

        assert (answer.status_code, answer.json["note"]["notes"]) == (200, "second")
        assert len(stored(api, meeting)) == 1


class TestList:
    @pytest.fixture
    def three(self, api, meeting):
        return [send(api, **EVENT, notes=f"{n}").json["note"] for n in range(3)]

    def test_notes_are_listed_oldest_first_in_pages(self, api, meeting, three):
        path = f"/meetings/{meeting['id']}/notes"

        whole = api.get(path).json
        first = api.get(f"{path}?limit=2").json
        cursor = urlencode({"cursor": first["pagination"]["next_cursor"]})
        rest = api.get(f"{path}?limit=2&{cursor}").json

        assert list(whole) == ["success", "notes", "pagination"]
        assert whole["notes"] == three
        assert whole["pagination"] == {"limit": 20, "has_more": False, "next_cursor": None}
        assert first["notes"] == three[:2]
        assert first["pagination"]["has_more"] is True
        assert (rest["notes"], rest["pagination"]["has_more"]) == (three[2:], False)

    def test_notes_of_one_moment_are_each_shown_once(self, api, meeting):
        with freeze_time("2026-01-05T10:00:00Z"):
            ids = [send(api, **EVENT).json["note"]["id"] for _ in range(5)]
        seen, cursor = [], {}
        while cursor is not None:
            answer = api.get(f"/meetings/{meeting['id']}/notes?limit=2&{urlencode(cursor)}").json
            seen += [note["id"] for note in answer["notes"]]
            next_cursor = answer["pagination"]["next_cursor"]
            cursor = next_cursor and {"cursor": next_cursor}

        assert seen == ids

    def test_notes_of_other_meetings_are_not_listed(self, api, three):
        other = log(api, "2026-01-05T10:00:00")

        assert stored(api, other) == []

    def test_the_number_of_queries_does_not_grow_with_the_notes(
        self, api, meeting, three, count_queries
    ):
        with count_queries() as queries:
            stored(api, meeting)

        assert len(queries) == 2, queries  # key, notes

    def test_the_notes_of_an_unknown_meeting_are_not_found(self, api, meeting, three, stranger):
        for caller, meeting_id in ((api, UNKNOWN_ID), (stranger, meeting["id"])):
            answer = caller.get(f"/meetings/{meeting_id}/notes")

            assert (answer.status_code, answer.json["code"]) == (404, "meeting_not_found")

    def test_a_cursor_of_another_list_is_refused(self, api, lead, meeting, three):
        log(api, "2026-01-05T10:00:00")
        other = api.get("/meetings?limit=1").json["pagination"]["next_cursor"]

        answer = api.get(f"/meetings/{meeting['id']}/notes", query_string={"cursor": other})

        assert (answer.status_code, set(answer.json["details"])) == (400, {"cursor"})

    @pytest.mark.parametrize("query", ["limit=0", "limit=101", "page=1", "order=created_at"])
    def test_an_invalid_parameter_is_refused_and_named(self, api, meeting, query):
        answer = api.get(f"/meetings/{meeting['id']}/notes?{query}")

        assert (answer.status_code, [*answer.json["details"]]) == (400, [query.split("=")[0]])
