"""POST /hooks/{token}: what a booking system's webhook does, and the receipt it gets."""

import itertools
import json
import threading
from functools import partial

import pytest
from conftest import booking, call_at_once
from hooks import Hook, calendly

from services import intake, sources

EMAIL = "peter.parker@example.com"


@pytest.fixture
def hook(api):
    return Hook(api)


@pytest.fixture
def strict(api):
    """A source that creates no leads."""
    return Hook(api, create_leads=False, name="strict")


def meetings_of(api, **query):
    return api.get("/meetings", query_string=query).json["meetings"]


def activities(api, lead_id):
    history = api.get(f"/leads/{lead_id}/history").json["history"]
    return [activity["activity_type"] for activity in history]


class TestReceipts:
    def test_a_booking_is_logged_and_its_receipt_says_so(self, api, hook):
        receipt = hook.receive(calendly())

        assert list(receipt) == [
            *("id", "source_id", "provider", "event", "outcome", "message", "details"),
            *("meeting_id", "lead_id", "lead_email", "received_at", "attempts"),
        ]
        [meeting] = meetings_of(api)
        assert receipt["outcome"] == "logged"
        assert receipt["event"] == "invitee.created"
        assert receipt["details"] is None
        assert (receipt["meeting_id"], receipt["lead_id"]) == (meeting["id"], meeting["lead_id"])
        assert (receipt["lead_email"], receipt["attempts"]) == (EMAIL, 1)
        assert activities(api, meeting["lead_id"]) == ["lead_created", "meeting_scheduled"]

    def test_a_receipt_can_be_read_with_its_payload_as_it_was_sent(self, api, hook):
        sent = b'{"event":  "invitee.created", "n": 1e400, "\\u0000": "\\ud800", "event": "x"}'

        receipt = hook.receive(sent)
        answer = api.get(f"/receipts/{receipt['id']}")

        assert answer.data.rstrip().endswith(b'"payload":' + sent + b"}}")

    def test_another_client_sees_neither_the_receipt_nor_the_meeting(self, api, stranger, hook):
        receipt = hook.receive(calendly())

        assert stranger.get(f"/receipts/{receipt['id']}").status_code == 404
        assert stranger.post(f"/receipts/{receipt['id']}/retry").status_code == 404
        assert stranger.get("/receipts").json["receipts"] == []
        assert stranger.post("/receipts/retry", json={"outcome": "logged"}).json["retried"] == 0
        assert meetings_of(stranger) == []

    def test_an_identical_webhook_changes_nothing(self, api, hook):
        first, again = hook.receive(calendly()), hook.receive(calendly())

        assert (first["outcome"], again["outcome"]) == ("logged", "unchanged")
        assert again["meeting_id"] == first["meeting_id"]
        assert len(api.get("/receipts").json["receipts"]) == 2

    @pytest.mark.parametrize("payload", [b"[]", b'"text"', b"7", b"null"])
    def test_a_payload_that_is_not_an_object_is_refused(self, hook, payload):
        receipt = hook.receive(payload)

        assert receipt["outcome"] == "refused"
        assert receipt["details"] == {"body": ["Must be a JSON object."]}

    def test_an_event_about_no_meeting_is_ignored(self, api, hook):
        receipt = hook.receive(calendly("routing_form_submission.created"))

        assert receipt["outcome"] == "ignored"
        assert "routing_form_submission.created" in receipt["message"]
        assert meetings_of(api) == []

    def test_a_booking_without_a_time_is_refused(self, api, hook):
        receipt = hook.receive(calendly(scheduled_event={"name": "Call"}))

        assert receipt["outcome"] == "refused"
        assert set(receipt["details"]) == {"starts_at", "ends_at"}
        assert api.get("/leads").json["leads"] == []

    def test_an_unknown_host_is_left_out(self, api, hook):
        payload = calendly()
        memberships = [{"user_email": "nobody@example.com"}]
        payload["payload"]["scheduled_event"]["event_memberships"] = memberships

        receipt = hook.receive(payload)

        assert receipt["outcome"] == "logged"
        assert list(receipt["details"]) == ["host_email"]


