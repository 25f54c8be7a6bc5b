"""Callers that book, cancel, read and retry, and record every response."""

import http.client
import json
import random
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from conftest import booking
from server import Answer, Server

from faults.seeded import SeededDatabase

MEETINGS = "/api/public/meetings"
PATIENCE = 30.0  # seconds after which a request without a response counts as hanging
ARRAY = 10  # bookings in an array
CALLERS = ("book", "book", "book", "book", "array", "read")

# The results of requests without a response.
REFUSED = "refused"  # no process was listening
HUNG_UP = "hung up"  # no byte came back, on a new connection
CLOSED = "closed"  # no byte came back, on a kept connection: HTTP lets callers retry
CUT_OFF = "cut off"  # a response began and did not end
HANGING = "hanging"


@dataclass(frozen=True)
class Call:
    """One request and its result: a status, or the reason why there was none."""

    kind: str
    began: float
    took: float
    result: int | str

    @property
    def ended(self) -> float:
        return self.began + self.took


def parse_answers(received: bytes) -> list[Answer]:
    """Parse the responses received on one connection; the last one may be incomplete."""
    found = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers.get("Content-Length", 0))
        found.append(Answer(int(first.split()[1]), headers, rest[:length]))
        received = rest[length:]
    return found


def fault_in(answer: Answer) -> str | None:
    """Return how a response violates the contract, or None."""
    try:
        body = answer.json
    except ValueError:
        return "no JSON"
    request_id = answer.headers.get("X-Request-Id")
    if not request_id:
        return "no X-Request-Id"
    if answer.status in (200, 201):
        return None if body["success"] is True else "not a success"
    if {"success", "error", "message", "code", "request_id"} - set(body) or body["success"]:
        return "not the envelope of errors"
    if body["request_id"] != request_id:
        return "two request ids"
    if answer.status == 503 and (body["code"], answer.headers.get("Retry-After")) != (
        "unavailable",
        "1",
    ):
        return "a 503 that does not say when to try again"
    return None


class Load:
    """Callers that send requests until the `with` block ends.

    A booking is sent again until the response is 200 or 201, as webhook senders do.
    """

    def __init__(
        self,
        server: Server,
        seeded: SeededDatabase,
        callers: tuple[str, ...] = CALLERS,
        pause: float = 0,
        patience: float = PATIENCE,
    ) -> None:
        self.server, self.seeded, self.pause, self.patience = server, seeded, pause, patience
        self.running = True
        self.lock = threading.Lock()
        self.calls: list[Call] = []
        self.wrong: list[str] = []  # responses that violate the contract
        self.sent: dict[str, dict[str, Any]] = {}  # external id → booking
        self.acknowledged: dict[str, set[str]] = defaultdict(set)  # external id → meeting ids
        self.created: Counter[str] = Counter()  # external id → number of 201 responses
        self.cancelled: set[str] = set()  # ids of meetings
        self.callers = [Caller(self, kind, index % 2 == 0) for index, kind in enumerate(callers)]

    def __enter__(self) -> "Load":
        for caller in self.callers:
            caller.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.running = False
        for caller in self.callers:
            caller.join()

    def resend_unacknowledged(self) -> None:
        """Send the bookings that were never acknowledged again, once the service has recovered."""
        self.__exit__()
        caller = Caller(self, "resend", False)
        for event_id, body in list(self.sent.items()):
            if event_id not in self.acknowledged:
                answer = caller.send("POST", MEETINGS, body)
                if answer is None or answer.status not in (200, 201):
                    self.wrong.append(f"{event_id}, sent again: {answer}")
                else:
                    self.acknowledge(event_id, answer.json["meeting"], answer.status)

    def acknowledge(self, event_id: str, meeting: dict[str, Any], status: int) -> None:
        with self.lock:
            self.acknowledged[event_id].add(meeting["id"])
            self.created[event_id] += status == 201

    def results(self, since: float = 0, until: float = float("inf")) -> Counter[int | str]:
        """Count the results of the requests that ended in that time."""
        return Counter(call.result for call in self.calls if since <= call.ended < until)

    def failures(self) -> dict[str, int]:
        """Count the requests without a response, except on kept connections that were closed."""
        return {
            result: count
            for result, count in self.results().items()
            if isinstance(result, str) and result != CLOSED
        }

    def slowest(self, since: float = 0) -> float:
        """Return the seconds of the slowest request that began since then."""
        return max((call.took for call in self.calls if call.began >= since), default=0.0)

    def created_without_answer(self) -> list[str]:
        """Return the external ids whose meeting was created by a request without a response."""
        stored = {row.event_id for row in self.seeded.stored().meetings}
        return [event_id for event_id in stored if self.created[event_id] != 1]

    def percentile(self, share: float, since: float = 0) -> float:
        """Return the seconds in which a share of the requests since then ended."""
        took = sorted(call.took for call in self.calls if call.began >= since)
        return took[min(int(len(took) * share), len(took) - 1)] if took else float("inf")

    def recovery(self, back: float) -> float:
        """Return the seconds from `back` until a booking sent since then was acknowledged."""
        return min(
            (
                call.ended - back
                for call in list(self.calls)
                if call.kind == "book" and call.began >= back and call.result in (200, 201)
            ),
            default=float("inf"),
        )

    def wait_for_recovery(self, back: float, seconds: float) -> None:
        """Wait until a booking sent since `back` is acknowledged, or until the seconds are over."""
        while self.recovery(back) == float("inf") and time.monotonic() < back + seconds:
            time.sleep(0.05)

    def problems(self) -> list[str]:
        """Return every difference between the stored rows and the responses."""
        stored = self.seeded.stored()
        meetings = {row.id: row for row in stored.meetings}
        by_event = defaultdict(set)
        for row in stored.meetings:
            by_event[row.event_id].add(row.id)
        found = list(self.wrong)
        found += [
            f"lost: {event_id} was acknowledged as {ids}, stored as {by_event[event_id]}"
            for event_id, ids in self.acknowledged.items()
            if ids != by_event[event_id]
        ]
        found += [f"twice: {event_id}" for event_id, ids in by_event.items() if len(ids) > 1]
        found += [f"created twice: {event_id}" for event_id, n in self.created.items() if n > 1]
        found += [f"never sent: {event_id}" for event_id in by_event.keys() - self.sent.keys()]
        activities = Counter(stored.activities)
        expected = Counter((id, "meeting_scheduled") for id in meetings)
        expected += Counter(
            (id, "meeting_cancelled") for id, row in meetings.items() if row.status == "cancelled"
        )
        found += [f"timeline lacks {entry}" for entry in expected - activities]
        found += [f"timeline has too much of {entry}" for entry in activities - expected]
        pairs = {(row.event_id, row.id) for row in stored.meetings}
        found += [
            f"meeting without external event, or the reverse: {pair}"
            for pair in pairs ^ stored.external_events
        ]
        found += [
            f"not cancelled: {id}"
            for id in self.cancelled
            if id not in meetings or meetings[id].status != "cancelled"
        ]
        return found

    def figures(self, since: float = 0) -> dict[str, Any]:
        """Return the figures for the summary at the end of the run."""
        errors = {
            str(result): count
            for result, count in sorted(self.results().items(), key=str)
            if result not in (200, 201)
        }
        lost = [problem for problem in self.problems() if problem.startswith("lost")]
        return {
            "acknowledged": len(self.acknowledged) + len(self.cancelled),
            "lost": len(lost),
            "errors": errors or "none",
            "slowest answer": f"{self.slowest():.2f} s",
        }


