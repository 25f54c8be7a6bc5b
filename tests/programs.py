"""Finds programs that some tests need besides Python, or installs them with apt-get if told to."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def find_or_install(package: str, names: tuple[str, ...]) -> str:
    """Return the path of a program, known by any of `names`.

    If it is missing and `CI` or `INSTALL` is set, this installs its Debian package. Skips the test
    with the reason if the program can be neither found nor installed.
    """
    if found := next(filter(None, map(shutil.which, names)), None):
        return found
    if not (os.environ.get("CI") or os.environ.get("INSTALL")):
        pytest.skip(f"{names[0]} is not installed; `make test INSTALL=1` lets root install it")
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip(f"{names[0]} is not installed, and only root on Debian can install it here")
    # `make test` runs three processes, and apt-get one at a time.
    with open(Path(tempfile.gettempdir()) / "meetings-apt-get.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if found := next(filter(None, map(shutil.which, names)), None):
            return found
        _install(package, names[0])
    return shutil.which(names[0]) or pytest.skip(f"the package {package} contains no {names[0]}")


def _install(package: str, name: str) -> None:
    for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
        done = subprocess.run(
            ["apt-get", *command],
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"{name} is not installed, and apt-get failed: {done.stderr[-200:]}")