class TestOutcomes:
    def test_a_cancellation_cancels_the_meeting_with_its_reason(self, api, hook):
        hook.receive(calendly())

        receipt = hook.receive(calendly("invitee.canceled", cancellation={"reason": "ill"}))

        [meeting] = meetings_of(api)
        assert receipt["outcome"] == "cancelled"
        assert (meeting["status"], meeting["cancellation_reason"]) == ("cancelled", "ill")

    def test_a_cancellation_before_its_booking_logs_the_meeting_and_cancels_it(self, api, hook):
        cancelled = hook.receive(calendly("invitee.canceled"))
        late = hook.receive(calendly())

        [meeting] = meetings_of(api)
        assert (cancelled["outcome"], late["outcome"]) == ("cancelled", "unchanged")
        assert meeting["status"] == "cancelled"
        kinds = ["lead_created", "meeting_scheduled", "meeting_cancelled"]
        assert activities(api, meeting["lead_id"]) == kinds

    def test_a_no_show_is_marked_and_taken_back(self, api, hook):
        hook.receive(calendly())

        marked = hook.receive(calendly("invitee_no_show.created"))
        again = hook.receive(calendly("invitee_no_show.created"))
        undone = hook.receive(calendly("invitee_no_show.deleted"))
        undone_again = hook.receive(calendly("invitee_no_show.deleted"))

        outcomes = [r["outcome"] for r in (marked, again, undone, undone_again)]
        assert outcomes == ["no_show", "unchanged", "reopened", "unchanged"]
        assert meetings_of(api)[0]["status"] == "scheduled"

    def test_a_no_show_that_is_taken_back_reopens_no_cancelled_meeting(self, api, hook):
        hook.receive(calendly())
        hook.receive(calendly("invitee.canceled"))

        assert hook.receive(calendly("invitee_no_show.deleted"))["outcome"] == "unchanged"
        assert meetings_of(api)[0]["status"] == "cancelled"

    def test_a_forbidden_outcome_is_refused_under_status(self, api, hook):
        hook.receive(calendly())
        hook.receive(calendly("invitee.canceled"))

        receipt = hook.receive(calendly("invitee_no_show.created"))

        assert receipt["outcome"] == "refused"
        assert list(receipt["details"]) == ["status"]
        assert receipt["meeting_id"] == meetings_of(api)[0]["id"]

    def test_a_refused_outcome_of_a_moved_booking_does_not_move_the_meeting(self, api, hook):
        logged = hook.receive(calendly())
        api.post(f"/meetings/{logged['meeting_id']}/complete")
        before = meetings_of(api)

        receipt = hook.receive(calendly("invitee.canceled", "B", old="A", slot=2))

        assert receipt["outcome"] == "refused"
        assert meetings_of(api) == before

    def test_a_late_outcome_of_an_earlier_id_changes_nothing(self, api, hook):
        hook.receive(calendly())
        hook.receive(calendly(invitee="B", old="A", slot=2))

        assert hook.receive(calendly("invitee.canceled", "A"))["outcome"] == "unchanged"
        assert meetings_of(api)[0]["status"] == "scheduled"

    def test_an_outcome_that_names_another_lead_is_refused(self, api, hook, lead):
        hook.receive(calendly())

        receipt = hook.receive(calendly("invitee.canceled", email=lead["email"]))

        assert receipt["outcome"] == "refused"
        assert meetings_of(api)[0]["status"] == "scheduled"


def calcom(event="BOOKING_CREATED", minute=0, **changes):
    """Return a Cal.com webhook that was made in a minute of some hour."""
    body = {
        "uid": "cal-1",
        "eventTitle": "Intro",
        "startTime": "2026-01-05T15:00:00Z",
        "endTime": "2026-01-05T15:30:00Z",
        "location": "integrations:daily",
        "attendees": [{"email": EMAIL, "name": "Peter Parker"}],
    }
    return {
        "triggerEvent": event,
        "createdAt": f"2026-01-01T20:{minute:02}:00.120Z",
        "payload": body | changes,
    }


