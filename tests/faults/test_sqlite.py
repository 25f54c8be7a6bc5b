"""SQLite locked by another process, and a full disk: 503 for writes, while reads succeed."""

import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from faults.lengths import short_and_long
from faults.load import MEETINGS, Load, fault_in
from faults.seeded import seed_database

TIMEOUT = 0.5
SMALL_DISK = 48 * 1024 * 1024  # bytes; SQLite's log alone grows to about 20 MiB under load
HOLD = """
import sqlite3, sys
file = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
for statement in sys.argv[2:]:
    file.execute(statement)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def seeded(tmp_path):
    return seed_database(f"sqlite:///{tmp_path / 'meetings.db'}")


@contextmanager
def locked(path, *how):
    """Let another process hold the write lock, or run the given statements."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, path, *(how or ["BEGIN IMMEDIATE"])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "locked\n"
    try:
        yield
    finally:
        holder.communicate("")


@short_and_long("seconds", 2, 20)
def test_while_the_file_is_locked_writes_get_503_in_time_and_reads_succeed(
    seeded, serve, report, seconds
):
    server = serve(seeded.url, DB_TIMEOUT_SECONDS=TIMEOUT)
    workers = sorted(server.workers_pids())

    with Load(server, seeded, ("book", "book", "array", "read")) as load:
        time.sleep(0.5)
        with locked(seeded.path):
            began = time.monotonic()
            time.sleep(seconds)
            ended = time.monotonic()
        load.wait_for_recovery(ended, 5)
        time.sleep(0.3)
        load.resend_unacknowledged()

    meanwhile = [call for call in load.calls if began < call.began and call.ended < ended]
    report(**load.figures(), recovered_in=f"{load.recovery(ended):.2f} s")
    assert load.problems() == []
    assert load.failures() == {}
    assert {call.result for call in meanwhile if call.kind == "read"} == {200}
    assert {call.result for call in meanwhile if call.kind != "read"} == {503}
    assert load.slowest() < 2 * TIMEOUT + 2
    assert max(call.took for call in meanwhile if call.kind == "read") < 1
    assert load.recovery(ended) < 5
    assert sorted(server.workers_pids()) == workers


def test_while_the_file_cannot_be_read_requests_time_out_in_parallel(seeded, serve, report):
    """The whole file is locked before the server opens it."""
    how = ("PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "UPDATE leads SET email = email")
    server = serve(seeded.url, DB_TIMEOUT_SECONDS=1)
    with locked(seeded.path, *how), ThreadPoolExecutor(41) as pool:
        began = time.monotonic()
        waiting = [pool.submit(server.call, "GET", "/readyz") for _ in range(40)]
        alive = []
        while not all(call.done() for call in waiting):
            asked = time.monotonic()
            assert server.call("GET", "/healthz").status == 200
            alive.append(time.monotonic() - asked)
        answers = [call.result() for call in waiting]
        took = time.monotonic() - began

    report(callers=40, answered_within=f"{took:.1f} s", healthz_within=f"{max(alive):.2f} s")
    assert {answer.status for answer in answers} == {503}
    assert took < 4
    assert max(alive) < 1
    assert server.call("GET", "/readyz").status == 200


@contextmanager
def files_limited(seeded, server):
    """Refuse all writes of the server beyond the first KiB of a file (EFBIG)."""
    pids = server.workers_pids()
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))
    yield
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)


@contextmanager
def file_system_full(seeded, server):
    """Fill the file system, so that all writes fail (ENOSPC)."""
    filler = Path(seeded.path).with_name("filler")
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(2 * SMALL_DISK))
    yield
    filler.unlink()


@pytest.fixture
def small_disk(tmp_path):
    """A file system with little more room than the database and its log need."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def book_until_refused(load, server, seeded):
    """Book until the response is not 201, and return it; the file may have room for some."""
    for _ in range(1000):
        body = load.callers[0].new_booking()
        answer = server.call("POST", MEETINGS, body, seeded.key)
        if answer.status != 201:
            return answer
        load.acknowledge(body["external_event_id"], answer.json["meeting"], answer.status)
    raise AssertionError("no booking was refused")


def check_full_disk(seeded, serve, report, full, seconds):
    """Check the responses while the disk is full under load, and the stored rows after it."""
    server = serve(seeded.url, DB_TIMEOUT_SECONDS=TIMEOUT)
    workers = sorted(server.workers_pids())

    with Load(server, seeded, ("book", "book", "array", "read"), pause=0.01) as load:
        time.sleep(0.5)
        with full(seeded, server):
            began = time.monotonic()
            time.sleep(seconds)
            booked = book_until_refused(load, server, seeded)
            read = server.call("GET", MEETINGS, key=seeded.key)
            ended = time.monotonic()
        load.wait_for_recovery(ended, 5)
        time.sleep(0.3)
        load.resend_unacknowledged()

    meanwhile = load.results(began, ended)
    report(**load.figures(), recovered_in=f"{load.recovery(ended):.2f} s")
    assert seeded.query("PRAGMA integrity_check") == [("ok",)]
    assert load.problems() == []
    assert load.failures() == {}
    assert (booked.status, fault_in(booked), read.status) == (503, None, 200)
    assert meanwhile[503] > 0
    reads = {call.result for call in load.calls if call.kind == "read"}
    assert reads == {200}
    assert load.recovery(ended) < 5
    assert sorted(server.workers_pids()) == workers


@short_and_long("seconds", 1, 30)
def test_when_files_cannot_grow_writes_get_503_until_they_can_and_reads_succeed(
    seeded, serve, report, seconds
):
    check_full_disk(seeded, serve, report, files_limited, seconds)


@short_and_long("seconds", 1, 30)
def test_when_the_disk_is_full_writes_get_503_until_it_has_room_and_reads_succeed(
    small_disk, serve, report, seconds
):
    seeded = seed_database(f"sqlite:///{small_disk / 'meetings.db'}")
    check_full_disk(seeded, serve, report, file_system_full, seconds)
