"""Read CSV and JSON lines row by row, whatever the size of the file."""

import codecs
import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

from decoding import decode_json
from services.errors import FileUnreadable

LINE_BYTES = 4 * 1024 * 1024  # a longer line, or row, is not read into memory
SEPARATORS = (",", ";", "\t")
# Excel takes the separator from a first line such as `sep=;`, and other programs write one for it.
SEPARATOR_LINE = re.compile(r"sep=([,;\t])\r?\n?")
NOT_UTF8 = "is not UTF-8. In Excel, save the file as “CSV UTF-8”"

# An export puts an apostrophe before a text that a spreadsheet would take for a formula.
KEPT_FROM_FORMULAS = re.compile(r"'+[=+\-@\t\r]")

csv.field_size_limit(LINE_BYTES)


class Row(NamedTuple):
    """A row of a file."""

    number: int  # as a spreadsheet numbers it: the header is row 1; in JSON lines, the line
    cells: dict[str, Any]  # by the names in the file; an empty cell of CSV is left out
    surplus: tuple[str, ...] = ()  # cells beyond those that the header names


class RowsFile:
    """A file of rows. It can be read several times."""

    SUFFIXES: ClassVar[tuple[str, ...]]
    separator = ","
    has_bom = False

    def __init__(self, path: Path) -> None:
        self.path = path

    def scan(self) -> tuple[int, list[str]]:
        """Read the whole file; returns how many rows it has, and the names of all columns.

        Raises FileUnreadable, naming the row.
        """
        raise NotImplementedError

    def rows(self) -> Iterator[Row]:
        """Yield the rows that are not blank; raises FileUnreadable, naming the row."""
        raise NotImplementedError

    def unreadable(self, number: int, why: str) -> FileUnreadable:
        """Return the error that a row cannot be read."""
        return FileUnreadable(f"{self.path}, row {number}: it {why}.")


class CsvFile(RowsFile):
    """CSV as RFC 4180 describes it, with commas, semicolons or tabs."""

    SUFFIXES = (".csv", ".tsv", ".txt")

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._is_separator_named = False
        with path.open("rb") as file:
            start = file.read(16)
        self.has_bom = start.startswith(codecs.BOM_UTF8)
        if named := SEPARATOR_LINE.match(start.removeprefix(codecs.BOM_UTF8).decode("latin-1")):
            self.separator, self._is_separator_named = named[1], True
            return
        self.separator = max(SEPARATORS, key=self._width)

    def _header(self, separator: str) -> list[str]:
        self.separator = separator
        _, header = next(self._records(), (1, []))
        return header

    def _width(self, separator: str) -> int:
        try:
            return len(self._header(separator))
        except FileUnreadable:
            return 0

    def scan(self) -> tuple[int, list[str]]:
        """Check every row; returns their number, and the names in the header."""
        names = self._names()
        return sum(1 for _ in self.rows()), names

    def _names(self) -> list[str]:
        names = [name.strip() for name in self._header(self.separator)]
        while names and not names[-1]:  # spreadsheets may write empty columns at the end
            names.pop()
        if not names:
            raise self.unreadable(1, "has no names of columns")
        for name in names:
            if not name:
                raise self.unreadable(1, f"has no name for column {names.index('') + 1}")
            if names.count(name) > 1:
                raise self.unreadable(1, f"names two columns {name!r}")
        return names

    def rows(self) -> Iterator[Row]:
        """Yield the rows below the header; blank lines are skipped."""
        names = self._names()
        records = self._records()
        next(records)
        for number, record in records:
            cells = {
                name: _text_of(cell) for name, cell in zip(names, record, strict=False) if cell
            }
            surplus = tuple(record[len(names) :])
            if cells or any(surplus):
                yield Row(number, cells, surplus if any(surplus) else ())

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        number = 0
        with self.path.open("rb") as file:
            lines = _lines(file)
            if self._is_separator_named:
                next(lines)
            reader = csv.reader(lines, delimiter=self.separator, strict=True)
            try:
                for number, record in enumerate(reader, 1):
                    yield number, record
            except UnicodeDecodeError as error:
                raise self.unreadable(number + 1, NOT_UTF8) from error
            except (csv.Error, LongLine) as error:
                raise self.unreadable(number + 1, f"is not CSV ({error})") from error


def _text_of(cell: str) -> str:
    return cell[1:] if cell[0] == "'" and KEPT_FROM_FORMULAS.match(cell) else cell


class JsonLinesFile(RowsFile):
    """A JSON object on each line."""

    SUFFIXES = (".jsonl", ".ndjson")

    def scan(self) -> tuple[int, list[str]]:
        """Check every line; returns the number of objects, and all their names in order."""
        names: dict[str, None] = {}
        count = 0
        for row in self.rows():
            names |= dict.fromkeys(row.cells)
            count += 1
        return count, [*names]

    def rows(self) -> Iterator[Row]:
        """Yield the objects; blank lines are skipped."""
        number = 0
        with self.path.open("rb") as file:
            try:
                for number, line in enumerate(_lines(file), 1):
                    if line.strip():
                        yield Row(number, self._object(number, line))
            except UnicodeDecodeError as error:
                raise self.unreadable(number + 1, "is not UTF-8") from error
            except LongLine as error:
                raise self.unreadable(number + 1, f"is no JSON object ({error})") from error

    def _object(self, number: int, line: str) -> dict[str, Any]:
        try:
            value = decode_json(line)
        except (ValueError, RecursionError) as error:
            raise self.unreadable(number, "is not JSON, or nested too deeply") from error
        if not isinstance(value, dict):
            raise self.unreadable(number, "is no JSON object")
        return value


class LongLine(Exception):
    """A line is so long that it is not read into memory."""


def _lines(file: BinaryIO) -> Iterator[str]:
    """Yield the lines of a file, decoded, without a byte order mark."""
    line = file.readline(LINE_BYTES).removeprefix(codecs.BOM_UTF8)
    while line:
        if len(line) == LINE_BYTES:
            raise LongLine(f"a line is longer than {LINE_BYTES} bytes")
        yield line.decode("utf-8")
        line = file.readline(LINE_BYTES)


def open_rows(path: Path) -> RowsFile:
    """Return the file by the end of its name; raises FileUnreadable."""
    kinds = (CsvFile, JsonLinesFile)
    kind = next((kind for kind in kinds if path.suffix.lower() in kind.SUFFIXES), None)
    if kind is None:
        raise FileUnreadable(f"{path}: the name of the file must end in .csv or .jsonl.")
    try:
        if path.exists() and not path.is_file():
            raise FileUnreadable(f"{path} is not a file.")
        path.open("rb").close()
        return kind(path)
    except OSError as error:
        raise FileUnreadable(f"{path} cannot be read: {error.strerror}.") from error
