"""Webhooks: managing them, the log of deliveries, and sending events again."""

import base64

import pytest
from conftest import booking, using

from routes import webhooks as routes
from services import webhooks
from webhook_models import EVENT_TYPES

UNKNOWN = "0198c0de-0000-7000-8000-000000000000"


@pytest.fixture(autouse=True)
def public_names(monkeypatch):
    """Let names of `example.com` resolve to public addresses, and tests wait for no sender."""
    resolve = webhooks.network.resolve
    monkeypatch.setattr(
        webhooks.network,
        "resolve",
        lambda host, port: ("8.8.8.8",) if host.endswith("example.com") else resolve(host, port),
    )
    monkeypatch.setattr(routes, "TEST_SECONDS", 0)


def add(api, **given):
    answer = api.post("/webhooks", json={"url": "https://crm.example.com/hook"} | given)
    assert answer.status_code == 201, answer.json
    return answer.json["webhook"]


def log_of(api, webhook, **query):
    answer = api.get(f"/webhooks/{webhook['id']}/deliveries", query_string=query)
    assert answer.status_code == 200, answer.json
    return answer.json["deliveries"]


def log_meeting(api, **changes):
    answer = api.post("/meetings", json=booking(**changes))
    assert answer.status_code in (200, 201), answer.json
    return answer.json["meeting"]


