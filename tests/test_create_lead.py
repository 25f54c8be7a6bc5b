"""POST /meetings with `create_lead`: a booking by a person who is not yet a lead."""

import threading
from functools import partial

import pytest
from conftest import booking, call_at_once

EMAIL = "Peter.Parker@example.com"


def new_person(**changes):
    return booking(
        lead_email=EMAIL,
        attendee_name="Peter Benjamin Parker",
        attendee_phone="+1 555 0100",
        create_lead=True,
        **changes,
    )


def leads_of(api, email=EMAIL):
    return api.get(f"/leads?email={email}").json["leads"]


def test_a_booking_by_an_unknown_person_creates_the_lead(api):
    answer = api.post("/meetings", json=new_person())

    assert answer.status_code == 201
    assert list(answer.json) == ["success", "meeting", "lead_created"]
    assert answer.json["lead_created"] is True
    [lead] = leads_of(api)
    assert answer.json["meeting"]["lead_id"] == lead["id"]
    assert (lead["first_name"], lead["last_name"]) == ("Peter", "Benjamin Parker")
    assert (lead["email"], lead["phone"], lead["source"]) == (EMAIL, "+1 555 0100", "ghl")
    kinds = [activity["activity_type"] for activity in api.history(lead)]
    assert kinds == ["lead_created", "meeting_scheduled"]


def test_without_a_name_or_a_provider_the_lead_has_the_first_part_of_the_email_and_source_api(api):
    nameless = new_person() | {"attendee_name": "", "external_event_id": None}
    nameless["external_calendar_provider"] = None

    api.post("/meetings", json=nameless)

    [lead] = leads_of(api)
    assert (lead["first_name"], lead["last_name"]) == ("Peter.Parker", None)
    assert lead["source"] == "api"


def test_lead_created_comes_before_the_warnings(api):
    answer = api.post("/meetings", json=new_person(external_event_id=...))

    assert list(answer.json) == ["success", "meeting", "lead_created", "warnings"]


@pytest.mark.parametrize("word", [False, "false", "", None])
def test_without_create_lead_an_unknown_person_is_not_found(api, word):
    answer = api.post("/meetings", json=new_person() | {"create_lead": word})

    assert answer.status_code == 404
    assert not leads_of(api)


@pytest.mark.parametrize("word", ["yes", 1, "True", [True]])
def test_other_values_of_create_lead_are_refused(api, word):
    answer = api.post("/meetings", json=new_person() | {"create_lead": word})

    assert answer.json["details"] == {"create_lead": ["Must be true or false."]}


def test_an_unknown_lead_id_is_not_found_all_the_same(api):
    lead_id = "0198c0de-0000-7000-8000-000000000000"

    answer = api.post("/meetings", json=new_person(lead_id=lead_id))

    assert answer.status_code == 404
    assert not leads_of(api)


def test_a_known_lead_is_used(api, lead):
    answer = api.post("/meetings", json=booking(create_lead="true"))

    assert answer.json["meeting"]["lead_id"] == lead["id"]
    assert "lead_created" not in answer.json


def test_a_lead_of_another_client_does_not_count(api, stranger):
    stranger.new_lead(email=EMAIL)

    assert api.post("/meetings", json=new_person()).json["lead_created"] is True
    assert len(leads_of(stranger)) == 1


def test_a_replay_finds_the_lead_that_the_booking_created(api):
    first = api.post("/meetings", json=new_person())
    again = api.post("/meetings", json=new_person())

    assert again.status_code == 200
    assert "lead_created" not in again.json
    assert again.json["meeting"] == first.json["meeting"]


def test_a_replay_whose_email_names_no_lead_creates_none(api, lead):
    api.post("/meetings", json=booking())

    answer = api.post("/meetings", json=new_person())

    assert (answer.status_code, answer.json["code"]) == (404, "lead_not_found")
    assert not leads_of(api)


def test_a_refused_booking_creates_no_lead(api):
    answer = api.post("/meetings", json=new_person(host_email="nobody@example.com"))

    assert answer.status_code == 400
    assert not leads_of(api)


def test_the_rows_of_an_array_create_one_lead(api):
    rows = [
        new_person(external_event_id="event-1"),
        new_person(external_event_id="event-2") | {"lead_email": EMAIL.lower()},
        new_person(external_event_id="event-3") | {"create_lead": False},
        new_person(external_event_id="event-4") | {"lead_email": "other@example.com"},
    ]

    results = api.post("/meetings", json=rows).json["results"]

    assert [row["status"] for row in results] == [201] * 4
    assert [row.get("lead_created") for row in results] == [True, None, None, True]
    assert len(leads_of(api)) == 1


def test_a_row_before_the_one_that_creates_the_lead_is_not_found(api):
    rows = [
        new_person(external_event_id="event-1") | {"create_lead": False},
        new_person(external_event_id="event-2"),
    ]

    results = api.post("/meetings", json=rows).json["results"]

    assert [row["status"] for row in results] == [404, 201]
    assert results[0]["code"] == "lead_not_found"


def test_a_row_whose_pair_a_refused_row_shares_is_logged(api):
    rows = [new_person() | {"create_lead": False}, new_person()]

    results = api.post("/meetings", json=rows).json["results"]
    again = api.post("/meetings", json=new_person())

    assert [row["status"] for row in results] == [404, 201]
    assert again.json["meeting"]["id"] == results[1]["meeting"]["id"]


def test_many_bookings_at_once_for_one_unknown_email_create_one_lead(api, callers):
    together, answers = threading.Barrier(len(callers), timeout=20), []

    def book(caller, number):
        together.wait()
        answers.append(caller.post("/meetings", json=new_person(external_event_id=f"e-{number}")))

    call_at_once(*[partial(book, caller, n) for n, caller in enumerate(callers)])

    assert [answer.status_code for answer in answers] == [201] * len(callers)
    assert len(leads_of(api)) == 1
    assert sum("lead_created" in answer.json for answer in answers) == 1
