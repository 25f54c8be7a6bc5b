"""Export rows to a file or a stream, one after another."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from bases import ResponseSchema
from services.errors import FileUnreadable
from services.files.writing import CsvWriter, JsonLinesWriter, Writer

FORMATS: dict[str, Callable[[BinaryIO, list[str]], Writer]] = {
    "csv": CsvWriter,
    "jsonl": lambda file, names: JsonLinesWriter(file),
}


def export(rows: Iterable[Any], schema: ResponseSchema, format: str, file: BinaryIO) -> int:
    """Write rows as the schema shows them, in one of the formats; returns how many."""
    writer = FORMATS[format](file, [*schema.fields])
    count = 0
    for row in rows:
        writer.write(schema.dump(row))
        count += 1
    return count


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name once it is complete; raises FileUnreadable.

    It holds personal data, so only its owner can read it.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        handle = os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with open(handle, "wb") as file:
            yield file
        part.rename(path)
    except OSError as error:
        raise FileUnreadable(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        with suppress(OSError):
            part.unlink()
