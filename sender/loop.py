"""The loop of `flask webhooks send`: lease what is due, send it, and store the results.

One thread reads and writes the database; others only wait for receivers. Each round stores the
results that came meanwhile and leases what is next in one transaction: on SQLite, where writers
wait for each other, a few commits serve many deliveries. No transaction is open during HTTP.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from queue import Empty, SimpleQueue

from peewee import PeeweeException

import database
from database import transaction
from database.pool import PoolTimeout
from sender import queue, results, signatures
from sender.client import Client, ReceiverResponse
from sender.lanes import Lane
from sender.queue import Job
from sender.results import DeliveryResult
from services import deliveries, event_payloads, outbox
from times import utc_now

POLL_SECONDS = 0.2  # how often an idle sender looks for deliveries
SHORT_SECONDS = 0.005  # how soon it looks again just after it has stored results
GATHER_SECONDS = 0.03  # for more results to arrive after the first, so that one commit stores them
THREADS = 64
FOR_FAILING = 48  # threads at most for receivers whose last try failed
TESTS = 8  # threads beyond those, for tests
SEND_WITHIN_SECONDS = 35.0  # of the lease: a try takes up to 15 s, and a DNS look-up some more
SEEN_SECONDS = 15.0  # how often an idle sender records that it runs
PRUNE_SECONDS = 5.0
PAUSE_SECONDS = 1.0  # after a fault of the database
FINISH_SECONDS = 18.0  # after SIGTERM, for tries in progress
STACK_BYTES = 512 * 1024  # of a thread; the usual 8 MiB would be reserved and not used

log = logging.getLogger("meetings")


class SendingLoop:
    """Sends the deliveries of one database until it is told to stop."""

    def __init__(self, client: Client, retry_seconds: tuple[float, ...], keep_days: int) -> None:
        self._client, self._retry_seconds, self._keep_days = client, retry_seconds, keep_days
        self._lock = threading.Lock()  # guards the lanes
        self._lanes: dict[str, Lane] = {}
        self._under_way: set[int] = set()  # the numbers of leased deliveries
        self._arrived: SimpleQueue[DeliveryResult] = SimpleQueue()
        self._unstored: list[DeliveryResult] = []
        self._has_stored = True  # whether the last round stored results
        self._id = ""
        self._seen_at = self._pruned_at = 0.0
        self._stopping = threading.Event()
        threading.stack_size(STACK_BYTES)
        self._threads = ThreadPoolExecutor(THREADS, "send")
        self._test_threads = ThreadPoolExecutor(TESTS, "test")

    def stop(self) -> None:
        """Lease nothing more, and finish the tries in progress; a signal handler may call it."""
        self._stopping.set()

    def run(self, once: bool = False, is_needed: Callable[[], bool] = lambda: True) -> None:
        """Send until `stop`, until nothing is due (`once`), or until the sender is not needed."""
        while not self._stopping.is_set() and is_needed():
            self._gather()
            is_idle = self._round_or_pause()
            if once and is_idle:
                break
        self._finish()

    def _gather(self) -> None:
        """Wait for a result, or until it is time to look for deliveries; take all there are."""
        try:
            # Stored results may have made the next events of their meetings due.
            wait = SHORT_SECONDS if self._has_stored else POLL_SECONDS
            self._unstored.append(self._arrived.get(timeout=wait))
            self._stopping.wait(GATHER_SECONDS)
            while True:
                self._unstored.append(self._arrived.get_nowait())
        except Empty:
            pass

    def _round_or_pause(self) -> bool:
        """Do one round; returns whether there was nothing to do."""
        try:
            return self._round()
        except (PeeweeException, PoolTimeout) as error:
            if not database.is_unavailable(error):
                raise
            log.warning("The sender waits for the database: %s", type(error).__name__)
            self._stopping.wait(PAUSE_SECONDS)
            return False
        finally:
            database.release()

    def _round(self) -> bool:
        now = utc_now()
        self._client.abort_late()
        self._client.close_idle()
        numbers = self._find_due(now) + self._find_tests(now)
        has_work = bool(numbers or self._unstored)
        if has_work or time.monotonic() - self._seen_at > SEEN_SECONDS:
            self._exchange(numbers)
        else:
            self._has_stored = False
        if not has_work and time.monotonic() - self._pruned_at > PRUNE_SECONDS:
            deliveries.prune_some(self._keep_days)
            self._pruned_at = time.monotonic()
        return not has_work and not self._under_way

    def _find_due(self, now: datetime) -> list[int]:
        """Return the deliveries that each lane has room for, and end those of disabled webhooks."""
        numbers: list[int] = []
        for webhook in queue.due_webhooks(now=now):
            if webhook.deleted_at is not None:
                deliveries.end_waiting(webhook.id, outbox.DELETED, with_tests=True)
            elif not webhook.enabled:
                deliveries.end_waiting(webhook.id, webhook.disabled_reason or outbox.DISABLED)
            elif room := self._room_for(webhook.id):
                rows = queue.due_deliveries.tuples(webhook_id=webhook.id, now=now, limit=room)
                numbers += [number for (number,) in rows]
        return [number for number in numbers if number not in self._under_way]

    def _room_for(self, webhook_id: str) -> int:
        with self._lock:
            lane = self._lanes.setdefault(webhook_id, Lane())
            if lane.is_failing:
                others = [each for each in self._lanes.values() if each.is_failing]
                if sum(each.running for each in others) >= FOR_FAILING:
                    return 0
            return lane.room

    def _find_tests(self, now: datetime) -> list[int]:
        rows = queue.due_tests.tuples(now=now, limit=TESTS)
        return [number for (number,) in rows if number not in self._under_way]

    def _exchange(self, numbers: list[int]) -> None:
        """Store the results, lease the deliveries, and begin to send them."""
        sender_id, jobs, disabled = self._store_and_lease(numbers)
        self._has_stored = bool(self._unstored)
        for result in self._unstored:
            self._under_way.discard(result.job.delivery.number)
        self._id, self._unstored, self._seen_at = sender_id, [], time.monotonic()
        for webhook_id, reason in disabled.items():
            log.warning("Webhook %s is disabled: %s", webhook_id, reason)
        self._start(jobs)
        for webhook_id, reason in disabled.items():
            deliveries.end_waiting(webhook_id, reason)

    @transaction
    def _store_and_lease(self, numbers: list[int]) -> tuple[str, list[Job], dict[str, str]]:
        now = utc_now()
        sender_id = self._id or results.register(now)
        disabled = results.store(self._unstored, now, self._retry_seconds, sender_id)
        return sender_id, queue.lease(numbers, now) if numbers else [], disabled

    # ------------------------------------------------------------------------------- threads

    def _start(self, jobs: list[Job]) -> None:
        for job in jobs:
            self._under_way.add(job.delivery.number)
            if job.delivery.test:
                self._test_threads.submit(self._send_test, job)
                continue
            with self._lock:
                lane = self._lanes.setdefault(job.webhook.id, Lane())
                lane.waiting.append(job)
                wants_thread = lane.wants_thread()
                lane.running += wants_thread
            if wants_thread:
                self._threads.submit(self._send_lane, lane)

    def _send_test(self, job: Job) -> None:
        self._arrived.put(self._send(job))

    def _send_lane(self, lane: Lane) -> None:
        """Send the deliveries that wait in a lane, one after another."""
        while True:
            with self._lock:
                if not lane.waiting:
                    lane.running -= 1
                    return
                job = lane.waiting.popleft()
            result = self._send(job)
            if result.answer is not None:
                with self._lock:
                    lane.learn(result.answer)
            self._arrived.put(result)

    def _send(self, job: Job) -> DeliveryResult:
        """Try a delivery, unless the sender stops or the lease may end before the try does."""
        now = utc_now()
        if self._stopping.is_set() or time.monotonic() > job.leased_at + SEND_WITHIN_SECONDS:
            return DeliveryResult(job, now, None)
        try:
            body = event_payloads.body_of(job.delivery, job.event)
            secrets = signatures.secrets_of(job.webhook, now)
            headers = signatures.sign(body, job.event.id, secrets, now)
            return DeliveryResult(job, now, self._client.post(job.webhook.url, body, headers))
        except Exception as error:  # a bug; without this, the lane would lose a thread
            log.error("Bug while sending delivery %s", job.delivery.id, exc_info=error)
            return DeliveryResult(
                job, now, ReceiverResponse(None, "A bug of the sender; it was logged.", 0)
            )

    def _finish(self) -> None:
        """Wait for the tries in progress, store their results, and give back what was not tried."""
        self._stopping.set()
        until = time.monotonic() + FINISH_SECONDS
        while self._under_way and time.monotonic() < until:
            self._client.abort_late()
            self._gather()
            if self._unstored:
                self._store_finished()
        self._client.close_idle(everything=True)
        for threads in (self._threads, self._test_threads):
            threads.shutdown(wait=False, cancel_futures=True)

    def _store_finished(self) -> None:
        try:
            self._exchange([])
        except (PeeweeException, PoolTimeout) as error:
            log.warning("The sender cannot store results: %s", type(error).__name__)
            time.sleep(PAUSE_SECONDS)
        finally:
            database.release()
