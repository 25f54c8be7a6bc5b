"""Meeting types over the API."""

import threading

import pytest
from conftest import booking

import database
from database import db
from database.queries import Compiled
from models import Meeting, MeetingType

UNKNOWN_ID = "0198c0de-0000-7000-8000-000000000000"


@pytest.fixture
def demo(api):
    answer = api.post("/meeting-types", json={"name": " Demo "})
    assert answer.status_code == 201, answer.json
    return answer.json["meeting_type"]


def test_a_created_meeting_type_is_returned_with_its_address(api):
    answer = api.post("/meeting-types", json={"name": "Demo"})

    shown = answer.json["meeting_type"]
    assert answer.status_code == 201
    assert list(answer.json) == ["success", "meeting_type"]
    assert list(shown) == ["id", "name"]
    assert shown["name"] == "Demo"
    assert answer.headers["Location"] == f"/api/public/meeting-types/{shown['id']}"
    assert api.get(f"/meeting-types/{shown['id']}").json == {"success": True, "meeting_type": shown}


@pytest.mark.parametrize("name", [..., None, "", 5, "x" * 256])
def test_a_name_is_required(api, name):
    body = {} if name is ... else {"name": name}

    answer = api.post("/meeting-types?x=1", json=body | {"nmae": 1})

    assert (answer.status_code, set(answer.json["details"])) == (400, {"name", "nmae", "x"})


def test_a_taken_name_is_a_conflict(api, demo, stranger):
    answer = api.post("/meeting-types", json={"name": "Demo"})

    assert (answer.status_code, answer.json["code"]) == (409, "name_taken")
    assert "Demo" in answer.json["message"]
    assert api.post("/meeting-types", json={"name": "demo"}).status_code == 201
    assert stranger.post("/meeting-types", json={"name": "Demo"}).status_code == 201


def test_of_concurrent_calls_with_one_name_one_creates_the_type(app, api):
    statuses = []

    def send():
        http, headers = app.test_client(), {"X-API-Key": api.key}
        answer = http.post("/api/public/meeting-types", json={"name": "Demo"}, headers=headers)
        statuses.append(answer.status_code)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [201] + [409] * 7


def test_meeting_types_are_listed_oldest_first(api, stranger, count_queries):
    stranger.post("/meeting-types", json={"name": "Theirs"})
    for name in "CAB":
        api.post("/meeting-types", json={"name": name})

    with count_queries() as queries:
        answer = api.get("/meeting-types")

    assert list(answer.json) == ["success", "meeting_types"]
    assert [row["name"] for row in answer.json["meeting_types"]] == list("CAB")
    assert len(queries) == 2, queries  # key, types


def test_a_new_name_is_shown_on_the_meetings(api, lead, demo):
    meeting = api.post("/meetings", json=booking(meeting_type_id=demo["id"])).json["meeting"]

    answer = api.patch(f"/meeting-types/{demo['id']}", json={"name": "First call"})

    assert answer.json == {"success": True, "meeting_type": demo | {"name": "First call"}}
    assert api.get(f"/meetings/{meeting['id']}").json["meeting"]["meeting_type"] == "First call"


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "Demo"}])
def test_an_update_may_change_nothing(api, demo, body):
    answer = api.patch(f"/meeting-types/{demo['id']}", json=body)

    assert answer.json == {"success": True, "meeting_type": demo}


def test_a_name_cannot_be_null_or_that_of_another_type(api, demo):
    other = api.post("/meeting-types", json={"name": "Other"}).json["meeting_type"]

    null = api.patch(f"/meeting-types/{other['id']}", json={"name": None})
    taken = api.patch(f"/meeting-types/{other['id']}", json={"name": "Demo"})

    assert null.json["details"] == {"name": ["Must not be null."]}
    assert (taken.status_code, taken.json["code"]) == (409, "name_taken")


