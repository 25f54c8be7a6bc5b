"""Look-ups that meet are one query on PostgreSQL, and each gets what is its own."""

from functools import partial
from uuid import uuid4

import pytest
from conftest import booking

import database
from database import StatementOfEach, db
from models import new_id
from schemas import MeetingRequest
from services import bookings, clients, leads, meetings
from services.errors import LeadNotFound, MeetingNotFound, ServiceError
from web.body import load_object

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture
def seeded():
    """Two clients, each with leads of 0 to 4 meetings: (client id, lead id, ids latest first)."""
    of_leads = []
    for _ in range(2):
        client_id = clients.create(f"Client {uuid4()}")[0]["id"]
        for count in range(5):
            lead_id = leads.create(client_id, {"first_name": "Tony"})[0]["id"]
            ids = [book(client_id, lead_id, day) for day in range(1, count + 1)]
            of_leads.append((client_id, lead_id, ids[::-1]))
    database.release()
    return of_leads


def book(client_id, lead_id, day):
    body = booking(
        lead_email=...,
        lead_id=lead_id,
        starts_at=f"2025-12-{day:02}T10:00:00Z",
        ends_at=f"2025-12-{day:02}T11:00:00Z",
        external_event_id=uuid4().hex,
    )
    loaded = load_object(MeetingRequest(), body)
    [result] = bookings.log(client_id, [loaded])
    return result.row["id"]


def asked_together(carry_out, questions):
    """What each question ends in, asked all at once."""
    found = {}

    def ask(index, question):
        try:
            found[index] = question()
        except ServiceError as error:
            found[index] = type(error)
        database.release()

    carry_out(*[partial(ask, *of) for of in enumerate(questions)])
    return [found[index] for index in range(len(questions))]


def page(client_id, lead_id, **query):
    query = {"order": "-starts_at", "limit": 50, "lead_id": lead_id} | query
    rows, next_key = meetings.list_meetings(client_id, query)
    return [row["id"] for row in rows], next_key and next_key[2]


def test_lists_of_leads(kind, seeded, carry_out, count_queries):
    strangers = [(seeded[0][0], lead_id, []) for client_id, lead_id, _ in seeded[5:]]
    asked = [*seeded, *strangers, (seeded[0][0], new_id(), [])]

    with count_queries() as queries:
        found = asked_together(carry_out, [partial(page, *of[:2]) for of in asked])

    assert found == [(ids, None) for _, _, ids in asked]
    assert len(queries) == (1 if kind == "postgresql" else len(asked))


def test_no_more_rows_are_asked_for_together_than_by_one_who_may(
    kind, seeded, carry_out, count_queries
):
    limits = [200] * 6 + [1000] * 2

    with count_queries() as queries:
        found = asked_together(
            carry_out, [partial(page, *seeded[4][:2], limit=limit) for limit in limits]
        )

    assert found == [(seeded[4][2], None)] * 8
    assert len(queries) == (4 if kind == "postgresql" else 8)  # 4, 2, and each by itself


def test_lists_that_are_not_alike(seeded, carry_out):
    """Each keeps its own limit, order and cursor."""
    client_id, lead_id, ids = seeded[4]
    _, key = meetings.list_meetings(
        client_id, {"order": "-starts_at", "limit": 2, "lead_id": lead_id}
    )
    database.release()

    found = asked_together(
        carry_out,
        [
            *[partial(page, client_id, lead_id, limit=limit) for limit in (1, 2, 3, 4, 5)],
            partial(page, client_id, lead_id, order="starts_at", limit=2),
            partial(page, client_id, lead_id, cursor=key),
            partial(page, client_id, lead_id, cursor=key, limit=1),
            partial(page, client_id, lead_id, status=frozenset({"cancelled"})),
        ],
    )

    assert found == [
        *[(ids[:limit], ids[limit - 1] if limit < 4 else None) for limit in (1, 2, 3, 4, 5)],
        (ids[:1:-1], ids[2]),
        (ids[2:], None),
        (ids[2:3], ids[2]),
        ([], None),
    ]


def test_rows_are_as_they_are_alone(seeded, carry_out):
    client_id, lead_id, _ = seeded[4]
    query = {"order": "-starts_at", "limit": 50, "lead_id": lead_id}
    ask = partial(meetings.list_meetings, client_id, query)
    with db.atomic():  # where nobody joins
        alone, _ = ask()

    joint = asked_together(carry_out, [ask, ask])

    assert [rows for rows, _ in joint] == [alone, alone]


def test_meetings_and_leads_by_id(kind, seeded, carry_out, count_queries):
    client_id, lead_id, ids = seeded[3]
    other_client = seeded[-1][0]

    with count_queries() as queries:
        found = asked_together(
            carry_out,
            [
                *[partial(meetings.find, client_id, id) for id in ids],
                partial(meetings.find, other_client, ids[0]),
                partial(leads.find, client_id, lead_id),
                partial(leads.find, other_client, lead_id),
            ],
        )

    assert [one if isinstance(one, type) else one["id"] for one in found] == [
        *ids,
        MeetingNotFound,
        lead_id,
        LeadNotFound,
    ]
    assert len(queries) == (2 if kind == "postgresql" else 6)


def test_in_a_transaction_what_it_wrote_is_seen(seeded):
    client_id, *_ = seeded[0]

    with db.atomic():
        new_lead = leads.create(client_id, {"first_name": "Pepper"})[0]["id"]

        assert leads.find(client_id, new_lead)["first_name"] == "Pepper"


def test_a_client_is_named_in_each(kind):
    """Whoever asks with others gets no row of theirs: the sets of values are not mixed."""
    if kind == "sqlite":
        pytest.skip("asks for each by itself")
    for joint in (
        meetings.MEETING_BY_ID,
        leads.LEAD_BY_ID,
        meetings._page(frozenset({"lead_id"}), None, "-starts_at", True),
    ):
        statement = joint.statement()

        assert isinstance(statement, StatementOfEach)
        assert '"client_id" = asked."client_id"' in statement.sql
        assert "LIMIT" in statement.sql
