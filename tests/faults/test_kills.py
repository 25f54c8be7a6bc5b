"""kill -9 at any moment: nothing acknowledged is lost, nothing is half-written, nothing doubled."""

import os
import random
import signal
import time

import psutil

from faults.lengths import lengths
from faults.load import CLOSED, CUT_OFF, HUNG_UP, REFUSED, Load

HANDOVER = 10.0  # seconds until workers without a master have left the port to others
MISSED = {REFUSED, HUNG_UP, CLOSED, CUT_OFF}  # what callers may meet when a process is killed


def judge(load, killed, tell):
    """Nobody was left hanging, and what is stored is what callers were told."""
    tell(killed=killed, **load.figures())
    assert load.problems() == []
    assert set(load.results()) <= {200, 201, *MISSED}
    assert len(load.acknowledged) > 20


@lengths("kills", 5, 100)
def test_killed_workers_lose_nothing_they_acknowledged(site, serve, tell, kills):
    server = serve(site.url)

    with Load(server, site) as load:
        for _ in range(kills):
            time.sleep(random.uniform(0.1, 0.5))
            os.kill(random.choice(server.workers_pids()), signal.SIGKILL)
        time.sleep(0.5)
        load.settle()

    judge(load, kills, tell)


@lengths("kills", 1, 20)
def test_when_the_master_is_killed_its_workers_leave_and_a_new_one_takes_over(
    site, serve, tell, kills
):
    server = serve(site.url)
    leaving = 0.0

    with Load(server, site) as load:
        for _ in range(kills):
            time.sleep(random.uniform(0.3, 0.8))
            workers = [psutil.Process(pid) for pid in server.workers_pids()]
            server.process.kill()
            killed = time.monotonic()
            _, left = psutil.wait_procs(workers, timeout=HANDOVER)
            leaving = max(leaving, time.monotonic() - killed)
            for process in left:  # the rest can still be seen to be right
                process.kill()
            server.process.communicate()
            server.start()
        time.sleep(0.3)
        load.settle()

    judge(load, f"{kills}, workers gone after at most {leaving:.1f} s", tell)
    assert leaving < HANDOVER, "workers that go on without a master keep the port"


@lengths("kills", 1, 20)
def test_killed_as_a_whole_it_loses_nothing_it_acknowledged(site, serve, tell, kills):
    server = serve(site.url)

    with Load(server, site) as load:
        for _ in range(kills):
            time.sleep(random.uniform(0.3, 0.8))
            server.kill()
            server.start()
        time.sleep(0.3)
        load.settle()

    judge(load, kills, tell)
