"""Backups: copies of the database in one file, made while the service runs."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from database import db
from services import migrations
from services.errors import BackupRefused, Unavailable


def back_up(file: Path) -> dict[str, Any]:
    """Copy the database to a new file; returns `{"file", "bytes"}`.

    The file appears once it is complete and on disk: a crash leaves at most a hidden `.part` file
    next to it. Raises BackupRefused if the file exists (it may be the last good backup) or cannot
    be made, or if the database is not migrated (it may be the wrong one). On PostgreSQL the error
    names the command to run instead.
    """
    file = file.absolute()
    command = db.dump_command(file)
    if command:
        raise BackupRefused(f"PostgreSQL has its own program for backups. Run: {command}")
    _refuse_to_overwrite(file)
    _refuse_unmigrated()
    try:
        # A backup holds personal data: mkstemp lets only the owner read it.
        handle, name = tempfile.mkstemp(".part", f".{file.name}.", file.parent)
    except OSError as error:
        raise BackupRefused(f"{file.parent} cannot be written to: {error.strerror}.") from error
    part = Path(name)
    try:
        db.copy_to(part)
        os.fsync(handle)
        _refuse_to_overwrite(file)  # another backup may have been faster
        part.rename(file)
    finally:
        os.close(handle)
        with suppress(FileNotFoundError):
            part.unlink()
    _sync_folder(file.parent)
    return {"file": str(file), "bytes": file.stat().st_size}


def _refuse_unmigrated() -> None:
    try:
        migrations.check()
    except Unavailable as behind:
        raise BackupRefused(f"Nothing to back up. {behind.message}") from behind


def _refuse_to_overwrite(file: Path) -> None:
    if os.path.lexists(file):
        raise BackupRefused(f"{file} exists already; a backup never overwrites a file.")


def _sync_folder(folder: Path) -> None:
    """Write the folder's entry of the file to disk; the fsync of the file does not do that."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
