"""A connection cut during COMMIT: the caller cannot know the outcome, and retries."""

import random
import time
from urllib.parse import urlsplit

import pytest
from conftest import booking

from faults.lengths import short_and_long
from faults.load import MEETINGS, Load, fault_in
from faults.proxy import Proxy
from faults.seeded import seed_database


@pytest.fixture
def proxy(own_postgres):
    proxy = Proxy(own_postgres.socket)
    yield proxy
    proxy.close()


@pytest.fixture
def seeded(own_postgres, proxy):
    url = own_postgres.create_database()
    service_url = f"postgresql://postgres@127.0.0.1:{proxy.port}{urlsplit(url).path}"
    return seed_database(url, service_url)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_booking_with_a_cut_commit_is_one_meeting_when_sent_again(
    proxy, seeded, serve, report, when
):
    server = serve(seeded.url)
    body = booking(lead_email="tony@example.com")
    server.call("POST", MEETINGS, body | {"external_event_id": "another"}, seeded.key)

    proxy.cut_next(when)
    first = server.call("POST", MEETINGS, body, seeded.key)
    in_doubt = len(seeded.stored().meetings)
    again = server.call("POST", MEETINGS, body, seeded.key)

    stored = seeded.stored()
    report(cut=proxy.cuts, answers=f"{first.status}, then {again.status}")
    assert proxy.cuts == 1
    assert first.status in (200, 201, 503)
    assert fault_in(first) is None
    if first.status == 503:
        assert in_doubt == (1 if when == "before" else 2)
        assert again.status == (201 if when == "before" else 200)
    assert again.status in (200, 201)
    meeting = next(row for row in stored.meetings if row.event_id == body["external_event_id"])
    assert again.json["meeting"]["id"] == meeting.id
    assert len(stored.meetings) == len(stored.external_events) == 2
    assert sorted(stored.activities) == sorted(
        (row.id, "meeting_scheduled") for row in stored.meetings
    )


@short_and_long("cuts", 12, 300)
def test_cut_commits_under_load_store_every_booking_once(proxy, seeded, serve, report, cuts):
    server = serve(seeded.url, THREADS=8)
    workers = sorted(server.workers_pids())

    with Load(server, seeded) as load:
        for _ in range(cuts):
            time.sleep(random.uniform(0.05, 0.15))
            proxy.cut_next(random.choice(["before", "after"]))
            assert proxy.cut.wait(5)
        time.sleep(0.5)
        load.resend_unacknowledged()

    report(cut=proxy.cuts, **load.figures())
    assert load.problems() == []
    assert load.failures() == {}
    assert set(load.results()) <= {200, 201, 503, "closed"}
    assert load.results()[503] <= 6 * cuts
    assert sorted(server.workers_pids()) == workers
    assert len(load.acknowledged) > 20
