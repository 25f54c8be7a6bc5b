"""The sender: the schedule, the order within a meeting, leases, disabling, slow receivers."""

import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest
from conftest import using
from freezegun import freeze_time
from receiver import Receiver
from standardwebhooks.webhooks import Webhook as StandardWebhook
from test_webhooks import log_meeting, log_of

import database
from database import db, transaction
from ids import new_id
from sender import client as client_module
from sender import queue, results
from sender.client import Client, ReceiverResponse
from sender.lanes import Lane
from sender.loop import SendingLoop
from sender.results import DeliveryResult
from services import deliveries, migrations
from times import format_instant, utc_now
from webhook_models import Delivery, Sender, Webhook

LOCAL = (ip_network("127.0.0.0/8"),)
SCHEDULE = (5.0, 60.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 36_000.0)


@pytest.fixture(scope="module")
def database_url(empty_databases):
    """A database of its own: a sender sends whatever is due in it."""
    url = empty_databases()
    with using(url):
        migrations.upgrade()
    return url


@pytest.fixture(scope="module")
def app(database_url):
    with using(database_url, webhook_allow_networks=LOCAL) as app:
        yield app


@pytest.fixture(autouse=True)
def nothing_waits(app):
    """Leave nothing for the next test to send."""
    yield
    Delivery.update(status="failed").where(Delivery.status == "pending").execute()
    database.release()


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def send():
    """`send()` sends what is due, with the delays given after failed tries."""

    def run(*retry_seconds, days=0):
        sender = SendingLoop(Client(LOCAL, "Meetings/1.0.0"), retry_seconds, days)
        sender.run(once=True)
        return sender

    return run


def add(api, receiver, **given):
    answer = api.post("/webhooks", json={"url": receiver.url} | given)
    assert answer.status_code == 201, answer.json
    return answer.json["webhook"] | {"secret": answer.json["signing_secret"]}


def details(api, webhook, delivery):
    return api.get(f"/webhooks/{webhook['id']}/deliveries/{delivery['id']}").json["delivery"]


def shown(api, webhook):
    return api.get(f"/webhooks/{webhook['id']}").json["webhook"]


class TestDelivering:
    def test_a_change_reaches_the_receiver_with_valid_signatures(self, api, lead, receiver, send):
        webhook = add(api, receiver)
        meeting = log_meeting(api)

        send()

        [got] = receiver.received
        body = StandardWebhook(webhook["secret"]).verify(got.body, got.headers)
        assert body["data"]["meeting"]["id"] == meeting["id"]
        [delivery] = log_of(api, webhook)
        assert (delivery["status"], delivery["attempts"]) == ("delivered", 1)
        assert (delivery["last_status_code"], delivery["last_error"]) == (200, None)
        assert delivery["delivered_at"] is not None
        assert delivery["next_attempt_at"] is None
        assert got.headers["webhook-id"] == delivery["event_id"] == body["event_id"]
        assert body["delivery_id"] == delivery["id"]

    def test_the_log_holds_the_payload_and_the_try(self, api, lead, receiver, send):
        webhook = add(api, receiver)
        log_meeting(api)
        receiver.text = "é" * 500 + "x" * 600

        receiver.behave = lambda handler, got: handler.wfile.write(
            b"HTTP/1.1 202 Accepted\r\nContent-Length: 1600\r\n\r\n" + receiver.text.encode()
        )
        send()

        delivery = details(api, webhook, log_of(api, webhook)[0])
        assert delivery["payload"] == receiver.received[0].json
        [attempt] = delivery["tries"]
        assert list(attempt) == ["at", "status_code", "error", "milliseconds", "response"]
        assert (attempt["status_code"], attempt["error"]) == (202, None)
        assert attempt["response"] == receiver.text[:1000]
        last = shown(api, webhook)["last_delivery"]
        assert last == {"status": "delivered", "at": attempt["at"], "status_code": 202}

    def test_both_secrets_sign_after_a_rotation(self, api, lead, receiver, send):
        webhook = add(api, receiver)
        rotated = api.post(f"/webhooks/{webhook['id']}/rotate-secret").json
        log_meeting(api)

        send()

        [got] = receiver.received
        for secret in (webhook["secret"], rotated["signing_secret"]):
            StandardWebhook(secret).verify(got.body, got.headers)

    def test_the_body_is_the_same_at_every_try_and_the_event_id_in_every_delivery(
        self, api, lead, receiver, send
    ):
        webhook = add(api, receiver)
        log_meeting(api)
        receiver.status = 500
        send(0, 0)
        [failed] = log_of(api, webhook)
        receiver.status = 200
        api.post(f"/webhooks/{webhook['id']}/deliveries/{failed['id']}/redeliver")
        send()

        assert len(receiver.received) == 4
        assert len({got.body for got in receiver.received[:3]}) == 1
        assert len({got.headers["webhook-id"] for got in receiver.received}) == 1
        again = receiver.received[3].json
        assert again["delivery_id"] != failed["id"]
        assert again["data"] == receiver.received[0].json["data"]

    def test_the_payload_is_the_state_after_the_change_although_it_is_sent_later(
        self, api, lead, receiver, send
    ):
        add(api, receiver)
        for title in ("One", "Two", "Three"):
            log_meeting(api, title=title)

        send()

        titles = [got.json["data"]["meeting"]["title"] for got in receiver.received]
        assert titles == ["One", "Two", "Three"]

    def test_every_webhook_gets_its_own_delivery(self, api, lead, receiver, send):
        first, second = add(api, receiver), add(api, receiver)
        log_meeting(api)

        send()

        bodies = [got.json for got in receiver.received]
        assert {body["webhook_id"] for body in bodies} == {first["id"], second["id"]}
        assert len({body["event_id"] for body in bodies}) == 1
        assert len({body["delivery_id"] for body in bodies}) == 2

    def test_a_refused_address_is_a_failed_try_that_names_the_setting(self, api, lead, receiver):
        webhook = add(api, receiver)
        log_meeting(api)

        SendingLoop(Client((), "x"), (60.0,), 0).run(once=True)

        [delivery] = log_of(api, webhook)
        assert (delivery["status"], delivery["attempts"]) == ("pending", 1)
        assert "WEBHOOK_ALLOW_NETWORKS" in delivery["last_error"]
        assert receiver.received == []