class TestManaging:
    def test_a_new_webhook_gets_all_events_and_a_secret_that_is_shown_once(self, api):
        answer = api.post("/webhooks", json={"url": "https://crm.example.com/hook", "name": "CRM"})

        assert answer.status_code == 201
        assert list(answer.json) == ["success", "webhook", "signing_secret"]
        webhook = answer.json["webhook"]
        assert list(webhook) == [
            *("id", "name", "url", "events", "enabled", "disabled_reason"),
            *("created_at", "updated_at"),
        ]
        assert (webhook["name"], webhook["events"], webhook["enabled"]) == ("CRM", [], True)
        secret = answer.json["signing_secret"]
        assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
        shown = api.get("/webhooks").text + api.get(f"/webhooks/{webhook['id']}").text
        assert secret not in shown
        assert "secret" not in shown

    def test_webhooks_are_listed_oldest_first(self, api):
        made = [add(api, name=name)["id"] for name in "abc"]

        assert [webhook["id"] for webhook in api.get("/webhooks").json["webhooks"]] == made

    def test_a_webhook_without_a_try_has_no_last_delivery(self, api):
        webhook = add(api)

        shown = api.get(f"/webhooks/{webhook['id']}").json["webhook"]

        assert shown == webhook | {"last_delivery": None}

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({"url": ...}, "url"),
            ({"url": "crm.example.com"}, "url"),
            ({"url": "http://crm.example.com/"}, "url"),
            ({"url": "https://127.0.0.1/"}, "url"),
            ({"url": "https://localhost:8443/"}, "url"),
            ({"url": "https://169.254.169.254/latest/meta-data"}, "url"),
            ({"url": "https://[::1]/"}, "url"),
            ({"url": "https://2130706433/"}, "url"),
            ({"url": "https://nowhere.invalid/"}, "url"),
            ({"url": "https://crm.example.com:22/"}, "url"),
            ({"url": "https://me:secret@crm.example.com/"}, "url"),
            ({"url": "https://crm.example.com/" + "a" * 2048}, "url"),
            ({"events": ["meeting.vanished"]}, "events"),
            ({"events": "meeting.scheduled"}, "events"),
            ({"events": [None]}, "events"),
            ({"name": "x" * 256}, "name"),
            ({"enabled": False}, "enabled"),
            ({"secret": "mine"}, "secret"),
        ],
    )
    def test_a_wrong_field_is_refused_by_name(self, api, given, field):
        body = {"url": "https://crm.example.com/hook"} | given
        answer = api.post("/webhooks", json={k: v for k, v in body.items() if v is not ...})

        assert (answer.status_code, list(answer.json["details"])) == (400, [field])

    @pytest.mark.parametrize(
        ("events", "sentences"),
        [
            ("meeting.scheduled", ["Must be a list of events."]),
            ([None], {"0": ["Must not be null."]}),
        ],
    )
    def test_events_are_a_list_of_words(self, api, events, sentences):
        answer = api.post("/webhooks", json={"url": "https://crm.example.com/", "events": events})

        assert answer.json["details"] == {"events": sentences}

    def test_a_refusal_names_the_rule_and_the_setting(self, api):
        answer = api.post("/webhooks", json={"url": "https://10.0.0.1/"})

        [sentence] = answer.json["details"]["url"]
        assert sentence == (
            "10.0.0.1 is a private address, and WEBHOOK_ALLOW_NETWORKS does not list it."
        )

    def test_the_setting_allows_a_local_network_also_with_http(self, api, database_url):
        networks = webhooks.network._networks("127.0.0.0/8")
        with using(database_url, webhook_allow_networks=networks) as app:
            caller = api.on(app)

            assert add(caller, url="http://127.0.0.1:5678/hook")
            assert add(caller, url="http://localhost:5678/hook")
            assert caller.post("/webhooks", json={"url": "http://10.0.0.1/"}).status_code == 400

    def test_a_client_may_have_twenty(self, api, stranger):
        made = [add(api) for _ in range(20)]

        answer = api.post("/webhooks", json={"url": "https://crm.example.com/"})

        assert (answer.status_code, answer.json["code"]) == (409, "too_many_webhooks")
        add(stranger)
        api.open("DELETE", f"/webhooks/{made[0]['id']}")
        add(api)

    def test_given_fields_are_changed_and_others_stay(self, api):
        webhook = add(api, name="CRM", events=["lead.created", "lead.created"])
        path = f"/webhooks/{webhook['id']}"

        changed = api.patch(path, json={"events": [], "enabled": False}).json["webhook"]

        assert webhook["events"] == ["lead.created"]
        assert (changed["name"], changed["events"], changed["enabled"]) == ("CRM", [], False)
        assert api.patch(path, json={"name": None}).json["webhook"]["name"] is None
        assert api.patch(path, json={"enabled": True}).json["webhook"]["enabled"] is True
        refused = api.patch(path, json={"url": "https://127.0.0.1/", "name": "Other"})
        assert (refused.status_code, list(refused.json["details"])) == (400, ["url"])
        assert api.get(path).json["webhook"]["name"] is None

    @pytest.mark.parametrize("given", [{"url": None}, {"enabled": None}, {"secret": "x"}])
    def test_a_wrong_change_is_refused(self, api, given):
        webhook = add(api)

        answer = api.patch(f"/webhooks/{webhook['id']}", json=given)

        assert (answer.status_code, list(answer.json["details"])) == (400, list(given))

    def test_a_rotation_shows_a_new_secret(self, api):
        first = api.post("/webhooks", json={"url": "https://crm.example.com/"}).json

        again = api.post(f"/webhooks/{first['webhook']['id']}/rotate-secret")

        assert again.status_code == 200
        assert again.json["signing_secret"] != first["signing_secret"]
        assert again.json["webhook"]["id"] == first["webhook"]["id"]

    def test_a_deleted_webhook_is_unknown(self, api, lead):
        webhook = add(api)
        log_meeting(api)

        deleted = api.open("DELETE", f"/webhooks/{webhook['id']}")

        assert (deleted.status_code, deleted.json) == (200, {"success": True})
        assert api.get("/webhooks").json["webhooks"] == []
        for method, path in CALLS:
            body = body_for(method, path)
            answer = api.open(method, path.format(id=webhook["id"], delivery=UNKNOWN), json=body)
            assert (answer.status_code, answer.json["code"]) == (404, "webhook_not_found")
        log_meeting(api, external_event_id="another")


BODY = {"since": "2026-01-01T00:00:00Z"}
CALLS = [
    ("GET", "/webhooks/{id}"),
    ("PATCH", "/webhooks/{id}"),
    ("DELETE", "/webhooks/{id}"),
    ("POST", "/webhooks/{id}/rotate-secret"),
    ("POST", "/webhooks/{id}/test"),
    ("GET", "/webhooks/{id}/deliveries"),
    ("GET", "/webhooks/{id}/deliveries/{delivery}"),
    ("POST", "/webhooks/{id}/deliveries/{delivery}/redeliver"),
    ("POST", "/webhooks/{id}/redeliver"),
]


