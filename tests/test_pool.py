"""The pool of connections and its semaphore."""

import threading
import time

import pytest
from conftest import using
from peewee import OperationalError

from database import db
from database.pool import FifoSemaphore, PoolTimeout


def test_a_newcomer_does_not_overtake_waiting_callers():
    semaphore, order = FifoSemaphore(1), []
    assert semaphore.acquire(0)

    def wait(name):
        assert semaphore.acquire(5)
        order.append(name)
        semaphore.release()

    threads = []
    for name in "abc":
        threads.append(threading.Thread(target=wait, args=name))
        threads[-1].start()
        while len(semaphore._waiting) < len(threads):
            time.sleep(0.001)
    semaphore.release()
    assert semaphore.acquire(5)
    order.append("newcomer")
    semaphore.release()
    for thread in threads:
        thread.join()

    assert order == ["a", "b", "c", "newcomer"]


def test_a_caller_that_waited_in_vain_takes_no_permit():
    semaphore = FifoSemaphore(1)
    assert semaphore.acquire(0)

    assert not semaphore.acquire(0.01)
    semaphore.release()

    assert semaphore.acquire(0)
    assert not semaphore.acquire(0)


def test_a_connection_is_borrowed_once_and_given_back_once(database_url):
    with using(database_url, db_pool_size=1, db_timeout_seconds=0.1):
        for _ in range(3):
            db.connect()
            db.connect(reuse_if_open=True)
            db.close()
            db.close()

        assert db.is_closed()


def test_a_failed_connection_leaves_its_place_to_others():
    with using("postgresql://nobody@127.0.0.1:1/none", db_pool_size=2):
        for _ in range(3):
            with pytest.raises(OperationalError):
                db.connect()


def test_connections_are_never_more_than_the_pool_allows(database_url):
    with using(database_url, db_pool_size=2, db_timeout_seconds=0.1):
        refused = []

        def borrow():
            try:
                db.connect()
                time.sleep(0.3)
                db.close()
            except PoolTimeout:
                refused.append(True)

        threads = [threading.Thread(target=borrow) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert refused == [True]