class TestSchedule:
    def test_failed_tries_follow_the_schedule_and_then_the_delivery_has_failed(
        self, api, lead, receiver, send
    ):
        webhook = add(api, receiver)
        log_meeting(api)
        receiver.status = 500
        start = utc_now()
        delays = []
        with freeze_time(start, tick=False, real_asyncio=True) as clock:
            for _ in range(9):
                once(SCHEDULE)
                [delivery] = log_of(api, webhook)
                if delivery["status"] == "failed":
                    break
                row = row_of(delivery)
                delays.append((row.next_attempt_at - utc_now()).total_seconds())
                once(SCHEDULE)  # too early
                clock.move_to(row.next_attempt_at)

        assert len(receiver.received) == 9
        assert (delivery["status"], delivery["attempts"]) == ("failed", 9)
        assert delivery["next_attempt_at"] is None
        for delay, planned in zip(delays, SCHEDULE, strict=True):
            assert planned <= delay <= planned * 1.1 + 0.001

    def test_a_setting_replaces_the_schedule(self, api, lead, receiver, send):
        webhook = add(api, receiver)
        log_meeting(api)
        receiver.status = 500

        send(0, 0)

        [delivery] = log_of(api, webhook)
        assert (delivery["status"], delivery["attempts"]) == ("failed", 3)
        assert delivery["last_error"] == "The receiver answered 500."
        assert len(details(api, webhook, delivery)["tries"]) == 3

    @pytest.mark.parametrize(
        ("status", "text", "least", "most"),
        [
            (429, "100", 100, 100),
            (503, "100", 100, 100),
            (503, "1", 5, 5.5),
            (500, "100", 5, 5.5),
            (429, "9999999", 86_400, 86_400),
            (429, "-5", 5, 5.5),
            (429, "soon", 5, 5.5),
            (429, "٣٠٠", 5, 5.5),
            (429, "", 5, 5.5),
        ],
    )
    def test_a_busy_receiver_says_when_to_come_again(self, status, text, least, most):
        now = utc_now()
        answer = ReceiverResponse(status, "x", 1, "", text)

        waits = max(5.0, results._seconds_asked_for(answer, now))

        assert least <= waits <= most

    def test_retry_after_may_be_a_date(self):
        now = datetime(2026, 3, 2, 14, 0, tzinfo=UTC)
        answer = ReceiverResponse(503, "x", 1, "", "Mon, 02 Mar 2026 14:10:00 GMT")

        assert results._seconds_asked_for(answer, now) == 600

    def test_retry_after_counts_for_the_next_try(self, api, lead, receiver, send):
        webhook = add(api, receiver)
        log_meeting(api)
        receiver.status, receiver.headers = 429, {"Retry-After": "3600"}

        send(5)

        row = row_of(log_of(api, webhook)[0])
        assert timedelta(minutes=59) < row.next_attempt_at - utc_now() <= timedelta(hours=1)

    def test_a_test_is_tried_once(self, api, receiver, send, monkeypatch):
        monkeypatch.setattr("routes.webhooks.TEST_SECONDS", 0)
        webhook = add(api, receiver)
        receiver.status = 500
        api.post(f"/webhooks/{webhook['id']}/test")

        send(0, 0)

        [delivery] = log_of(api, webhook)
        assert (delivery["status"], delivery["attempts"]) == ("failed", 1)
        assert len(receiver.received) == 1