def body_for(method, path):
    if method in ("GET", "DELETE"):
        return None
    return BODY if path.endswith("{id}/redeliver") else {}


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_another_clients_webhook_is_unknown(api, stranger, lead, method, path):
    webhook = add(api)
    log_meeting(api)
    [delivery] = log_of(api, webhook)
    body = body_for(method, path)

    path = path.format(id=webhook["id"], delivery=delivery["id"])
    answer = stranger.open(method, path, json=body)
    unknown = api.open(method, path.replace(webhook["id"], UNKNOWN), json=body)

    assert (answer.status_code, answer.json["code"]) == (404, "webhook_not_found")
    assert (unknown.status_code, unknown.json["code"]) == (404, "webhook_not_found")
    assert stranger.get("/webhooks").json["webhooks"] == []
    assert api.get("/webhooks").json["webhooks"] == [webhook]


def test_a_delivery_of_another_webhook_is_unknown(api, lead):
    first, second = add(api), add(api)
    log_meeting(api)
    [delivery] = log_of(api, first)

    for method, path in (
        ("GET", f"/webhooks/{second['id']}/deliveries/{delivery['id']}"),
        ("POST", f"/webhooks/{second['id']}/deliveries/{delivery['id']}/redeliver"),
        ("GET", f"/webhooks/{second['id']}/deliveries/{UNKNOWN}"),
    ):
        answer = api.open(method, path)
        assert (answer.status_code, answer.json["code"]) == (404, "delivery_not_found")


class TestLog:
    def test_a_delivery_is_shown_with_the_keys_of_the_contract(self, api, lead):
        webhook = add(api)
        meeting = log_meeting(api)

        [delivery] = log_of(api, webhook)

        assert list(delivery) == [
            *("id", "event_id", "event_type", "meeting_id", "lead_id", "test", "status"),
            *("attempts", "next_attempt_at", "last_status_code", "last_error", "created_at"),
            "delivered_at",
        ]
        assert delivery["meeting_id"] == meeting["id"]
        assert delivery["lead_id"] == lead["id"]
        assert (delivery["status"], delivery["attempts"], delivery["test"]) == ("pending", 0, False)

    def test_one_delivery_also_has_the_payload_and_the_tries(self, api, lead):
        webhook = add(api)
        log_meeting(api)
        [delivery] = log_of(api, webhook)

        shown = api.get(f"/webhooks/{webhook['id']}/deliveries/{delivery['id']}").json["delivery"]

        assert list(shown) == [*delivery, "payload", "tries"]
        assert shown["payload"]["delivery_id"] == delivery["id"]
        assert shown["payload"]["event_id"] == delivery["event_id"]
        assert shown["tries"] == []

    def test_pages_follow_each_other_and_new_deliveries_shift_nothing(self, api, lead):
        webhook = add(api)
        for n in range(5):
            log_meeting(api, external_event_id=f"e{n}")
        path = f"/webhooks/{webhook['id']}/deliveries"

        first = api.get(path, query_string={"limit": 2}).json
        log_meeting(api, external_event_id="later")
        cursor = first["pagination"]["next_cursor"]
        second = api.get(path, query_string={"limit": 2, "cursor": cursor}).json
        cursor = second["pagination"]["next_cursor"]
        third = api.get(path, query_string={"limit": 2, "cursor": cursor}).json

        everything = [row["id"] for row in log_of(api, webhook)]
        pages = [*first["deliveries"], *second["deliveries"], *third["deliveries"]]
        assert [row["id"] for row in pages] == everything[1:]
        assert third["pagination"] == {"limit": 2, "has_more": False, "next_cursor": None}

    def test_filters_choose_deliveries(self, api, lead):
        webhook = add(api)
        meeting = log_meeting(api)
        log_meeting(api, external_event_id="other")
        api.post(f"/meetings/{meeting['id']}/cancel")

        assert len(log_of(api, webhook)) == 3
        assert len(log_of(api, webhook, meeting_id=meeting["id"])) == 2
        assert len(log_of(api, webhook, event_type="meeting.scheduled")) == 2
        assert len(log_of(api, webhook, status="delivered")) == 0
        assert len(log_of(api, webhook, meeting_id=lead["id"])) == 0

    @pytest.mark.parametrize(
        "query", [{"status": "lost"}, {"limit": 201}, {"event": "x"}, {"cursor": "x"}]
    )
    def test_wrong_parameters_are_refused(self, api, query):
        webhook = add(api)

        answer = api.get(f"/webhooks/{webhook['id']}/deliveries", query_string=query)

        assert (answer.status_code, list(answer.json["details"])) == (400, list(query))


