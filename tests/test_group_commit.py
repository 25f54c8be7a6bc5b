"""Group commit: concurrent calls share a transaction, and no caller pays for another's fault."""

import threading
import time

import pytest

from database import group_commit, transaction
from database.group_commit import SINGLES, GroupCommit
from database.pool import PoolTimeout
from services.errors import LeadNotFound

pytestmark = pytest.mark.usefixtures("app")  # a group belongs to a database


class Work:
    """Carries out items; the first call waits until `followers` calls have queued up behind it."""

    def __init__(self, followers):
        self.groups = []
        self.followers = followers
        self.queued = 0
        self.fails_together = False
        self.run = GroupCommit(self.carry_out)

    def carry_out(self, client_id, items):
        is_first = not self.groups
        self.groups.append((client_id, items))
        deadline = time.monotonic() + 5
        while is_first and self.queued < self.followers and time.monotonic() < deadline:
            time.sleep(0.001)
            self.queued = sum(map(len, self.run._queues.values()))
        if "away" in items:
            raise PoolTimeout("away")
        if self.fails_together and len(items) > 1:
            raise ValueError("one of the items is odd")
        if "odd" in items:
            raise ValueError("odd")
        return [LeadNotFound("name") if item == "wrong" else item * 2 for item in items]

    def call_all(self, calls):
        """Call with each (client id, items), the first one first; returns what each ends in."""
        outcomes = {}

        def call(index, client_id, items):
            try:
                outcomes[index] = self.run(client_id, items)
            except Exception as error:
                outcomes[index] = type(error)

        threads = [threading.Thread(target=call, args=(n, *each)) for n, each in enumerate(calls)]
        threads[0].start()
        while not self.groups:
            time.sleep(0.001)
        for thread in threads[1:]:
            thread.start()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive(), "a caller was never woken"
        return [outcomes[index] for index in range(len(calls))]


def test_calls_that_arrive_during_a_transaction_share_the_next_one():
    work = Work(followers=3)

    outcomes = work.call_all([("c", ["a"]), ("c", ["b"]), ("c", ["d", "e"]), ("c", ["f"])])

    assert outcomes == [["aa"], ["bb"], ["dd", "ee"], ["ff"]]
    [(_, first), (_, group)] = work.groups
    assert first == ["a"]
    assert sorted(group) == ["b", "d", "e", "f"]


def test_a_refused_item_is_a_result_for_its_caller_alone():
    work = Work(followers=1)

    [[first], [refused]] = work.call_all([("c", ["a"]), ("c", ["wrong"])])

    assert first == "aa"
    assert isinstance(refused, LeadNotFound)


def test_calls_for_different_clients_do_not_share_a_transaction():
    work = Work(followers=1)

    outcomes = work.call_all([("c", ["a"]), ("c", ["b"]), ("d", ["e"])])

    assert outcomes == [["aa"], ["bb"], ["ee"]]
    assert sorted(work.groups) == [("c", ["a"]), ("c", ["b"]), ("d", ["e"])]


def test_a_group_has_at_most_500_items():
    work = Work(followers=2)

    outcomes = work.call_all([("c", ["a"]), ("c", ["b"] * 300), ("c", ["d"] * 300)])

    assert [len(outcome) for outcome in outcomes] == [1, 300, 300]
    assert [len(items) for _, items in work.groups] == [1, 300, 300]


def test_if_a_group_fails_each_call_runs_alone():
    work = Work(followers=3)
    work.fails_together = True

    outcomes = work.call_all([("c", ["a"]), ("c", ["b"]), ("c", ["odd"]), ("c", ["d"])])

    assert outcomes == [["aa"], ["bb"], ValueError, ["dd"]]


def test_if_the_database_is_unavailable_all_waiting_callers_are_told_at_once():
    work = Work(followers=2)

    outcomes = work.call_all([("c", ["away"]), ("c", ["b"]), ("c", ["d"])])

    assert outcomes == [PoolTimeout] * 3
    assert work.groups == [("c", ["away"])]


def test_calls_go_on_after_a_failure():
    work = Work(followers=0)

    first = work.call_all([("c", ["odd"])])
    second = work.call_all([("c", ["b"])])

    assert (first, second) == ([ValueError], [["bb"]])
    assert work.run._queues == {}


def test_a_call_within_a_transaction_runs_alone_and_does_not_wait_for_others():
    """What it writes must commit with that transaction, and nothing of others with it."""
    work, results = Work(followers=1), []

    @transaction
    def call():
        results.append(work.run("client", [7]))

    waits = threading.Thread(target=work.run, args=("client", [1]))
    follows = threading.Thread(target=work.run, args=("client", [2]))
    waits.start()
    while not work.groups:
        time.sleep(0.001)
    call()
    assert work.queued == 0
    follows.start()
    waits.join(10)
    follows.join(10)

    assert results == [[14]]
    assert work.groups == [("client", [1]), ("client", [7]), ("client", [2])]


def test_after_many_calls_alone_only_a_few_wait_for_others(monkeypatch):
    waits = []
    monkeypatch.setattr(group_commit, "wait_until_idle", waits.append)
    work = Work(followers=0)

    for _ in range(3 * SINGLES):
        work.run("client", ["a"])

    assert len(waits) == SINGLES + 2


def test_after_a_group_of_several_calls_each_call_waits_for_others_again(monkeypatch):
    waits = []
    monkeypatch.setattr(group_commit, "wait_until_idle", waits.append)
    work = Work(followers=0)
    for _ in range(SINGLES + 1):
        work.run("client", ["a"])
    work.groups.clear()  # so that the next call waits for its followers
    work.followers = 2
    work.call_all([("client", ["b"])] * 3)
    waits.clear()

    work.run("client", ["c"])

    assert len(waits) == 1
