"""Payloads of booking systems for tests, and a source to post them to."""

import json
from typing import Any

from conftest import Api
from werkzeug.test import TestResponse

from database import release
from services import sources

INVITEES = "https://api.calendly.com/scheduled_events/GBGB/invitees"
SLOTS = {
    1: ("2026-01-05T15:00:00Z", "2026-01-05T15:30:00Z"),
    2: ("2026-01-06T16:00:00Z", "2026-01-06T16:30:00Z"),
    3: ("2026-01-07T17:00:00Z", "2026-01-07T17:30:00Z"),
}


def calendly(
    event: str = "invitee.created",
    invitee: str = "A",
    old: str | None = None,
    slot: int = 1,
    **changes: Any,
) -> dict[str, Any]:
    """Return a Calendly webhook about an invitee; a field of ... is left out."""
    payload = {
        "uri": f"{INVITEES}/{invitee}",
        "email": "peter.parker@example.com",
        "name": "Peter Parker",
        "timezone": "America/New_York",
        "old_invitee": old and f"{INVITEES}/{old}",
        "rescheduled": False,
        "scheduled_event": {
            "name": "Discovery Call",
            "start_time": SLOTS[slot][0],
            "end_time": SLOTS[slot][1],
            "location": {"type": "zoom", "join_url": "https://zoom.example.com/j/1"},
        },
    } | changes
    return {
        "event": event,
        "created_at": "2026-01-01T00:00:00Z",
        "payload": {name: value for name, value in payload.items() if value is not ...},
    }


class Hook:
    """The address of a source: `hook.post(payload)`."""

    def __init__(self, api: Api, provider: str = "calendly", **given: Any) -> None:
        given = {"name": f"{provider} hook", "provider": provider} | given
        source, self.token = sources.create(api.client_id, given)
        release()
        self.api, self.source_id = api, source.id

    def post(self, payload: Any, api: Api | None = None, **options: Any) -> TestResponse:
        """Send a payload: bytes as they are, anything else as JSON."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return (api or self.api).http.post(f"/hooks/{self.token}", data=body, **options)

    def receive(self, payload: Any, api: Api | None = None) -> dict[str, Any]:
        """Send a payload and return the receipt."""
        answer = self.post(payload, api)
        assert answer.status_code == 200, answer.text
        return answer.json["receipt"]
