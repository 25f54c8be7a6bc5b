"""SIGKILL at any moment: no acknowledged row is lost, none is incomplete, none is stored twice."""

import os
import random
import signal
import time

import psutil

from faults.lengths import short_and_long
from faults.load import CLOSED, CUT_OFF, HUNG_UP, REFUSED, Load

HANDOVER = 10.0  # seconds within which workers without a master release the port
KILL_RESULTS = {REFUSED, HUNG_UP, CLOSED, CUT_OFF}  # possible results when a process is killed


def check(load, killed, report):
    """Check that no request hung, and that the stored rows match the responses."""
    report(killed=killed, **load.figures())
    assert load.problems() == []
    assert set(load.results()) <= {200, 201, *KILL_RESULTS}
    assert len(load.acknowledged) > 20


@short_and_long("kills", 5, 100)
def test_killed_workers_lose_no_acknowledged_booking(seeded, serve, report, kills):
    server = serve(seeded.url)

    with Load(server, seeded) as load:
        for _ in range(kills):
            time.sleep(random.uniform(0.1, 0.5))
            os.kill(random.choice(server.workers_pids()), signal.SIGKILL)
        time.sleep(0.5)
        load.resend_unacknowledged()

    check(load, kills, report)


@short_and_long("kills", 1, 20)
def test_workers_end_after_their_master_is_killed_and_a_new_server_can_start(
    seeded, serve, report, kills
):
    server = serve(seeded.url)
    leaving = 0.0

    with Load(server, seeded) as load:
        for _ in range(kills):
            time.sleep(random.uniform(0.3, 0.8))
            workers = [psutil.Process(pid) for pid in server.workers_pids()]
            server.process.kill()
            killed = time.monotonic()
            _, left = psutil.wait_procs(workers, timeout=HANDOVER)
            leaving = max(leaving, time.monotonic() - killed)
            for process in left:  # so that the other checks can go on
                process.kill()
            server.process.communicate()
            server.start()
        time.sleep(0.3)
        load.resend_unacknowledged()

    check(load, f"{kills}, workers gone after at most {leaving:.1f} s", report)
    assert leaving < HANDOVER, "workers without a master kept the port"


@short_and_long("kills", 1, 20)
def test_a_killed_server_loses_no_acknowledged_booking(seeded, serve, report, kills):
    server = serve(seeded.url)

    with Load(server, seeded) as load:
        for _ in range(kills):
            time.sleep(random.uniform(0.3, 0.8))
            server.kill()
            server.start()
        time.sleep(0.3)
        load.resend_unacknowledged()

    check(load, kills, report)
