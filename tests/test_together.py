"""Requests that meet share a transaction, and none pays for another."""

import threading
from functools import partial
from uuid import uuid4

import pytest
from conftest import booking
from playhouse.pool import MaxConnectionsExceeded

import database
from schemas import MeetingRequest
from services import bookings, clients
from services.errors import InvalidApiKey, LeadNotFound, MissingApiKey, ServiceError
from services.many import Together
from web.body import load_object

pytestmark = pytest.mark.usefixtures("app")  # whoever calls gives a connection back


class Work:
    """What is carried out; the first call waits until the others have queued up behind it."""

    def __init__(self, waiting_for, **options):
        self.alone, self.joint = [], []
        self.queued = threading.Semaphore(0)
        self.waiting_for = waiting_for
        self.fault = None
        self.together = Together(self.all, self.one, **options)

    def one(self, client_id, argument):
        if not self.alone and not self.joint:
            self.alone.append(argument)
            for _ in range(500):
                if len(self.together._waiting) == self.waiting_for:
                    break
                threading.Event().wait(0.01)
        else:
            self.alone.append(argument)
        if argument == "wrong":
            raise LeadNotFound("email wrong")
        if argument == "away":
            raise MaxConnectionsExceeded("away")
        return argument * 2

    def all(self, client_id, arguments):
        self.joint.append((client_id, arguments))
        if self.fault:
            raise self.fault
        return [LeadNotFound("wrong") if a == "wrong" else a * 2 for a in arguments]

    def call_all(self, calls):
        """Call with each (client id, argument), the first one first; returns what each ends in."""
        outcomes = {}

        def call(index, client_id, argument):
            try:
                outcomes[index] = self.together(client_id, argument)
            except Exception as error:
                outcomes[index] = type(error)

        threads = [
            threading.Thread(target=call, args=(index, *of)) for index, of in enumerate(calls)
        ]
        threads[0].start()
        while not self.alone:
            threading.Event().wait(0.001)
        for thread in threads[1:]:
            thread.start()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive(), "somebody was never woken"
        return [outcomes[index] for index in range(len(calls))]


def test_calls_that_arrive_meanwhile_are_carried_out_as_one():
    work = Work(waiting_for=3)

    outcomes = work.call_all([("c", "a"), ("c", "b"), ("c", "wrong"), ("c", "d")])

    assert outcomes == ["aa", "bb", LeadNotFound, "dd"]
    assert work.alone == ["a"]
    [(_, together)] = work.joint
    assert sorted(together) == ["b", "d", "wrong"]


def test_keys_that_are_looked_up_together_open_what_is_their_owners_alone(
    app, carry_out, count_queries
):
    made = [clients.create(f"Client {uuid4()}") for _ in range(3)]
    database.release()
    keys = [key for _, key in made] * 3 + ["nxr_live_wrong", None]
    found = {}

    def ask(index, key):
        try:
            found[index] = clients.authenticate(key)
        except ServiceError as error:
            found[index] = type(error)

    with count_queries() as queries:
        carry_out(*[partial(ask, *of) for of in enumerate(keys)])

    owners = [client["id"] for client, _ in made] * 3
    assert [found[index] for index in range(len(keys))] == [*owners, InvalidApiKey, MissingApiKey]
    assert len(queries) == 1


def test_calls_of_different_clients_are_not_mixed():
    work = Work(waiting_for=4)

    outcomes = work.call_all([("c", "a"), ("c", "b"), ("d", "e"), ("c", "f"), ("d", "g")])

    assert outcomes == ["aa", "bb", "ee", "ff", "gg"]
    assert {client: sorted(of) for client, of in work.joint} == {"c": ["b", "f"], "d": ["e", "g"]}


def test_no_more_are_carried_out_together_than_may_be():
    work = Work(waiting_for=6, weigh=len, most=3)
    arguments = ["a", "b", "cc", "d", "eeeee", "ff", "g"]

    outcomes = work.call_all([("c", argument) for argument in arguments])

    assert outcomes == [argument * 2 for argument in arguments]
    assert sorted(sum((of for _, of in work.joint), work.alone)) == sorted(arguments)
    assert work.joint
    assert all(sum(map(len, together)) <= 3 for _, together in work.joint)


def test_where_all_fail_each_is_done_alone_and_the_wrong_one_alone_pays():
    work = Work(waiting_for=2)
    work.fault = ValueError("one of them is odd")

    outcomes = work.call_all([("c", "a"), ("c", "b"), ("c", "wrong")])

    assert outcomes == ["aa", "bb", LeadNotFound]
    assert sorted(work.alone) == ["a", "b", "wrong"]


def test_where_the_database_is_away_all_who_wait_are_told_so_at_once():
    work = Work(waiting_for=2)

    outcomes = work.call_all([("c", "away"), ("c", "b"), ("d", "e")])

    assert outcomes == [MaxConnectionsExceeded] * 3
    assert (work.alone, work.joint) == (["away"], [])


def test_it_goes_on_after_a_failure():
    work = Work(waiting_for=0)

    first = work.call_all([("c", "wrong")])
    second = work.call_all([("c", "b")])

    assert (first, second) == ([LeadNotFound], ["bb"])


@pytest.mark.parametrize("known", [False, True])
def test_bookings_logged_together_are_as_logged_alone(app, api, lead, known):
    """All kinds at once: new, replayed, changed, with a previous id, of nobody, without a pair."""
    bodies = [
        booking(external_event_id="one"),
        booking(external_event_id="two", title="Two"),
        booking(external_event_id="three", lead_email=None, lead_id=lead["id"]),
        booking(external_event_id=..., external_calendar_provider=...),
        booking(external_event_id="four", lead_email="nobody@example.com"),
        booking(external_event_id="five", previous_external_event_id="two", title="Five"),
        booking(external_event_id="six", host_email="nobody@example.com"),
    ]
    if known:
        api.post("/meetings", json=booking(external_event_id="one", title="Before"))
        api.post("/meetings", json=booking(external_event_id="two"))
    loaded = [app_load(body) for body in bodies]

    results = bookings._log_all(api.client_id, loaded)
    database.release()

    shown = [r[1] if isinstance(r, tuple) else r.code for r in results]
    new = not known
    assert shown == [new, new, True, True, "lead_not_found", False, "validation_error"]
    assert {m["title"] for m in api.meetings(lead)} == {"Discovery Call with Tony Stark", "Five"}
    assert len(api.meetings(lead)) == 4


def app_load(body):
    """A body as the application hands it to the service."""
    loaded, _ = load_object(MeetingRequest(), {k: v for k, v in body.items() if v is not None})
    return loaded
