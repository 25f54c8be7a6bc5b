"""Clean Debian root file systems for tests, made by mmdebstrap; and Python's packages for them."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from programs import find_or_install

from config.settings import ROOT


def make_debian(folder: Path, suite: str, packages: list[str]) -> None:
    """Fill `folder` with a minimal Debian and some packages, or skip the test."""
    if os.geteuid() != 0:
        pytest.skip("only root makes a root file system: nothing was tried in a clean Debian")
    mmdebstrap = find_or_install("mmdebstrap", ("mmdebstrap",))
    included = f"--include={','.join(packages)}"
    command = [mmdebstrap, "--quiet", "--variant=minbase", included, suite, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no Debian {suite}, so nothing was tried in it: {done.stderr[-300:]}")


def download_wheels(folder: Path, python: str) -> None:
    """Let this machine's pip find the packages of the service, for that version of Python."""
    machine = platform.machine()
    platforms = [f"--platform=manylinux_{n}_{machine}" for n in ("2_28", "2_17")]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"),
            *(f"--python-version={python}", *platforms, f"--platform=manylinux2014_{machine}"),
            *("--dest", str(folder), "--requirement", str(ROOT / "requirements.txt")),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