class Caller(threading.Thread):
    """One caller, which keeps its connection or opens a new one for each request."""

    def __init__(self, load: Load, kind: str, keeps_connection: bool) -> None:
        super().__init__(name=f"caller-{kind}")
        self.load, self.kind, self.keeps_connection = load, kind, keeps_connection
        self.connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        act = {"book": self.book, "array": self.book_many, "read": self.read}[self.kind]
        while self.load.running:
            act()
            time.sleep(self.load.pause)
        self.hang_up()

    def book(self) -> None:
        """Book once, and cancel about a third of the meetings."""
        body = self.new_booking()
        answer = self.send_until_done("POST", MEETINGS, body)
        if answer is None:
            return
        meeting = answer.json["meeting"]
        self.load.acknowledge(body["external_event_id"], meeting, answer.status)
        if random.random() < 1 / 3 and self.send_until_done(
            "POST", f"{MEETINGS}/{meeting['id']}/cancel", {"reason": "ill"}
        ):
            self.load.cancelled.add(meeting["id"])

    def book_many(self) -> None:
        """Book an array."""
        bodies = [self.new_booking() for _ in range(ARRAY)]
        answer = self.send_until_done("POST", MEETINGS, bodies)
        for body, result in zip(bodies, answer.json["results"] if answer else [], strict=False):
            if not result["success"]:
                self.load.wrong.append(f"a row of an array: {result}")
                continue
            self.load.acknowledge(body["external_event_id"], result["meeting"], result["status"])

    def read(self) -> None:
        """List the latest meetings of a lead."""
        self.send(
            "GET", f"/api/public/leads/{random.choice(self.load.seeded.leads)}/meetings?limit=5"
        )

    def new_booking(self) -> dict[str, Any]:
        lead = random.choice(self.load.seeded.leads)
        body = booking(lead_email=..., lead_id=lead, external_event_id=uuid4().hex)
        self.load.sent[body["external_event_id"]] = body
        return body

    def send_until_done(self, method: str, path: str, body: Any) -> Answer | None:
        """Send until the response is a success; None if the load ends first."""
        while self.load.running:
            answer = self.send(method, path, body)
            if answer is not None and answer.status in (200, 201):
                return answer
            time.sleep(0.05)
        return None

    def send(self, method: str, path: str, body: Any = None) -> Answer | None:
        """Send once and record the result; None without a response."""
        began = time.monotonic()
        result, answer = self.exchange(method, path, body)
        call = Call(self.kind, began, time.monotonic() - began, answer.status if answer else result)
        self.load.calls.append(call)
        if answer is None or not self.keeps_connection:
            self.hang_up()
        if answer is None:
            return None
        if answer.headers.get("Connection", "").lower() == "close":
            self.hang_up()
        fault = fault_in(answer) or (
            f"status {answer.status}" if answer.status not in (200, 201, 503) else None
        )
        if fault:
            self.load.wrong.append(f"{method} {path}: {fault}: {answer}")
        return answer

    def exchange(self, method: str, path: str, body: Any) -> tuple[str, Answer | None]:
        kept = self.connection is not None
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection(
                    "127.0.0.1", self.load.server.port, timeout=self.load.patience
                )
                self.connection.connect()
        except OSError:
            return REFUSED, None
        headers = {"X-API-Key": self.load.seeded.key}
        try:
            self.connection.request(
                method, path, None if body is None else json.dumps(body), headers
            )
            response = self.connection.getresponse()
        except TimeoutError:
            return HANGING, None
        except (OSError, http.client.HTTPException):
            return CLOSED if kept else HUNG_UP, None
        try:
            answer = Answer(response.status, dict(response.getheaders()), response.read())
        except TimeoutError:
            return HANGING, None
        except (OSError, http.client.HTTPException):
            return CUT_OFF, None
        return "", answer

    def hang_up(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = None
