"""Tasks take turns in one thread, and wait without keeping each other waiting."""

import os
import selectors
import threading
import time

import pytest
from conftest import using

import database
from tasks import Hub, Word, apart, current, pause


def test_who_pauses_lets_others_go_first(carry_out):
    order = []

    def task(name, times):
        for _ in range(times):
            order.append(name)
            pause()

    carry_out(lambda: task("a", 3), lambda: task("b", 2), lambda: task("c", 1))

    assert order == ["a", "b", "c", "a", "b", "a"]


def test_a_task_that_is_done_carries_out_another_call():
    hub, seen = Hub(), []
    for _ in range(3):
        hub.start(lambda: seen.append(current()))
        hub.look_out(0)
        hub.give_turns()
    hub.selector.close()

    assert len(seen) == 3
    assert len(set(seen)) == 1


def test_a_task_may_start_others(carry_out):
    order = []

    def child(name):
        for _ in range(2):
            order.append(name)
            pause()

    def parent():
        current().hub.start(child, "a")
        current().hub.start(child, "b")
        pause(0.01)
        order.append("parent")

    carry_out(parent)

    assert order == ["a", "b", "a", "b", "parent"]


def test_pauses_pass_at_the_same_time(carry_out):
    began = time.monotonic()

    carry_out(*[lambda: pause(0.1)] * 20)

    assert 0.1 <= time.monotonic() - began < 0.5


def test_who_waits_for_a_word_goes_on_when_it_is_given(carry_out):
    words, heard = [], []

    def listen():
        words.append(Word())
        heard.append(words[0].wait(5))

    def speak():
        assert heard == []
        words[0].give()

    began = time.monotonic()
    carry_out(listen, speak)

    assert heard == [True]
    assert time.monotonic() - began < 1


def test_a_word_given_too_early_is_heard(carry_out):
    def listen():
        word = Word()
        word.give()
        assert word.wait(0)

    carry_out(listen)


def test_a_word_that_does_not_come_is_waited_for_so_long(carry_out):
    heard = []

    carry_out(lambda: heard.append(Word().wait(0.05)))
    heard.append(Word().wait(0.05))  # in a thread

    assert heard == [False, False]


def test_threads_give_each_other_words():
    word = Word()
    threading.Timer(0.05, word.give).start()

    assert word.wait(5)


def test_a_file_is_waited_for(carry_out):
    came = []
    reader, writer = os.pipe()

    def read():
        task = current()
        for _ in range(2):
            came.append(task.hub.wait_for_file(task, reader, selectors.EVENT_READ, 0.1))

    def write():
        pause(0.15)
        os.write(writer, b".")

    carry_out(read, write)
    os.close(reader)
    os.close(writer)

    assert came == [0, selectors.EVENT_READ]


def test_what_is_done_apart_keeps_no_task_waiting(carry_out):
    order = []

    def slow():
        assert current() is None
        time.sleep(0.2)
        order.append("slow")
        return "result"

    def quick():
        for _ in range(5):
            pause(0.01)
        order.append("quick")

    carry_out(lambda: order.append(apart(slow)), quick)

    assert order == ["quick", "slow", "result"]


def test_what_fails_apart_fails_in_the_task(carry_out):
    def fail():
        raise ValueError("apart")

    def task():
        with pytest.raises(ValueError, match="apart"):
            apart(fail)

    carry_out(task)


def test_each_task_has_a_connection_of_its_own(app, empty_databases, carry_out):
    taken = []

    def task():
        mine = database.db.connection()
        taken.append(mine)
        while len(taken) < 2:
            pause(0.01)
        assert database.db.connection() is mine
        database.release()

    with using(empty_databases(), pool_size=2):
        carry_out(task, task)

    assert taken[0] is not taken[1]


LONG = """
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1500000)
    SELECT max(n) FROM numbers
"""


def test_a_long_query_keeps_no_task_waiting(app, empty_databases, carry_out):
    found, gaps, done = [], [], False

    def ask():
        nonlocal done
        found.extend(database.db.obj.fetch_all(LONG, []))
        database.release()
        done = True

    def tick():
        while not done:
            began = time.monotonic()
            pause(0.001)
            gaps.append(time.monotonic() - began)

    with using(empty_databases()):
        carry_out(ask, tick)

    assert found == [(1500000,)]
    assert len(gaps) > 20
    assert max(gaps) < 0.1


def test_a_long_query_in_a_transaction_is_answered_too(app, empty_databases, carry_out):
    found = []

    def ask():
        with database.db.atomic():
            found.extend(database.db.obj.fetch_all(LONG, []))
        found.extend(database.db.obj.fetch_all("SELECT 1", []))
        database.release()

    with using(empty_databases()):
        carry_out(ask)

    assert found == [(1500000,), (1,)]