def once(retry_seconds):
    """Try what is due now, without a loop: under a frozen clock nothing else becomes due."""
    now = utc_now()
    numbers = [
        number
        for webhook in queue.due_webhooks(now=now)
        for (number,) in queue.due_deliveries.tuples(webhook_id=webhook.id, now=now, limit=50)
    ]
    client = Client(LOCAL, "x")
    jobs = transaction(queue.lease)(numbers, now)
    tried = []
    for job in jobs:
        tried.append(DeliveryResult(job, now, client.post(job.webhook.url, b"{}", {})))
    client.close_idle(everything=True)
    disabled = transaction(lambda: results.store(tried, utc_now(), retry_seconds, new_id()))()
    for webhook_id, reason in disabled.items():
        deliveries.end_waiting(webhook_id, reason)
    database.release()


def row_of(delivery):
    row = Delivery.get(Delivery.id == delivery["id"])
    database.release()
    return row


class TestOrder:
    def test_the_events_of_a_meeting_arrive_in_their_order(self, api, lead, receiver, send):
        add(api, receiver)
        titles = [str(n) for n in range(12)]
        for title in titles:
            log_meeting(api, title=title)

        send()

        got = [got.json["data"]["meeting"]["title"] for got in receiver.received]
        assert got == titles

    def test_an_event_waits_for_the_first_try_of_the_one_before_it(self, api, lead, receiver, send):
        webhook = add(api, receiver)
        log_meeting(api, title="One")
        log_meeting(api, title="Two")
        receiver.behave = lambda handler, got: (
            setattr(
                receiver, "status", 500 if got.json["data"]["meeting"]["title"] == "One" else 200
            ),
            receiver.answer(handler, got),
        )

        send(3600)

        statuses = [(row["status"], row["attempts"]) for row in log_of(api, webhook)]
        assert statuses == [("delivered", 1), ("pending", 1)]

    def test_while_a_first_try_is_under_way_the_next_event_is_not_due(self, api, lead, receiver):
        webhook = add(api, receiver)
        log_meeting(api, title="One")
        log_meeting(api, title="Two")
        log_meeting(api, external_event_id="another meeting")
        now = utc_now()

        due = queue.due_deliveries.tuples(webhook_id=webhook["id"], now=now, limit=10)
        [one, _] = [number for (number,) in due]
        transaction(queue.lease)([one], now)
        later = queue.due_deliveries.tuples(webhook_id=webhook["id"], now=now, limit=10)
        database.release()

        assert len(due) == 2
        assert len(later) == 1

    def test_events_of_other_webhooks_do_not_wait(self, api, lead, receiver, send):
        with Receiver() as broken:
            add(api, broken, events=["meeting.scheduled", "meeting.updated"])
            broken.behave = broken.reset
            add(api, receiver)
            log_meeting(api, title="One")
            log_meeting(api, title="Two")

            send(3600)

        assert len(receiver.received) == 2


