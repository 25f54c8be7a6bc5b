"""What every command uses: the types of arguments, and the output for people and programs."""

import json
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any

import click
from flask import current_app
from marshmallow import Schema, ValidationError
from peewee import PeeweeException

import database
from decoding import decode_json
from fields import Email, Id, Text, clean
from services import migrations
from services.errors import ServiceError
from times import format_instant

Output = dict[str, Any]  # a row as a command prints it


class Argument(click.ParamType):
    """Text on the command line, under the rules of a text field of the API."""

    def __init__(self, field: Any) -> None:
        self.name = "text"
        self.schema = Schema.from_dict({"value": field})()

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Return the cleaned text; ends the command if the field refuses it."""
        try:
            return str(self.schema.load(clean({"value": value}))["value"])
        except ValidationError as error:
            self.fail(" ".join(error.normalized_messages()["value"]), param, ctx)


class JsonFile(click.File):
    """A file of JSON; `-` is the standard input."""

    def __init__(self) -> None:
        super().__init__("rb")

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value that the file holds; ends the command if it is not JSON."""
        try:
            with super().convert(value, param, ctx) as file:
                return decode_json(file.read().decode("utf-8-sig"))
        except (ValueError, RecursionError):
            name = click.format_filename(value)
            self.fail(f"{name!r} is not JSON, or nested too deeply.", param, ctx)
        except OSError as error:
            self.fail(f"{click.format_filename(value)!r}: {error.strerror}", param, ctx)


NAME = Argument(Text(255, required=True))
EMAIL = Argument(Email(required=True))
LEAD_ID = Argument(Id(required=True))
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json` to a command, and turn an error into one line and an exit status.

    The command returns a result and a function that writes the result, or each row of it, as a line
    for people; a third value is the exit status. A command that has already written its output
    returns None.
    """

    @as_json
    @wraps(function)
    def run(as_json: bool, **arguments: Any) -> None:
        database.select(current_app.extensions["database"])
        try:
            output = function(**arguments)
        except ServiceError as error:
            raise click.UsageError(error.message) from error
        except PeeweeException as error:
            raise click.ClickException(_database_fault(error)) from error
        finally:
            database.deselect()
        if output is None:
            return
        result, to_line, *status = output
        if as_json:
            click.echo(json.dumps(result, ensure_ascii=False, default=_instant))
        elif isinstance(result, list):
            for row in result:
                click.echo(" ".join(to_line(row).splitlines()))  # a name may hold line breaks
        else:
            click.echo(to_line(result))
        click.get_current_context().exit(*status)

    return run


def _instant(value: Any) -> str | None:
    assert isinstance(value, datetime)
    return format_instant(value)


def _database_fault(error: PeeweeException) -> str:
    if database.is_unavailable(error):
        return "The database cannot be reached: " + " ".join(str(error).split())
    try:
        migrations.check()
    except (ServiceError, PeeweeException) as behind:
        return " ".join(str(behind).split())
    return " ".join(str(error).split())


def state_of(row: Output, has_expired: bool = False) -> str:
    """Say when a key or a feed was made, and whether it was revoked or has expired."""
    state = "expired" if has_expired else "in use"
    if row["revoked"]:
        state = f"revoked {format_instant(row['revoked_at'])}"
    return f"created {format_instant(row['created_at'])}  {state}"