class TestTimesOfEvents:
    @pytest.fixture
    def hook(self, api):
        return Hook(api, "calcom")

    def test_an_event_that_arrives_after_a_later_one_changes_nothing(self, api, hook):
        hook.receive(calcom())
        moved = hook.receive(calcom("BOOKING_LOCATION_UPDATED", 5, location="Main Street 9"))
        late = hook.receive(calcom("BOOKING_PAID", 3, location="integrations:daily"))

        assert (moved["outcome"], late["outcome"]) == ("updated", "unchanged")
        assert meetings_of(api)[0]["location_details"] == "Main Street 9"

    def test_a_repeated_payload_changes_nothing_even_after_a_call_of_the_api(self, api, hook):
        logged = hook.receive(calcom())
        times = {"starts_at": "2026-01-06T10:00:00Z"}
        api.post(f"/meetings/{logged['meeting_id']}/reschedule", json=times)

        assert hook.receive(calcom())["outcome"] == "unchanged"
        assert meetings_of(api)[0]["starts_at"] == "2026-01-06T10:00:00Z"

    def test_another_payload_of_the_same_time_is_applied(self, api, hook):
        hook.receive(calcom())

        assert hook.receive(calcom(eventTitle="Demo"))["outcome"] == "updated"

    def test_a_late_or_repeated_outcome_changes_nothing(self, api, hook):
        logged = hook.receive(calcom())
        missed = calcom("BOOKING_NO_SHOW_UPDATED", 10, bookingUid="cal-1", noShow=True)
        came = calcom("BOOKING_NO_SHOW_UPDATED", 20, bookingUid="cal-1", noShow=False)

        outcomes = [hook.receive(payload)["outcome"] for payload in (missed, came, missed, came)]
        assert outcomes == ["no_show", "reopened", "unchanged", "unchanged"]
        cancelled = calcom("BOOKING_CANCELLED", 30)
        hook.receive(cancelled)
        api.post(f"/meetings/{logged['meeting_id']}/reopen")
        assert hook.receive(cancelled)["outcome"] == "unchanged"
        assert meetings_of(api)[0]["status"] == "scheduled"

    def test_a_booking_after_its_cancellation_still_brings_its_fields(self, api, hook):
        hook.receive(calcom("BOOKING_CANCELLED", 30))

        late = hook.receive(calcom(additionalNotes="Bring the suit"))

        [meeting] = meetings_of(api)
        assert late["outcome"] == "updated"
        assert (meeting["status"], meeting["description"]) == ("cancelled", "Bring the suit")

    def test_bookings_of_one_group_are_applied_by_their_times(self, api, hook):
        source = sources.find(api.client_id, hook.source_id)
        payloads = [calcom(minute=m, eventTitle=f"Title {m}") for m in (1, 3, 2)]
        items = [intake._new_item(source, json.dumps(p), p) for p in payloads]

        received = intake._receive(api.client_id, items)

        assert [r.outcome for r in received] == ["logged", "updated", "unchanged"]
        assert meetings_of(api)[0]["title"] == "Title 3"
        assert hook.receive(calcom(minute=2))["outcome"] == "unchanged"


