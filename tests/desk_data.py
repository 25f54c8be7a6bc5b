"""A team's week for the tests of the desk, relative to now: meetings, arrivals, deliveries."""

from datetime import timedelta
from typing import Any
from unittest.mock import patch

from conftest import Api, booking
from hooks import Hook, calendly

from database import release, transaction
from services import meeting_types, network, users, webhooks
from times import format_instant, utc_now
from webhook_models import Delivery, Webhook

PEOPLE = [
    ("Tony", "Stark", "tony.stark@example.com", "Stark Industries", "ads"),
    ("Ada", "Lovelace", "ada@example.com", "Analytical Engines", "referral"),
    ("Grace", "Hopper", "grace@example.com", "Harbour Systems", "ads"),
    ("Peter", "Parker", "peter.parker@example.com", "Daily Bugle", "fair"),
    ("Katherine", "Johnson", "katherine@example.com", "Orbit Partners", "referral"),
    ("Linus", "Pauling", "linus@example.com", "Bond & Sons", "fair"),
]
TITLES = ["Discovery call", "Product demo", "Pricing review", "Onboarding"]
STATES = ["complete", "complete", "no-show", "complete", "cancel"]


def store_week(api: Api) -> dict[str, Any]:
    """Store a team's last weeks and next days; returns the ids of what the tests look for."""
    users.create(api.client_id, "pepper@example.com", "Pepper", "Potts")
    users.create(api.client_id, "happy@example.com", "Happy", "Hogan")
    kind = meeting_types.create(api.client_id, "Sales")
    release()
    leads = [
        api.new_lead(
            first_name=first, last_name=last, email=email, company=company, source=source,
            phone=f"+1 212 970 41{number:02}",
        )["id"]
        for number, (first, last, email, company, source) in enumerate(PEOPLE)
    ]  # fmt: skip
    now = utc_now().replace(minute=0, second=0, microsecond=0)
    made: dict[str, Any] = {"leads": leads, "open": [], "next": []}

    def log(number: int, starts_at: Any, **more: Any) -> str:
        body = booking(
            lead_email=..., lead_id=leads[number % len(leads)],
            title=TITLES[number % len(TITLES)], starts_at=format_instant(starts_at), ends_at=...,
            duration_minutes=45, attendee_name=..., external_event_id=f"b{number}",
            timezone=["America/New_York", "Europe/Berlin", "UTC"][number % 3],
            host_email=["pepper@example.com", "happy@example.com"][number % 2],
            meeting_type_id=kind.id, status="scheduled", **more,
        )  # fmt: skip
        answer = api.post("/meetings", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json["meeting"]["id"]

    for number in range(60):
        meeting = log(number, now - timedelta(days=16 + number))
        verb = STATES[(number * 7 + number // 4) % len(STATES)]
        api.post(f"/meetings/{meeting}/{verb}")
    for number in range(60, 64):
        made["open"].append(log(number, now - timedelta(hours=20 * (number - 59))))
    for number in range(64, 70):
        made["next"].append(log(number, now + timedelta(hours=3 + 7 * (number - 64))))
    api.post(f"/meetings/{made['next'][1]}/confirm")
    return made


def store_arrivals(api: Api) -> list[dict[str, Any]]:
    """Store an unmatched, a refused and a logged receipt; returns them."""
    hook = Hook(api, create_leads=False)
    return [
        hook.receive(calendly(invitee="d1", email="new.person@example.com", name="New Person")),
        hook.receive(calendly(invitee="d2", scheduled_event=...)),
        hook.receive(calendly(invitee="d3", email="tony.stark@example.com", slot=2)),
    ]


@transaction
def fail(webhook_id: str) -> None:
    """Let the first delivery of a webhook fail, as the sender records it."""
    now = utc_now()
    first = Delivery.select().where(Delivery.webhook == webhook_id).order_by(Delivery.number).get()
    answer = {
        "at": format_instant(now), "status_code": 500, "error": None, "milliseconds": 31,
        "response": "<b>Internal error</b> & more",
    }  # fmt: skip
    Delivery.update(
        status="failed", attempts=1, last_status_code=500, next_attempt_at=None, tries=[answer]
    ).where(Delivery.number == first.number).execute()
    Webhook.update(failing_since=now, failed_tries=1).where(Webhook.id == webhook_id).execute()


def store_deliveries(api: Api, url: str = "https://crm.example.com/hook") -> str:
    """Store a webhook with a delivery that failed; returns the webhook's id."""
    with patch.object(network, "check"):  # which would look up the name
        webhook, _ = webhooks.create(api.client_id, {"url": url, "name": "CRM"}, ())
    lead = api.new_lead(first_name="Delivered", email="delivered@example.com")
    api.patch(f"/leads/{lead['id']}", json={"company": "Delivered & Sons"})
    fail(webhook.id)
    release()
    return webhook.id


@transaction
def rename(client_id: str, webhook_id: str, name: str) -> None:
    """Give a webhook a name."""
    Webhook.update(name=name).where(Webhook.client == client_id, Webhook.id == webhook_id).execute()
