"""SIGKILL while webhooks arrive: a receipt and its effect are both stored, or neither is."""

import http.client
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from uuid import uuid4

from conftest import using
from hooks import calendly

from database import release
from faults.lengths import short_and_long
from services import clients, sources

SENDERS = 6
CANCELS = ("invitee.created", "invitee.canceled")


class Senders:
    """Booking systems that send each webhook until it is answered with 200."""

    def __init__(self, server, token):
        self.server, self.path = server, f"/hooks/{token}"
        self.running = True
        self.answered = {}  # receipt id → outcome
        self.wrong = []
        self.threads = [threading.Thread(target=self._run) for _ in range(SENDERS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.running = False
        for thread in self.threads:
            thread.join()

    def _run(self):
        while self.running:
            invitee = uuid4().hex
            email = f"{random.randrange(20)}@example.com"
            for event in random.sample(CANCELS, 2):
                self._send_until_done(calendly(event, invitee, email=email))

    def _send_until_done(self, payload):
        while self.running:
            connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
            try:
                connection.request("POST", self.path, json.dumps(payload))
                response = connection.getresponse()
                body = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(0.05)
                continue
            finally:
                connection.close()
            if response.status == 200:
                self.answered[body["receipt"]["id"]] = body["receipt"]["outcome"]
                return
            if response.status != 503:
                self.wrong.append(body)


@short_and_long("kills", 5, 100)
def test_killed_workers_leave_no_receipt_without_its_effect_and_no_effect_without_its_receipt(
    seeded, serve, report, kills
):
    with using(seeded.url):
        client_id = clients.find_key(seeded.key).client_id
        _, token = sources.create(client_id, {"name": "Calendly", "provider": "calendly"})
        release()
    server = serve(seeded.url)

    with Senders(server, token) as senders:
        for _ in range(kills):
            time.sleep(random.uniform(0.1, 0.5))
            os.kill(random.choice(server.workers_pids()), signal.SIGKILL)
        time.sleep(0.5)

    receipts = seeded.query("SELECT id, outcome, external_event_id, meeting_id FROM receipts")
    meetings = seeded.query("SELECT id, external_event_id, status FROM meetings")
    report(killed=kills, answered=len(senders.answered), stored=len(receipts))
    assert senders.wrong == []
    assert len(senders.answered) > 20
    stored = {str(id): outcome for id, outcome, _, _ in receipts}
    assert senders.answered.items() <= stored.items()
    # A booking logs its meeting, or else the cancellation that came first logs and cancels it.
    effects = Counter(
        (str(meeting_id), outcome) for _, outcome, _, meeting_id in receipts if meeting_id
    )
    for meeting_id, event_id, status in meetings:
        made = effects[str(meeting_id), "logged"]
        cancelled = effects[str(meeting_id), "cancelled"]
        assert cancelled == (status == "cancelled"), event_id
        assert made + cancelled >= 1, event_id
        assert made <= 1, event_id
    events = [event_id for _, event_id, _ in meetings]
    assert len(events) == len(set(events))
    assert set(events) == {event_id for _, _, event_id, _ in receipts}
