"""Programs that some tests need beside Python: found, or installed where that can be done."""

import os
import shutil
import subprocess

import pytest


def find_or_install(package: str, names: tuple[str, ...]) -> str:
    """The path of a program by one of its names, out of a package of Debian's if need be.

    Skips the test, saying why, where there is none and none can be installed.
    """
    if found := next(filter(None, map(shutil.which, names)), None):
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip(f"there is no {names[0]} here, and only root on Debian could install it")
    for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
        done = subprocess.run(
            ["apt-get", *command],
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"there is no {names[0]} here, and apt-get has none: {done.stderr[-200:]}")
    return shutil.which(names[0]) or pytest.skip(f"{package} brought no {names[0]}")
