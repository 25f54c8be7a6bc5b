"""SQLite locked by another process, and a full disk: 503, reads go on, nothing is corrupt."""

import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from faults.lengths import lengths
from faults.load import MEETINGS, Load, fault_in
from faults.site import new_site

TIMEOUT = 0.5
HOLD = """
import sqlite3, sys
file = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
for statement in sys.argv[2:]:
    file.execute(statement)
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def site(tmp_path):
    return new_site(f"sqlite:///{tmp_path / 'meetings.db'}")


@contextmanager
def locked(path, *how):
    """Another process holds the write lock, or what it is told to."""
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


@lengths("seconds", 2, 20)
def test_locked_by_another_process_it_answers_503_in_time_and_still_reads(
    site, serve, tell, seconds
):
    server = serve(site.url, DB_TIMEOUT_SECONDS=TIMEOUT)
    workers = sorted(server.workers_pids())

    with Load(server, site, ("book", "book", "array", "read")) as load:
        time.sleep(0.5)
        with locked(site.path):
            began = time.monotonic()
            time.sleep(seconds)
            ended = time.monotonic()
        load.wait_for_recovery(ended, 5)
        time.sleep(0.3)
        load.settle()

    meanwhile = [call for call in load.calls if began < call.began and call.ended < ended]
    tell(**load.figures(), recovered_in=f"{load.recovery(ended):.2f} s")
    assert load.problems() == []
    assert load.failures() == {}
    assert {call.result for call in meanwhile if call.kind == "read"} == {200}
    assert {call.result for call in meanwhile if call.kind != "read"} == {503}
    assert load.slowest() < 2 * TIMEOUT + 2
    assert max(call.took for call in meanwhile if call.kind == "read") < 1
    assert load.recovery(ended) < 5
    assert sorted(server.workers_pids()) == workers


def test_where_not_even_reading_is_possible_nobody_waits_for_another(site, serve, tell):
    """The file is locked as a whole, before the server has opened it."""
    how = ("PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "UPDATE leads SET email = email")
    server = serve(site.url, DB_TIMEOUT_SECONDS=1)
    with locked(site.path, *how), ThreadPoolExecutor(41) as pool:
        began = time.monotonic()
        waiting = [pool.submit(server.call, "GET", "/readyz") for _ in range(40)]
        alive = []
        while not all(call.done() for call in waiting):
            asked = time.monotonic()
            assert server.call("GET", "/healthz").status == 200
            alive.append(time.monotonic() - asked)
        answers = [call.result() for call in waiting]
        took = time.monotonic() - began

    tell(callers=40, told_within=f"{took:.1f} s", healthz_within=f"{max(alive):.2f} s")
    assert {answer.status for answer in answers} == {503}
    assert took < 4
    assert max(alive) < 1
    assert server.call("GET", "/readyz").status == 200


@contextmanager
def files_limited(site, server):
    """What the server writes to any file beyond its first KiB is refused (EFBIG)."""
    pids = server.workers_pids()
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1024, resource.RLIM_INFINITY))
    yield
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)


@contextmanager
def file_system_full(site, server):
    """Nothing can be written any more (ENOSPC)."""
    filler = Path(site.path).with_name("filler")
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(16 * 1024 * 1024))
    yield
    filler.unlink()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 8 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def book_until_refused(load, server, site):
    """The first answer that is not 201: for some bookings the file may have room yet."""
    for _ in range(1000):
        body = load.callers[0].new_booking()
        answer = server.call("POST", MEETINGS, body, site.key)
        if answer.status != 201:
            return answer
        load.acknowledge(body["external_event_id"], answer.json["meeting"], answer.status)
    raise AssertionError("there is always room")


def fill(site, serve, tell, full, seconds):
    """Load, a disk that is full for a while, and what is left of it all."""
    server = serve(site.url, DB_TIMEOUT_SECONDS=TIMEOUT)
    workers = sorted(server.workers_pids())

    with Load(server, site, ("book", "book", "array", "read"), pause=0.01) as load:
        time.sleep(0.5)
        with full(site, server):
            began = time.monotonic()
            time.sleep(seconds)
            booked = book_until_refused(load, server, site)
            read = server.call("GET", MEETINGS, key=site.key)
            ended = time.monotonic()
        load.wait_for_recovery(ended, 5)
        time.sleep(0.3)
        load.settle()

    meanwhile = load.results(began, ended)
    tell(**load.figures(), recovered_in=f"{load.recovery(ended):.2f} s")
    assert site.query("PRAGMA integrity_check") == [("ok",)]
    assert load.problems() == []
    assert load.failures() == {}
    assert (booked.status, fault_in(booked), read.status) == (503, None, 200)
    assert meanwhile[503] > 0
    reads = {call.result for call in load.calls if call.kind == "read"}
    assert reads == {200}
    assert load.recovery(ended) < 5
    assert sorted(server.workers_pids()) == workers


@lengths("seconds", 1, 30)
def test_when_files_may_not_grow_writes_are_refused_reads_go_on_and_it_recovers(
    site, serve, tell, seconds
):
    fill(site, serve, tell, files_limited, seconds)


@lengths("seconds", 1, 30)
def test_when_the_disk_is_full_writes_are_refused_reads_go_on_and_it_recovers(
    small_disk, serve, tell, seconds
):
    site = new_site(f"sqlite:///{small_disk / 'meetings.db'}")
    fill(site, serve, tell, file_system_full, seconds)
