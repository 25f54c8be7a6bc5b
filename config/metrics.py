"""The folder in STATE_DIR where all processes of one server keep their counts, if METRICS is on.

prometheus_client names the files of a process by a number, which is the process id by default.
Then every worker would leave files behind when it ends. Here, the number is the lowest one that no
running process of the server holds. So a new worker continues the files of a dead one: its counts
remain, and there are never more files than processes. A process holds its number by locking a
file. The kernel releases the lock when the process ends, even by a kill.
"""

import fcntl
import itertools
import os
import shutil
import tempfile
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # tells prometheus_client the folder
FOLDERS, LOCK = "metrics", "lock"
KINDS = ("counter", "histogram")
FILE_BYTES = 256 * 1024  # several times the size of all series

_numbers: dict[int, int] = {}  # process id → number; a fork inherits its parent's entry


def share(state_dir: Path) -> None:
    """Create a folder for the server that starts here, and delete the folders of dead servers.

    A reload of the configuration keeps the folder. Call this before prometheus_client is used.
    """
    if is_shared():
        return
    folders = state_dir / FOLDERS
    folders.mkdir(parents=True, exist_ok=True)
    with (folders / LOCK).open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # two servers may start at once
        for folder in folders.iterdir():
            if folder.is_dir() and not _is_in_use(folder):
                shutil.rmtree(folder)
        os.environ[VARIABLE] = tempfile.mkdtemp(dir=folders)
        process_number()


def is_shared() -> bool:
    """Return whether this process belongs to a server that has such a folder."""
    folders = Path(os.environ.get(VARIABLE, "")).parent
    return folders.name == FOLDERS and (folders / LOCK).exists()


def process_number() -> int:
    """Return the number of this process in its server; it keeps the number until it ends."""
    pid = os.getpid()
    if pid not in _numbers:
        _numbers[pid] = _claim(Path(os.environ[VARIABLE]))
    return _numbers[pid]


def _claim(folder: Path) -> int:
    for number in itertools.count():
        if _lock(folder / f"{number}.lock") is not None:  # held until the process ends
            _reserve(folder, number)
            return number
    raise AssertionError("unreachable")


def _reserve(folder: Path, number: int) -> None:
    """Allocate the disk space: on a full disk, writing to a hole of a mapped file is fatal."""
    for kind in KINDS:
        with (folder / f"{kind}_{number}.db").open("ab") as file:
            if file.tell() == 0:
                file.write(bytes(FILE_BYTES))


def _lock(path: Path) -> int | None:
    """Lock a file; returns the descriptor that holds the lock, or None if another process does."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _is_in_use(folder: Path) -> bool:
    for path in folder.glob("*.lock"):
        handle = _lock(path)
        if handle is None:
            return True
        os.close(handle)
    return False
