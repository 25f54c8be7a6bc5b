"""The header `Link` of lists: the address of the next page."""

import re

import pytest
from conftest import booking, using
from hooks import Hook, calendly


@pytest.fixture
def rows(api, lead):
    """Three rows in every list with pages; returns the path of each list."""
    for number in range(3):
        api.new_lead(first_name=f"Tony {number}", email="a+b@example.com")
        api.post("/meetings", json=booking(external_event_id=f"{number}", lead_id=lead["id"]))
    meeting = api.meetings(lead)[0]
    for _ in range(3):
        note = {"calendar_event_id": meeting["id"], "notes": "x"}
        assert api.post("/meeting-notes", json=note).status_code == 201
    hook = Hook(api)
    for number in range(3):
        hook.receive(calendly(invitee=f"{number}", email="a+b@example.com"))
    return {
        "meetings": "/meetings",
        "meetings of a lead": f"/leads/{lead['id']}/meetings",
        "notes": f"/meetings/{meeting['id']}/notes",
        "receipts": "/receipts",
        "leads": "/leads",
    }


def next_page(answer):
    """Return the address of the next page as `/path?query` below the API, or None."""
    link = answer.headers.get("Link")
    return link and re.fullmatch(r'</api/public(/[^>]+)>; rel="next"', link)[1]


def shown(answer):
    [rows] = [value for value in answer.json.values() if isinstance(value, list)]
    return [row["id"] for row in rows]


@pytest.mark.parametrize("name", ["meetings", "meetings of a lead", "notes", "receipts", "leads"])
def test_a_caller_that_follows_the_links_sees_every_row_once(api, rows, name):
    whole = shown(api.get(rows[name]))
    seen, path = [], f"{rows[name]}?limit=2"
    while path:
        answer = api.get(path)
        assert answer.status_code == 200
        assert (next_page(answer) is not None) == answer.json["pagination"]["has_more"]
        seen += shown(answer)
        path = next_page(answer)

    assert len(seen) >= 3
    assert seen == whole


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/leads?email=a%2Bb%40example.com&limit=1&verbose=1&search=", "email=a%2Bb%40example.com"),
        ("/meetings?status=scheduled,confirmed&order=starts_at&limit=1", "order=starts_at"),
        ("/receipts?lead_email=a%2Bb@example.com&outcome=logged&limit=1", "outcome=logged"),
    ],
)
def test_the_other_parameters_of_the_request_stay(api, rows, path, kept):
    following = next_page(api.get(path))

    assert kept in following
    assert "limit=1" in following
    assert shown(api.get(following)) != shown(api.get(path))


def test_the_link_begins_with_public_url_where_it_is_set(api, rows, database_url):
    with using(database_url, public_url="https://a.example/meet") as app:
        link = api.on(app).get("/leads?limit=1").headers["Link"]

    assert link.startswith("<https://a.example/meet/api/public/leads?limit=1&page=1>")


def test_a_list_without_pages_and_a_single_row_have_no_link(api, rows, lead):
    for path in ("/users", f"/leads/{lead['id']}", f"/leads/{lead['id']}/history?limit=1"):
        assert "Link" not in api.get(path).headers


def test_the_link_of_a_page_leads_another_client_to_nothing_of_the_first(api, stranger, rows):
    following = next_page(api.get("/meetings?limit=1"))

    assert shown(stranger.get(following)) == []