class TestDelete:
    def test_a_type_that_no_meeting_has_is_deleted(self, api, demo):
        answer = api.delete(f"/meeting-types/{demo['id']}")

        assert (answer.status_code, answer.json) == (200, {"success": True})
        assert api.get("/meeting-types").json["meeting_types"] == []
        assert api.delete(f"/meeting-types/{demo['id']}").json["code"] == "meeting_type_not_found"

    def test_a_type_in_use_is_not_deleted_until_no_meeting_has_it(self, api, lead, demo):
        meeting = api.post("/meetings", json=booking(meeting_type_id=demo["id"])).json["meeting"]

        answer = api.delete(f"/meeting-types/{demo['id']}")

        assert (answer.status_code, answer.json["code"]) == (409, "in_use")
        assert (answer.json["error"], demo["id"] in answer.json["message"]) == ("In use", True)
        assert api.get(f"/meeting-types/{demo['id']}").json["meeting_type"] == demo
        api.patch(f"/meetings/{meeting['id']}", json={"meeting_type_id": None})
        assert api.delete(f"/meeting-types/{demo['id']}").status_code == 200

    def test_a_booking_of_a_deleted_type_is_refused(self, api, lead, demo):
        api.delete(f"/meeting-types/{demo['id']}")

        answer = api.post("/meetings", json=booking(meeting_type_id=demo["id"]))

        assert set(answer.json["details"]) == {"meeting_type_id"}

    def test_bookings_at_the_same_moment_keep_their_type_or_are_refused(self, app, api, lead):
        """No foreign key is violated, whichever call comes first."""
        statuses = []

        def send(method, path, body):
            http, headers = app.test_client(), {"X-API-Key": api.key}
            answer = http.open(f"/api/public{path}", method=method, json=body, headers=headers)
            statuses.append((method, answer.status_code))

        for round in range(20):
            made = api.post("/meeting-types", json={"name": f"{round}"}).json["meeting_type"]
            body = booking(external_event_id=f"{round}", meeting_type_id=made["id"])
            calls = [
                threading.Thread(target=send, args=("POST", "/meetings", body)),
                threading.Thread(
                    target=send, args=("DELETE", f"/meeting-types/{made['id']}", None)
                ),
            ]
            for call in calls:
                call.start()
            for call in calls:
                call.join()
            assert sorted(statuses) in ([("DELETE", 409), ("POST", 201)], [("DELETE", 200), ("POST", 400)])  # fmt: skip  # noqa: E501
            statuses.clear()

    def test_it_does_not_read_all_meetings(self, app, kind):
        statement = Compiled(
            lambda type_id: (
                MeetingType.delete().where(MeetingType.id == type_id)
                if kind == "sqlite"
                # PostgreSQL checks the foreign key with a query of its own.
                else Meeting.select(Meeting.id).where(Meeting.meeting_type == type_id)
            )
        ).statement({})
        if kind == "sqlite":
            rows = db.execute_sql("EXPLAIN QUERY PLAN " + statement.sql, (UNKNOWN_ID,)).fetchall()
        else:
            db.execute_sql("SET enable_seqscan = off")  # the table may be small
            sql = "EXPLAIN (GENERIC_PLAN) " + statement.sql.replace("%s", "$1")
            rows = db.execute_sql(sql).fetchall()
            db.execute_sql("SET enable_seqscan = on")
        database.release()
        plan = "\n".join(str(row[-1]) for row in rows)

        assert "meetings_of_type" in plan, plan
        assert "SCAN meetings" not in plan


def test_an_unknown_meeting_type_is_not_found(api, demo, stranger):
    for caller, type_id in ((api, UNKNOWN_ID), (stranger, demo["id"])):
        for answer in (
            caller.get(f"/meeting-types/{type_id}"),
            caller.patch(f"/meeting-types/{type_id}", json={"name": "X"}),
            caller.patch(f"/meeting-types/{type_id}", json={}),
            caller.delete(f"/meeting-types/{type_id}"),
        ):
            assert (answer.status_code, answer.json["code"]) == (404, "meeting_type_not_found")
            assert type_id in answer.json["message"]
    assert api.get("/meeting-types").json["meeting_types"] == [demo]
