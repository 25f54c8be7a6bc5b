"""Import a file: its rows, in arrays of 500, go through the services like those of a request."""

import hashlib
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson

from database import db, transaction
from services.errors import FileUnreadable, ServiceError
from services.files.reading import Row, open_rows
from services.files.writing import IMPORT_ERROR, FailedRows
from services.results import Result, RowResult

ARRAY_ROWS = 500
SHOWN_FAILURES = 10  # in the report; the file of failed rows has all of them
COUNTED_AS = {"created": "created", "unchanged": "unchanged"}  # other effects count as updated


class Kind(Protocol):
    """What the rows of a file become."""

    fields: frozenset[str]  # that a row may have
    ignored: frozenset[str]  # that an export writes and the service sets itself
    takes_any: bool  # whether columns of other names are imported too

    def prepare(self, client_id: str, cells: list[dict[str, Any]]) -> list[Any]:
        """Load rows, each with its fields by name, as far as they are valid."""

    def store(self, client_id: str, rows: list[Any]) -> list[Result]:
        """Store loaded rows, within a transaction; returns a result for each."""


class Array(NamedTuple):
    """Some rows of a file, and the loaded ones among them: those without surplus cells."""

    rows: list[Row]
    loaded: list[Any]


class Report(NamedTuple):
    """What an import did."""

    counts: dict[str, int]  # created, updated, unchanged, failed
    seconds: float
    failures: list[str]  # the first of them, each with the number of its row
    failed_file: Path | None


class Undone(Exception):
    """Ends the transaction of a dry run without storing anything."""

    def __init__(self, results: list[Result]) -> None:
        self.results = results


class Import:
    """The import of a file, which has been read once and found to be readable."""

    def __init__(self, client_id: str, kind: Kind, path: Path, renamed: dict[str, str]) -> None:
        """Read the whole file; raises FileUnreadable, also for an unknown column."""
        self._client_id, self._kind = client_id, kind
        self._file = open_rows(path)
        self.row_count, names = self._file.scan()
        self._field_of = _fields_of(names, renamed, kind)
        self._failed = FailedRows(self._file, names)

    def run(self, dry_run: bool, advance: Callable[[int], Any]) -> Report:
        """Store the rows, or only check them; `advance` gets the number of rows just done."""
        counts = dict.fromkeys(("created", "updated", "unchanged", "failed"), 0)
        failures: list[str] = []
        began = time.monotonic()
        try:
            with db.bulk_writing(), closing(self._arrays()) as arrays:
                for array in arrays:
                    for row, result in zip(array.rows, self._store(array, dry_run), strict=True):
                        if isinstance(result, RowResult):
                            counts[COUNTED_AS.get(result.effect, "updated")] += 1
                            continue
                        counts["failed"] += 1
                        self._failed.add(row, result.message)
                        if len(failures) < SHOWN_FAILURES:
                            failures.append(f"row {row.number}: {result.message}")
                    advance(len(array.rows))
        finally:
            self._failed.close()
        failed_file = self._failed.path if counts["failed"] else None
        return Report(counts, time.monotonic() - began, failures, failed_file)

    def _arrays(self) -> Generator[Array, None, None]:
        """Yield the file in arrays; a thread loads the next one while one is stored.

        Storing waits for the database, so the two take less time together than one after another.
        """
        rows = self._file.rows()
        context = copy_context()
        with ThreadPoolExecutor(1) as thread:
            ahead = thread.submit(context.run, self._load, rows)
            while (array := ahead.result()).rows:
                ahead = thread.submit(context.run, self._load, rows)
                yield array

    def _load(self, source: Iterator[Row]) -> Array:
        rows = list(islice(source, ARRAY_ROWS))
        cells = [self._by_field(row) for row in rows if not row.surplus]
        return Array(rows, self._kind.prepare(self._client_id, cells))

    def _store(self, array: Array, dry_run: bool) -> Iterator[Result]:
        """Return a result for each row of an array."""
        try:
            results = _store_all(self._client_id, self._kind, array.loaded, dry_run)
        except Undone as undone:
            results = undone.results
        stored = iter(results)
        return (_too_long(row) if row.surplus else next(stored) for row in array.rows)

    def _by_field(self, row: Row) -> dict[str, Any]:
        field_of = self._field_of
        return {field_of[name]: cell for name, cell in row.cells.items() if field_of[name]}


@transaction
def _store_all(client_id: str, kind: Kind, rows: list[Any], dry_run: bool) -> list[Result]:
    results = kind.store(client_id, rows)
    if dry_run:
        raise Undone(results)
    return results


def _too_long(row: Row) -> ServiceError:
    cells = ", ".join(repr(cell) for cell in row.surplus[:3])
    return FileUnreadable(f"The row has more cells than the header: {cells}.")


def _fields_of(names: list[str], renamed: dict[str, str], kind: Kind) -> dict[str, str]:
    """Return the field of each column; "" for `import_error`. Raises FileUnreadable."""
    if missing := renamed.keys() - set(names):
        raise FileUnreadable(f"--map: the file has no column {', '.join(sorted(missing))}.")
    fields = {name: renamed.get(name, name) for name in names}
    known = kind.fields | kind.ignored | {IMPORT_ERROR, ""}
    unknown = [name for name, field in fields.items() if field not in known]
    if unknown and not kind.takes_any:
        raise FileUnreadable(
            f"Unknown columns: {', '.join(unknown)}. Name the field of each with"
            f" --map 'Column=field', or leave the column out with --map 'Column='."
            f" The fields are: {', '.join(sorted(kind.fields))}."
        )
    for name, field in fields.items():
        if field and [*fields.values()].count(field) > 1:
            raise FileUnreadable(f"Several columns map to {field}; one of them is {name}.")
    return {name: "" if field == IMPORT_ERROR else field for name, field in fields.items()}


def fingerprint(cells: dict[str, Any]) -> str:
    """Return the SHA-256 of a row's cells, in hexadecimal, whatever their order."""
    given = {name: cell.strip() if isinstance(cell, str) else cell for name, cell in cells.items()}
    text = orjson.dumps(sorted((name, str(cell)) for name, cell in given.items()))
    return hashlib.sha256(text).hexdigest()
