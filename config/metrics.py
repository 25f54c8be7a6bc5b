"""Where the processes of one server count together when METRICS is on: a folder under var/.

prometheus_client keeps what a process counts in files named by a number of the process, which is
its id unless told otherwise. Then every worker that ever lived would leave its files. Here it is
the lowest number that no living process of the server has: a new worker goes on in the files of a
dead one, so what that counted remains, and there are never more files than processes. The kernel
knows who lives: a number is a lock on a file, and ends with its process, however that ends.
"""

import fcntl
import itertools
import os
import shutil
import tempfile
from pathlib import Path

from config.settings import VAR

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # by which prometheus_client is told the folder
FOLDERS = VAR / "metrics"
KINDS = ("counter", "histogram")
FILE_BYTES = 256 * 1024  # several times what all series take

_numbers: dict[int, int] = {}  # of this process, by its id; a fork inherits its parent's


def share() -> None:
    """Give the server that starts in this process a fresh folder, and sweep those of dead ones.

    A reload of the configuration keeps the folder. To be called before prometheus_client is used.
    """
    if is_shared():
        return
    FOLDERS.mkdir(parents=True, exist_ok=True)
    with (FOLDERS / "lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)  # two servers may start at once
        for folder in FOLDERS.iterdir():
            if folder.is_dir() and not _is_in_use(folder):
                shutil.rmtree(folder)
        os.environ[VARIABLE] = tempfile.mkdtemp(dir=FOLDERS)
        process_number()


def is_shared() -> bool:
    """Whether this process belongs to a server that counts in a folder of ours."""
    return Path(os.environ.get(VARIABLE, "")).parent == FOLDERS


def process_number() -> int:
    """The number of this process among those of its server, the same as long as it lives."""
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
    """Take the disk space now: on a full disk, a write into a hole of a mapped file would kill."""
    for kind in KINDS:
        with (folder / f"{kind}_{number}.db").open("ab") as file:
            if file.tell() == 0:
                file.write(bytes(FILE_BYTES))


def _lock(path: Path) -> int | None:
    """Lock a file, unless somebody has; returns the open file, which holds the lock."""
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