class TestLeases:
    def test_a_leased_delivery_is_not_due_until_its_lease_expires(self, api, lead, receiver):
        webhook = add(api, receiver)
        log_meeting(api)
        now = utc_now()

        def due_at(at):
            return queue.due_deliveries.tuples(webhook_id=webhook["id"], now=at, limit=10)

        [(number,)] = due_at(now)
        [job] = transaction(queue.lease)([number], now)
        again = transaction(queue.lease)([number], now)

        assert again == []
        assert due_at(now + timedelta(seconds=59)) == []
        assert due_at(now + timedelta(seconds=61)) == [(number,)]
        assert job.delivery.leased_until == now + timedelta(seconds=60)
        database.release()

    def test_a_late_result_of_an_expired_lease_is_dropped(self, api, lead, receiver):
        webhook = add(api, receiver)
        log_meeting(api)
        now = utc_now()
        due = queue.due_deliveries.tuples(webhook_id=webhook["id"], now=now, limit=10)
        numbers = [number for (number,) in due]
        [first] = transaction(queue.lease)(numbers, now)
        later = now + timedelta(seconds=61)
        [second] = transaction(queue.lease)(numbers, later)

        store = transaction(results.store)
        store(
            [DeliveryResult(second, later, ReceiverResponse(200, None, 1, "second"))],
            later,
            (),
            new_id(),
        )
        store(
            [DeliveryResult(first, now, ReceiverResponse(500, "x", 1, "first"))],
            later,
            (),
            new_id(),
        )
        database.release()

        delivery = details(api, webhook, log_of(api, webhook)[0])
        assert delivery["status"] == "delivered"
        assert [attempt["response"] for attempt in delivery["tries"]] == ["second"]

    def test_what_was_not_tried_is_given_back(self, api, lead, receiver):
        webhook = add(api, receiver)
        log_meeting(api)
        now = utc_now()
        due = queue.due_deliveries.tuples(webhook_id=webhook["id"], now=now, limit=10)
        jobs = transaction(queue.lease)([number for (number,) in due], now)

        transaction(results.store)([DeliveryResult(jobs[0], now, None)], now, (), new_id())

        assert queue.due_deliveries.tuples(webhook_id=webhook["id"], now=now, limit=10) == due
        database.release()
        assert log_of(api, webhook)[0]["attempts"] == 0

    def test_several_senders_share_the_work(self, api, lead, receiver, app):
        webhook = add(api, receiver)
        for n in range(60):
            log_meeting(api, external_event_id=f"e{n}")
        senders = [
            threading.Thread(target=SendingLoop(Client(LOCAL, f"s{n}"), (), 0).run, args=(True,))
            for n in range(3)
        ]
        for thread in senders:
            thread.start()
        for thread in senders:
            thread.join()

        assert len(receiver.received) == 60
        assert {row["status"] for row in log_of(api, webhook, limit=100)} == {"delivered"}