class TestUnmatched:
    def test_a_booking_by_an_unknown_person_waits_for_the_lead(self, api, strict):
        receipt = strict.receive(calendly())
        assert receipt["outcome"] == "unmatched"
        assert (receipt["meeting_id"], receipt["lead_id"]) == (None, None)
        assert meetings_of(api) == []

        lead = api.new_lead(email=EMAIL.upper())

        [meeting] = api.meetings(lead)
        receipt = api.get(f"/receipts/{receipt['id']}").json["receipt"]
        assert receipt["outcome"] == "logged"
        assert (receipt["meeting_id"], receipt["attempts"]) == (meeting["id"], 2)
        assert activities(api, lead["id"]) == ["lead_created", "meeting_scheduled"]

    def test_it_is_also_processed_when_a_lead_gets_the_email(self, api, strict, lead):
        strict.receive(calendly())

        api.patch(f"/leads/{lead['id']}", json={"email": EMAIL})

        assert len(api.meetings(lead)) == 1

    def test_it_is_also_processed_when_a_booking_creates_the_lead(self, api, strict):
        strict.receive(calendly())

        other = booking(lead_email=EMAIL, create_lead=True)
        api.post("/meetings", json=other)

        assert len(meetings_of(api)) == 2

    def test_a_bare_outcome_waits_for_its_booking(self, api, hook):
        bare = {"event": "invitee_no_show.created", "payload": {"uri": "https://x.example/i/A"}}

        receipt = hook.receive(bare)
        assert receipt["outcome"] == "unmatched"
        logged = hook.receive(calendly())

        receipt = api.get(f"/receipts/{receipt['id']}").json["receipt"]
        assert (logged["outcome"], receipt["outcome"]) == ("logged", "no_show")
        assert receipt["meeting_id"] == logged["meeting_id"]
        assert meetings_of(api)[0]["status"] == "no_show"

    def test_it_also_waits_for_a_booking_that_comes_through_the_api(self, api, hook, lead):
        bare = {"event": "invitee.canceled", "payload": {"uri": "https://x.example/i/A"}}
        hook.receive(bare)

        pair = {"external_calendar_provider": "calendly", "external_event_id": "A"}
        answer = api.post("/meetings", json=booking(**pair))

        assert answer.status_code == 201
        assert answer.json["meeting"]["status"] == "confirmed"  # as it was logged
        assert meetings_of(api)[0]["status"] == "cancelled"
        assert api.post("/meetings", json=booking(**pair)).status_code == 200

    def test_one_lead_lets_a_chain_of_receipts_through(self, api, strict):
        bare = {"event": "invitee_no_show.created", "payload": {"uri": "https://x.example/i/B"}}
        outcomes = [
            strict.receive(payload)["outcome"]
            for payload in (bare, calendly(invitee="B", old="A", slot=2), calendly())
        ]
        assert outcomes == ["unmatched"] * 3

        lead = api.new_lead(email=EMAIL)

        [meeting] = api.meetings(lead)
        assert (meeting["external_event_id"], meeting["status"]) == ("B", "no_show")
        assert api.get("/receipts?outcome=unmatched").json["receipts"] == []

    def test_a_booking_without_an_email_is_unmatched(self, hook):
        receipt = hook.receive(calendly(email="not an email"))

        assert receipt["outcome"] == "unmatched"
        assert list(receipt["details"]) == ["lead_email"]

    def test_at_most_a_hundred_receipts_are_processed_by_one_change(self, api, strict):
        for number in range(103):
            strict.receive(calendly(invitee=f"I-{number}"))

        lead = api.new_lead(email=EMAIL)

        assert len(api.meetings(lead)) == 100
        assert len(api.get("/receipts?outcome=unmatched").json["receipts"]) == 3
        retried = api.post("/receipts/retry", json={"outcome": "unmatched"}).json
        assert retried == {"success": True, "retried": 3, "outcomes": {"logged": 3}, "left": 0}

    def test_a_failing_receipt_does_not_keep_the_lead_from_being_created(
        self, api, strict, monkeypatch
    ):
        strict.receive(calendly())
        monkeypatch.setattr("services.processing.Processing._log", lambda self, rows: 1 // 0)

        api.new_lead(email=EMAIL)

        assert len(api.get("/receipts?outcome=unmatched").json["receipts"]) == 1

    def test_none_stays_behind_when_the_lead_is_created_at_the_same_moment(self, api, callers):
        hooks = [Hook(api, create_leads=False, name=f"{n}") for n in range(10)]
        for round, hook in enumerate(hooks):
            together = threading.Barrier(2, timeout=20)
            email = f"person-{round}@example.com"

            def create_lead(email=email, together=together):
                together.wait()
                callers[0].new_lead(email=email)

            def book(email=email, hook=hook, together=together):
                together.wait()
                hook.receive(calendly(invitee=email, email=email), callers[1])

            call_at_once(create_lead, book)

        assert api.get("/receipts?outcome=unmatched").json["receipts"] == []
        assert len(meetings_of(api)) == 10

    def test_none_stays_behind_when_the_booking_is_logged_at_the_same_moment(self, api, callers):
        hook = Hook(api)
        for round in range(10):
            together = threading.Barrier(2, timeout=20)
            bare = {"event": "invitee.canceled", "payload": {"uri": f"https://x.example/{round}"}}

            def send(payload, caller, together=together):
                together.wait()
                hook.receive(payload, caller)

            whole = calendly(invitee=f"{round}")
            call_at_once(partial(send, bare, callers[0]), partial(send, whole, callers[1]))

        assert api.get("/receipts?outcome=unmatched").json["receipts"] == []
        assert {meeting["status"] for meeting in meetings_of(api)} == {"cancelled"}


class TestRefused:
    def test_a_known_booking_with_an_unknown_email_is_refused_and_creates_no_lead(self, api, hook):
        hook.receive(calendly())

        receipt = hook.receive(calendly(email="other@example.com"))

        assert receipt["outcome"] == "refused"
        assert list(receipt["details"]) == ["lead_email"]
        assert len(api.get("/leads").json["leads"]) == 1

    def test_a_known_booking_with_the_email_of_another_lead_is_refused(self, api, hook, lead):
        hook.receive(calendly())

        receipt = hook.receive(calendly(email=lead["email"]))

        assert receipt["outcome"] == "refused"

    def test_two_ids_that_name_two_meetings_are_refused_and_both_are_named(self, api, hook):
        first, second = hook.receive(calendly()), hook.receive(calendly(invitee="B", slot=2))

        receipt = hook.receive(calendly(invitee="B", old="A", slot=2))

        assert receipt["outcome"] == "refused"
        assert first["meeting_id"] in receipt["message"]
        assert second["meeting_id"] in receipt["message"]


def test_a_retried_receipt_is_processed_with_the_leads_of_now(api, hook):
    receipt = hook.receive(calendly(email="not an email"))
    assert api.post(f"/receipts/{receipt['id']}/retry").json["receipt"]["outcome"] == "unmatched"

    done = hook.receive(calendly())
    again = api.post(f"/receipts/{done['id']}/retry").json["receipt"]

    assert again["outcome"] == "unchanged"
    assert api.get(f"/receipts/{done['id']}").json["receipt"]["outcome"] == "logged"


def states_after(api, orders, payloads):
    """Yield each order of payloads and, after it, the meetings and the outcomes."""
    for number, order in enumerate(orders):
        hook = Hook(api, "calendly", name=f"order {number}")
        outcomes = []
        for name in order:
            payload = payloads[name](number)
            outcomes.append(hook.receive(payload)["outcome"])
        email = f"p{number}@example.com"
        yield order, meetings_of(api, lead_email=email), outcomes


def test_every_order_of_a_booking_two_moves_and_a_cancellation_ends_the_same(api):
    def make(event, invitee, old, slot):
        return lambda n: calendly(
            event, f"{invitee}{n}", old and f"{old}{n}", slot, email=f"p{n}@example.com"
        )

    payloads = {
        "A": make("invitee.created", "A", None, 1),
        "B": make("invitee.created", "B", "A", 2),
        "C": make("invitee.created", "C", "B", 3),
        "X": make("invitee.canceled", "C", "B", 3),
    }
    orders = [*itertools.permutations("ABCX"), *itertools.permutations("AABCX")]

    for order, meetings, outcomes in states_after(api, orders, payloads):
        if "refused" in outcomes:
            continue
        [meeting] = meetings
        assert meeting["status"] == "cancelled", order
        assert meeting["external_event_id"].startswith("C"), order
        assert meeting["starts_at"] == "2026-01-07T17:00:00Z", order
