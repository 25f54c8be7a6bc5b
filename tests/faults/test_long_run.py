"""Long load: memory stays flat, the WAL is bounded, and no file but the database grows."""

import os
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from faults.load import CALLERS, Load

SECONDS = float(os.environ.get("SOAK_SECONDS", 600))
WARM_UP = min(60, SECONDS / 5)
GROWTH = 1.05
WAL_BYTES = 32 * 1024 * 1024
MEBIBYTE = 1024 * 1024


def resident(server):
    """Return the resident bytes of all processes of a server."""
    master = psutil.Process(server.process.pid)
    return sum(one.memory_info().rss for one in (master, *master.children(recursive=True)))


@pytest.mark.soak
def test_long_load_keeps_memory_flat_and_grows_no_file_but_the_database(
    kind, seeded, serve, report
):
    server = serve(seeded.url)
    largest_wal = 0

    with Load(server, seeded, (*CALLERS, "read")) as load:
        began = time.monotonic()
        time.sleep(WARM_UP)
        early = resident(server)
        while time.monotonic() < began + SECONDS:
            time.sleep(0.5)
            wal = Path(f"{seeded.path}-wal")
            largest_wal = max(largest_wal, wal.stat().st_size if wal.exists() else 0)
        late = resident(server)

    report(
        seconds=SECONDS,
        memory=f"{early / MEBIBYTE:.1f}, then {late / MEBIBYTE:.1f} MiB",
        largest_wal=f"{largest_wal / MEBIBYTE:.1f} MiB",
        **load.figures(),
    )
    assert load.problems() == []
    assert set(load.results()) <= {200, 201, "closed"}
    assert late <= early * GROWTH
    assert largest_wal <= WAL_BYTES
    if kind == "sqlite":
        name = Path(urlsplit(seeded.url).path).name
        files = {path.name for path in Path(seeded.path).parent.iterdir()}
        assert files <= {name, f"{name}-wal", f"{name}-shm"}
