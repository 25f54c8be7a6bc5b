"""SIGKILL and many callers at once: a request under a key takes effect once, with one response."""

import http.client
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from uuid import uuid4

from faults.lengths import short_and_long

SENDERS = 6
LEADS = "/api/public/leads"


class Senders:
    """Callers that create leads, each sent under its key until it is answered, and then again.

    Nothing else protects these requests: each one that takes effect creates a lead.
    """

    def __init__(self, server, seeded):
        self.server, self.key = server, seeded.key
        self.running = True
        self.sent = set()
        self.answers = {}  # key → the bodies of the responses
        self.recovered = 0  # requests that took effect, but whose first response was lost
        self.wrong = []
        self.threads = [threading.Thread(target=self._run) for _ in range(SENDERS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.stop()

    def stop(self):
        self.running = False
        for thread in self.threads:
            thread.join()

    def send_again(self):
        """Send everything again that was sent, as a caller does who does not know what happened."""
        for key in sorted(self.sent):
            self._send(key)

    def _run(self):
        while self.running:
            key = uuid4().hex
            self.sent.add(key)
            while self.running and not self._send(key):
                time.sleep(random.uniform(0, 0.05))
            if random.random() < 0.3:
                self._send(key)

    def _send(self, key):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
        headers = {"X-API-Key": self.key, "Idempotency-Key": key}
        try:
            connection.request("POST", LEADS, json.dumps({"first_name": key}), headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        if response.status == 201:
            is_first = key not in self.answers
            self.recovered += is_first and response.headers.get("Idempotent-Replayed") == "true"
            self.answers.setdefault(key, set()).add(body)
        elif response.status not in (409, 503):
            self.wrong.append(body)
        return response.status == 201


@short_and_long("kills", 5, 100)
def test_killed_workers_never_leave_two_effects_or_an_answer_without_its_effect(
    seeded, serve, report, kills
):
    server = serve(seeded.url)

    with Senders(server, seeded) as senders:
        for _ in range(kills):
            time.sleep(random.uniform(0.1, 0.5))
            os.kill(random.choice(server.workers_pids()), signal.SIGKILL)
        time.sleep(0.5)
        senders.stop()
        senders.send_again()

    effects = Counter(name for (name,) in seeded.query("SELECT first_name FROM leads"))
    stored = dict(seeded.query("SELECT key, body FROM idempotency_keys"))
    report(killed=kills, keys=len(senders.sent), recovered=senders.recovered)
    assert senders.wrong == []
    assert len(senders.sent) > 20
    assert senders.answers.keys() == senders.sent
    assert all(effects[key] == 1 for key in senders.sent), effects.most_common(3)
    assert all(senders.answers[key] == {stored[key].encode()} for key in senders.sent)


def test_sixty_four_requests_at_once_over_two_workers_take_effect_once(seeded, serve, report):
    server = serve(seeded.url)
    call = ("POST", LEADS, {"first_name": "Once"}, seeded.key, {"Idempotency-Key": "k"})

    answers = server.call_many([call] * 64)

    replayed = sum("Idempotent-Replayed" in answer.headers for answer in answers)
    report(answers=len(answers), replayed=replayed)
    assert {answer.status for answer in answers} == {201}
    assert len({answer.body for answer in answers}) == 1
    assert replayed == 63
    assert seeded.query("SELECT count(*) FROM leads WHERE first_name = 'Once'") == [(1,)]
