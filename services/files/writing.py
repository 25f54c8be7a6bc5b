"""Write rows as CSV or JSON lines, one after another."""

import codecs
import csv
import io
import json
import os
import re
from collections.abc import Sequence
from typing import Any, BinaryIO

import orjson

from services.errors import FileUnreadable
from services.files.reading import CsvFile, Row, RowsFile
from times import format_instant

# Text that a spreadsheet takes for a formula, also with apostrophes before it. A person who books a
# meeting could choose such a text. A phone number is no formula.
FORMULA = re.compile(r"(?!\+?[0-9 ()./-]*\Z)'*[=+\-@\t\r]")
JSON_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_OMIT_MICROSECONDS


class CsvWriter:
    """Writes rows as CSV (RFC 4180) in UTF-8."""

    def __init__(
        self, file: BinaryIO, names: Sequence[str], separator: str = ",", has_bom: bool = False
    ) -> None:
        self._file, self._names = file, names
        self._text = io.StringIO(newline="")
        self._writer = csv.writer(self._text, delimiter=separator)
        file.write(codecs.BOM_UTF8 if has_bom else b"")
        self._write(names)

    def write(self, row: dict[str, Any], surplus: Sequence[str] = ()) -> None:
        """Write a row; objects and lists are written as JSON, null as an empty cell.

        A text that a spreadsheet would take for a formula gets an apostrophe before it.
        """
        self._write([*(_cell(row.get(name)) for name in self._names), *surplus])

    def _write(self, cells: Sequence[str]) -> None:
        self._writer.writerow(cells)
        self._file.write(self._text.getvalue().encode("utf-8", "backslashreplace"))
        self._text.seek(0)
        self._text.truncate()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if FORMULA.match(value) else value
    if isinstance(value, dict | list | bool):
        return orjson.dumps(value).decode()
    return format_instant(value) or "" if hasattr(value, "isoformat") else str(value)


class JsonLinesWriter:
    """Writes rows as JSON, one object on each line, in UTF-8."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, row: dict[str, Any], surplus: Sequence[str] = ()) -> None:
        """Write a row."""
        try:
            text = orjson.dumps(row, format_instant, JSON_OPTIONS)
        except TypeError:  # a row that failed may hold what orjson refuses, such as a huge number
            text = json.dumps(row).encode()
        self._file.write(text + b"\n")


Writer = CsvWriter | JsonLinesWriter


class FailedRows:
    """The file of the rows that failed, each with the reason; it is made with the first of them.

    It holds personal data, so only its owner can read it.
    """

    def __init__(self, source: RowsFile, names: list[str]) -> None:
        self._source = source
        self._names = [*(name for name in names if name != IMPORT_ERROR), IMPORT_ERROR]
        self.path = source.path.with_name(f"{source.path.stem}.failed{source.path.suffix}")
        self._file: BinaryIO | None = None
        self._writer: Writer | None = None

    def add(self, row: Row, why: str) -> None:
        """Write a row as it is in its file, with the reason; raises FileUnreadable."""
        if self._writer is None:
            self._file = self._new_file()
            self._writer = self._open_writer(self._file)
        self._writer.write(row.cells | {IMPORT_ERROR: why}, row.surplus)

    def _new_file(self) -> BinaryIO:
        try:
            self.path.unlink(missing_ok=True)  # others may be able to read an old one
            handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError as error:
            raise FileUnreadable(f"{self.path} cannot be written: {error.strerror}.") from error
        return os.fdopen(handle, "wb")

    def _open_writer(self, file: BinaryIO) -> Writer:
        source = self._source
        if isinstance(source, CsvFile):
            return CsvWriter(file, self._names, source.separator, source.has_bom)
        return JsonLinesWriter(file)

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()


IMPORT_ERROR = "import_error"