class TestDisabling:
    def test_410_disables_at_once_and_keeps_what_waits_as_failed(self, api, lead, receiver, send):
        webhook = add(api, receiver)
        log_meeting(api, title="One")
        log_meeting(api, title="Two")
        receiver.status = 410

        send(3600)
        log_meeting(api, title="Three")

        assert len(receiver.received) == 1
        now = shown(api, webhook)
        assert (now["enabled"], now["disabled_reason"]) == (
            False,
            "The receiver answered 410 Gone.",
        )
        rows = log_of(api, webhook)
        assert [row["status"] for row in rows] == ["failed"] * 3
        assert [row["attempts"] for row in rows] == [0, 0, 1]
        enabled = api.patch(f"/webhooks/{webhook['id']}", json={"enabled": True}).json["webhook"]
        assert (enabled["enabled"], enabled["disabled_reason"]) == (True, None)

    @pytest.mark.parametrize(
        ("days", "tries", "enabled"), [(4.9, 10, True), (5.1, 9, True), (5.1, 10, False)]
    )
    def test_five_days_without_a_success_and_ten_failed_tries_disable(
        self, api, lead, receiver, days, tries, enabled
    ):
        webhook = add(api, receiver)
        log_meeting(api)
        receiver.status = 500
        change = {
            "failing_since": utc_now() - timedelta(days=days),
            "failed_tries": tries - 1,
        }
        Webhook.update(change).where(Webhook.id == webhook["id"]).execute()

        once((3600.0,))

        now = shown(api, webhook)
        assert now["enabled"] is enabled
        assert (now["disabled_reason"] is None) is enabled
        [delivery] = log_of(api, webhook)
        assert delivery["status"] == ("pending" if enabled else "failed")

    def test_a_success_begins_the_count_anew(self, api, lead, receiver):
        webhook = add(api, receiver)
        log_meeting(api)
        change = {"failing_since": utc_now() - timedelta(days=9), "failed_tries": 50}
        Webhook.update(change).where(Webhook.id == webhook["id"]).execute()

        once(())

        row = Webhook.get(Webhook.id == webhook["id"])
        database.release()
        assert (row.failing_since, row.failed_tries, row.enabled) == (None, 0, True)

    def test_the_last_delivery_fails_when_its_webhook_is_disabled(self, api, lead, receiver, send):
        receiver.status = 500
        webhook = add(api, receiver)
        log_meeting(api)
        send(3600)
        before = shown(api, webhook)["last_delivery"]

        api.patch(f"/webhooks/{webhook['id']}", json={"enabled": False})

        assert (before["status"], before["status_code"]) == ("pending", 500)
        assert shown(api, webhook)["last_delivery"] == before | {"status": "failed"}

    def test_a_disabled_webhook_gets_nothing_but_tests(
        self, api, lead, receiver, send, monkeypatch
    ):
        monkeypatch.setattr("routes.webhooks.TEST_SECONDS", 0)
        webhook = add(api, receiver)
        log_meeting(api)
        api.patch(f"/webhooks/{webhook['id']}", json={"enabled": False})
        api.post(f"/webhooks/{webhook['id']}/test")

        send()

        assert [got.json["test"] for got in receiver.received] == [True]

    def test_a_try_that_fails_after_the_webhook_was_disabled_is_the_last(self, api, lead, receiver):
        webhook = add(api, receiver)
        log_meeting(api)
        receiver.behave = lambda handler, got: (
            Webhook.update(enabled=False).where(Webhook.id == webhook["id"]).execute(),
            database.release(),
            receiver.reset(handler, got),
        )

        once((3600.0,))

        [delivery] = log_of(api, webhook)
        assert (delivery["status"], delivery["attempts"]) == ("failed", 1)

    def test_what_waits_for_a_disabled_webhook_is_ended_by_the_sender(
        self, api, lead, receiver, send
    ):
        """As after a kill between the disabling and the end of what waits."""
        webhook = add(api, receiver)
        log_meeting(api)
        Webhook.update(enabled=False).where(Webhook.id == webhook["id"]).execute()
        database.release()

        send()

        assert receiver.received == []
        assert log_of(api, webhook)[0]["status"] == "failed"

    def test_a_deleted_webhook_gets_nothing(self, api, lead, receiver, send):
        webhook = add(api, receiver)
        log_meeting(api)
        api.open("DELETE", f"/webhooks/{webhook['id']}")

        send()

        assert receiver.received == []


def test_a_lane_widens_with_quick_answers_and_narrows_to_one_with_a_failure():
    lane = Lane()
    quick, slow = ReceiverResponse(200, None, 10), ReceiverResponse(200, None, 5000)
    windows = []
    for answer in (quick, quick, slow, *[quick] * 9, ReceiverResponse(None, "x", 15_000), quick):
        lane.learn(answer)
        windows.append(lane.window)

    assert windows[:3] == [4, 8, 8]
    assert windows[-3:] == [64, 1, 2]


