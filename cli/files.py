"""The commands `leads` and `meetings`: import and export."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from flask.cli import AppGroup

from bases import Query, ResponseSchema
from cli.command import NAME, Output, command
from lead_schemas import LeadResponse, LeadsQuery
from schemas import MeetingExport, MeetingFilters
from services import clients, leads, meetings
from services.files import exporting, kinds
from services.files.importing import Import, Kind
from services.loading import load_object

Stream = Callable[[str, dict[str, Any]], Iterable[Any]]  # of a client's rows, by filters

PATH: Any = click.Path(path_type=Path)
FORMAT: Any = click.Choice([*exporting.FORMATS])

lead_group = AppGroup("leads", help="Import, export and erase leads.")
meeting_group = AppGroup("meetings", help="Import and export meetings.")


def _importing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments of an import to a command."""
    for add in (
        click.option("--dry-run", is_flag=True, help="Check every row, and store nothing."),
        click.option(
            "--map",
            "maps",
            multiple=True,
            metavar="COLUMN=FIELD",
            help="The field for a column of the file; COLUMN= leaves the column out. Repeatable.",
        ),
        click.argument("file", type=PATH),
        click.argument("client", type=NAME),
    ):
        function = add(function)
    return function


@lead_group.command("import")
@_importing
@command
def import_leads(client: str, file: Path, maps: tuple[str, ...], dry_run: bool) -> Any:
    """Import leads of CLIENT (id or name) from FILE, CSV or JSON lines by its name.

    Columns are the fields of POST /leads; any other becomes metadata. Rows with the external_id of
    a lead update it.
    """
    return _import(client, kinds.Leads(), file, maps, dry_run)


@meeting_group.command("import")
@_importing
@command
def import_meetings(client: str, file: Path, maps: tuple[str, ...], dry_run: bool) -> Any:
    """Import meetings of CLIENT (id or name) from FILE, CSV or JSON lines by its name.

    Columns are the fields of POST /meetings; `status` may also be an outcome, with
    cancellation_reason, no_show_reason and outcome_notes. The same file can be imported again.
    """
    return _import(client, kinds.Meetings(), file, maps, dry_run)


def _import(client: str, kind: Kind, path: Path, maps: tuple[str, ...], dry_run: bool) -> Any:
    renamed = {}
    for text in maps:
        column, sign, field = text.rpartition("=")
        if not sign:
            raise click.UsageError(f"--map {text!r} must have the form COLUMN=FIELD.")
        renamed[column] = field.strip()
    work = Import(clients.find(client).id, kind, path, renamed)
    bar = click.progressbar(
        length=work.row_count, label=path.name, file=sys.stderr, hidden=not sys.stderr.isatty()
    )
    with bar:
        report = work.run(dry_run, bar.update)
    for failure in report.failures:
        click.echo(f"{path.name}, {failure}", err=True)
    shown = {
        **report.counts,
        "seconds": round(report.seconds, 2),
        "rows_per_second": round(work.row_count / max(report.seconds, 0.001)),
        "failed_rows": report.failed_file and click.format_filename(report.failed_file),
        "dry_run": dry_run,
    }
    return shown, _report_lines, int(report.counts["failed"] > 0)


def _report_lines(report: Output) -> str:
    counts = ", ".join(f"{name} {report[name]:,}" for name in ("created", "updated", "unchanged"))
    line = f"{counts}, failed {report['failed']:,}; {report['rows_per_second']:,} rows a second."
    if report["dry_run"]:
        line = f"Stored nothing. It would be: {line}"
    if report["failed_rows"]:
        line += f"\nThe failed rows, with the reasons, are in {report['failed_rows']}."
    return line


def _exporting(query: type[Query], *left_out: str) -> Callable[..., Any]:
    """Add the arguments of an export to a command: an option for each filter of a list."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for name, field in reversed(query().fields.items()):
            if name not in left_out:
                words, option = field.metadata.get("description"), f"--{name.replace('_', '-')}"
                add_option: Any = click.option(option, name, help=words)
                function = add_option(function)
        function = click.option("--format", type=FORMAT, default="csv")(function)
        function = click.option("--output", type=PATH, help="A file, not stdout.")(function)
        return click.argument("client", type=NAME)(function)

    return add


@lead_group.command("export")
@_exporting(LeadsQuery, "limit", "page")
@command
def export_leads(**options: Any) -> Any:
    """Export the leads of CLIENT (id or name), the one updated last at the end."""
    return _export(leads.stream, LeadsQuery(), LeadResponse(), **options)


@meeting_group.command("export")
@_exporting(MeetingFilters)
@command
def export_meetings(**options: Any) -> Any:
    """Export the meetings of CLIENT (id or name), earliest start first."""
    return _export(meetings.stream, MeetingFilters(), MeetingExport(), **options)


def _export(
    stream: Stream,
    query: Query,
    schema: ResponseSchema,
    client: str,
    format: str,
    output: Path | None,
    **filters: str | None,
) -> Any:
    owner = clients.find(client)
    given = {name: value for name, value in filters.items() if value is not None}
    rows = stream(owner.id, load_object(query, given).require_valid())
    if output is None:
        exporting.export(rows, schema, format, sys.stdout.buffer)
        return None
    with exporting.new_file(output) as file:
        count = exporting.export(rows, schema, format, file)
    made = {"exported": count, "file": click.format_filename(output)}
    return made, lambda made: f"Wrote {count:,} rows to {made['file']}."