class TestSendingAgain:
    def test_a_delivery_is_sent_again_as_a_new_one_of_the_same_event(self, api, lead):
        webhook = add(api)
        log_meeting(api)
        [first] = log_of(api, webhook)

        answer = api.post(f"/webhooks/{webhook['id']}/deliveries/{first['id']}/redeliver")

        again = answer.json["delivery"]
        assert (answer.status_code, again["status"]) == (200, "pending")
        assert again["id"] != first["id"]
        assert again["event_id"] == first["event_id"]
        assert [row["id"] for row in log_of(api, webhook)] == [again["id"], first["id"]]

    def test_all_failed_deliveries_since_a_time_are_sent_again(self, api, lead):
        webhook = add(api)
        path = f"/webhooks/{webhook['id']}"
        log_meeting(api, external_event_id="before")
        api.patch(path, json={"enabled": False})
        log_meeting(api, external_event_id="meanwhile")
        api.patch(path, json={"enabled": True})

        answer = api.post(f"{path}/redeliver", json={"since": "2026-01-01T00:00:00+01:00"})
        later = api.post(f"{path}/redeliver", json={"since": "2100-01-01T00:00:00Z"})

        assert answer.json == {"success": True, "redelivering": 2}
        assert later.json["redelivering"] == 0
        statuses = [row["status"] for row in log_of(api, webhook)]
        assert statuses == ["pending", "pending", "failed", "failed"]

    def test_an_event_with_several_failed_deliveries_is_sent_again_once(self, api, lead):
        webhook = add(api)
        path = f"/webhooks/{webhook['id']}"
        api.patch(path, json={"enabled": False})
        log_meeting(api, external_event_id="one")
        log_meeting(api, external_event_id="two")

        answers = [api.post(f"{path}/redeliver", json=BODY) for _ in range(3)]

        assert [answer.json["redelivering"] for answer in answers] == [2, 2, 2]
        assert len(log_of(api, webhook)) == 8

    def test_deliveries_of_another_status_are_sent_again_on_request(self, api, lead):
        webhook = add(api)
        log_meeting(api)

        path = f"/webhooks/{webhook['id']}/redeliver"
        answer = api.post(path, json=BODY | {"status": "pending"})

        assert answer.json["redelivering"] == 1

    @pytest.mark.parametrize("body", [{}, {"since": "2026-01-01T00:00:00"}, {"since": "soon"}])
    def test_the_time_is_required_with_its_offset(self, api, body):
        webhook = add(api)

        answer = api.post(f"/webhooks/{webhook['id']}/redeliver", json=body)

        assert (answer.status_code, list(answer.json["details"])) == (400, ["since"])
        [message] = answer.json["details"]["since"]
        assert message == "Required." or "offset, such as 2025-12-29T17:00:00Z." in message


class TestTests:
    @pytest.mark.parametrize("event_type", EVENT_TYPES)
    def test_a_sample_of_every_event_type_is_queued(self, api, event_type):
        webhook = add(api, events=["lead.created"])
        path = f"/webhooks/{webhook['id']}"

        answer = api.post(f"{path}/test", json={"event_type": event_type})

        delivery = answer.json["delivery"]
        assert (answer.status_code, delivery["status"]) == (200, "pending")
        assert (delivery["event_type"], delivery["test"]) == (event_type, True)
        shown = api.get(f"{path}/deliveries/{delivery['id']}").json["delivery"]
        assert shown["payload"]["test"] is True
        assert shown["payload"]["data"]["lead"]["id"] == delivery["lead_id"]

    def test_the_body_may_be_absent(self, api):
        webhook = add(api)

        answer = api.post(f"/webhooks/{webhook['id']}/test")

        assert answer.json["delivery"]["event_type"] == "meeting.scheduled"


class TestDisabling:
    def test_waiting_deliveries_and_later_events_are_kept_as_failed(self, api, lead):
        webhook = add(api)
        log_meeting(api, external_event_id="before")

        api.patch(f"/webhooks/{webhook['id']}", json={"enabled": False})
        log_meeting(api, external_event_id="after")

        rows = log_of(api, webhook)
        assert [(row["status"], row["last_error"]) for row in rows] == [
            ("failed", "The webhook is disabled.")
        ] * 2
        assert [row["next_attempt_at"] for row in rows] == [None, None]

    def test_events_after_it_was_enabled_again_are_sent(self, api, lead):
        webhook = add(api)
        api.patch(f"/webhooks/{webhook['id']}", json={"enabled": False})
        api.patch(f"/webhooks/{webhook['id']}", json={"enabled": True})

        log_meeting(api)

        assert [row["status"] for row in log_of(api, webhook)] == ["pending"]