class TestReceivers:
    def test_nine_hanging_receivers_do_not_delay_a_tenth(self, api, lead, monkeypatch):
        monkeypatch.setattr(client_module, "TOTAL_SECONDS", 3.0)
        with ExitStack() as stack:
            hanging = [stack.enter_context(Receiver()) for _ in range(9)]
            good = stack.enter_context(Receiver())
            for receiver in hanging:
                receiver.behave = receiver.hang
                add(api, receiver)
            add(api, good)
            sender = SendingLoop(Client(LOCAL, "x"), (60.0,), 0)
            thread = threading.Thread(target=sender.run)
            thread.start()
            committed = []
            for n in range(20):
                log_meeting(api, external_event_id=f"e{n}")
                committed.append(time.monotonic())
                time.sleep(0.05)
            time.sleep(2)
            sender.stop()
            thread.join()

        arrived = [got.at for got in good.received]
        assert len(arrived) == 20
        assert max(a - c for a, c in zip(sorted(arrived), committed, strict=True)) < 2

    def test_a_test_goes_ahead_of_a_thousand_waiting_events(self, api, lead, receiver, monkeypatch):
        monkeypatch.setattr("routes.webhooks.TEST_SECONDS", 10)
        webhook = add(api, receiver)
        rows = [
            {"lead_id": lead["id"], "title": str(n), "starts_at": "2026-03-02T14:00:00Z",
             "duration_minutes": 30}
            for n in range(1000)
        ]  # fmt: skip
        api.post("/meetings", json=rows)

        def answer_slowly(handler, got):
            time.sleep(0.05)
            receiver.answer(handler, got)

        receiver.behave = answer_slowly
        sender = SendingLoop(Client(LOCAL, "x"), (60.0,), 0)
        thread = threading.Thread(target=sender.run)
        thread.start()
        time.sleep(0.5)

        began = time.monotonic()
        answer = api.post(f"/webhooks/{webhook['id']}/test")
        took = time.monotonic() - began
        sender.stop()
        thread.join()

        assert answer.json["delivery"]["status"] == "delivered"
        assert took < 2
        assert len(receiver.received) < 900

    def test_a_stopped_sender_finishes_what_is_under_way_and_gives_back_the_rest(
        self, api, lead, receiver
    ):
        webhook = add(api, receiver)
        for n in range(30):
            log_meeting(api, external_event_id=f"e{n}")

        def answer_slowly(handler, got):
            time.sleep(0.3)
            receiver.answer(handler, got)

        receiver.behave = answer_slowly
        sender = SendingLoop(Client(LOCAL, "x"), (60.0,), 0)
        thread = threading.Thread(target=sender.run)
        thread.start()
        time.sleep(1)
        sender.stop()
        thread.join(5)

        assert not thread.is_alive()
        rows = log_of(api, webhook, limit=100)
        delivered = [row for row in rows if row["status"] == "delivered"]
        assert len(delivered) == len(receiver.received) > 0
        waiting = Delivery.select().where(
            Delivery.webhook == webhook["id"], Delivery.leased_until.is_null(False)
        )
        assert list(waiting) == []
        database.release()


def test_the_sender_counts_what_it_does(api, lead, receiver, send):
    before = Sender.select().count()
    add(api, receiver)
    log_meeting(api, title="One")
    send()
    receiver.status = 500
    log_meeting(api, title="Two")
    send(0)

    first, second = Sender.select().order_by(Sender.started_at).offset(before)
    database.release()
    assert (first.delivered, first.failed, first.failed_tries) == (1, 0, 0)
    assert (second.delivered, second.failed, second.failed_tries) == (0, 1, 2)


def test_old_deliveries_are_pruned_a_few_at_a_time_and_waiting_ones_stay(api, lead, receiver, send):
    webhook = add(api, receiver)
    for n in range(3):
        log_meeting(api, external_event_id=f"e{n}")
    send()
    log_meeting(api, external_event_id="waits")
    old = utc_now() - timedelta(days=31)
    Delivery.update(created_at=old).execute()
    db.execute_sql(f"UPDATE events SET created_at = '{old:%Y-%m-%dT%H:%M:%S.%fZ}'")

    kept = deliveries.prune(0)
    pruned = deliveries.prune(30)
    database.release()

    assert kept == {"deliveries": 0, "events": 0, "webhooks": 0}
    assert pruned["deliveries"] >= 3
    assert pruned["events"] >= 3
    assert [row["status"] for row in log_of(api, webhook)] == ["pending"]
    assert details(api, webhook, log_of(api, webhook)[0])["payload"]["data"]["meeting"]


def test_times_in_the_log_are_whole_seconds(api, lead, receiver, send):
    webhook = add(api, receiver)
    log_meeting(api)
    send()

    delivery = details(api, webhook, log_of(api, webhook)[0])

    for at in (delivery["created_at"], delivery["delivered_at"], delivery["tries"][0]["at"]):
        assert format_instant(datetime.fromisoformat(at)) == at


@pytest.mark.parametrize("behaviour", ["hang", "reset", "drip", "garbage"])
def test_a_misbehaving_receiver_is_a_failed_try(api, lead, receiver, send, monkeypatch, behaviour):
    monkeypatch.setattr(client_module, "TOTAL_SECONDS", 0.5)
    webhook = add(api, receiver)
    log_meeting(api)
    receiver.behave = getattr(receiver, behaviour)

    send(0)

    delivery = details(api, webhook, log_of(api, webhook)[0])
    assert (delivery["status"], delivery["attempts"]) == ("failed", 2)
    assert delivery["last_status_code"] is None
    assert delivery["last_error"]
