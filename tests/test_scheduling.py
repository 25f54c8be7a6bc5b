"""Long work yields to other requests under gevent, and runs directly without gevent."""

import subprocess
import sys
import threading

import pytest

from config.settings import ROOT
from scheduling import in_turns, run_in_thread, wait_until_idle

UNDER_GEVENT = """
from gevent import monkey
monkey.patch_all(os=False, signal=False, subprocess=False, queue=False, ssl=False)
import threading, time
import gevent
from scheduling import in_turns, run_in_thread, wait_until_idle

blocking_sleep = monkey.get_original("time", "sleep")
main = threading.get_native_id()
steps = []

def note(step, times, seconds=0.0):
    for _ in range(times):
        steps.append(step)
        gevent.sleep(seconds)
"""


def run_under_gevent(code):
    """Run code in a new process that gevent has patched; returns the words it prints."""
    done = subprocess.run(
        [sys.executable, "-c", UNDER_GEVENT + code], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def fail():
    raise ValueError("as expected")


def test_a_call_runs_directly_without_gevent():
    assert run_in_thread(threading.get_ident) == threading.get_ident()
    with pytest.raises(ValueError, match="as expected"):
        run_in_thread(fail)


def test_a_list_is_split_into_parts_in_order():
    wait_until_idle(10)  # returns at once

    assert list(in_turns([1, 2, 3, 4, 5], 2)) == [[1, 2], [3, 4], [5]]
    assert list(in_turns([], 2)) == []


def test_other_greenlets_run_while_a_call_runs_in_a_thread():
    printed = run_under_gevent("""
other = gevent.spawn(note, "other", 5, 0.01)
thread = run_in_thread(lambda: (blocking_sleep(0.3), threading.get_native_id())[1])
print(thread != main, len(steps))
""")

    assert printed == ["True", "5"]


def test_an_error_in_a_thread_is_raised_in_the_caller_and_not_printed():
    printed = run_under_gevent("""
try:
    run_in_thread(int, "x")
except ValueError as error:
    print(type(error).__name__)
""")

    assert printed == ["ValueError"]


def test_waiting_until_idle_lets_other_greenlets_finish():
    printed = run_under_gevent("""
gevent.spawn(note, "other", 5)
wait_until_idle(10)
print(len(steps))
""")

    assert printed == ["5"]


def test_waiting_until_idle_times_out_if_others_are_always_busy():
    printed = run_under_gevent("""
gevent.spawn(note, "other", 10**9)
began = time.monotonic()
wait_until_idle(0.05)
print(0.04 < time.monotonic() - began < 2)
""")

    assert printed == ["True"]


def test_sockets_are_served_between_the_parts_of_a_list():
    printed = run_under_gevent("""
import socket
near, far = socket.socketpair()
gevent.spawn(lambda: steps.append(near.recv(10)))
gevent.sleep(0)
far.send(b"read")
for part in in_turns([1, 2], 1):
    steps.append(part[0])
print(*steps)
""")

    assert printed == ["1", "b'read'", "2"]


ON_SQLITE = """
import tempfile
import database
from database import sqlite
db = database.connect_to(f"sqlite:///{tempfile.mkdtemp()}/test.db", 2, 5)
in_threads = []
run_in_thread = sqlite.run_in_thread
sqlite.run_in_thread = lambda call: in_threads.append(call) or run_in_thread(call)
LONG = '''
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1500000)
    SELECT max(n) FROM numbers
'''
"""


def test_a_long_query_on_sqlite_moves_to_a_thread_while_other_greenlets_run():
    printed = run_under_gevent(f"""
{ON_SQLITE}
gevent.spawn(note, "other", 10**9, 0.001)
[(found,)] = db.fetch(LONG, ())
print(found, len(in_threads), len(steps) > 20)
""")

    assert printed == ["1500000", "1", "True"]


def test_a_short_query_on_sqlite_never_moves_to_a_thread_however_often_it_runs():
    printed = run_under_gevent(f"""
{ON_SQLITE}
for _ in range(20_000):
    db.fetch("SELECT ? + 1", (1,))
print(len(in_threads))
""")

    assert printed == ["0"]


def test_a_long_query_in_a_transaction_is_not_interrupted():
    printed = run_under_gevent(f"""
{ON_SQLITE}
with db.write_transaction():
    [(found,)] = db.fetch(LONG, ())
print(found, len(in_threads))
""")

    assert printed == ["1500000", "0"]
