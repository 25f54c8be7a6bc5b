"""The command `sources`: addresses that booking systems post to."""

from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup

from cli.command import NAME, JsonFile, Output, command
from intake_models import SOURCE_PROVIDERS, Source
from intake_schemas import ReceiptResponse, SourceRequest, SourceResponse
from services import clients, intake, sources
from services.errors import InvalidRequest
from services.loading import load_object
from times import format_instant

source_group = AppGroup("sources", help="Manage addresses that booking systems post to.")


@source_group.command("create")
@click.argument("client", type=NAME)
@click.option("--provider", required=True, metavar="|".join(SOURCE_PROVIDERS))
@click.option("--name", required=True)
@click.option(
    "--secret", "signing_secret", type=NAME, help="Check the signatures made with this secret."
)
@click.option("--no-create-leads", is_flag=True, help="Do not create leads for unknown emails.")
@click.option("--timezone", help="The zone of times that arrive without one; UTC by default.")
@click.option("--mapping", type=JsonFile(), help="A JSON file, for the provider generic.")
@command
def create_source(client: str, no_create_leads: bool, **given: Any) -> Any:
    """Create an address for a booking system of CLIENT (id or name), which is shown only once."""
    owner = clients.find(client)
    try:
        loaded = load_object(SourceRequest(), {**given, "create_leads": not no_create_leads})
        source, token = sources.create(owner.id, loaded.require_valid())
    except RecursionError as error:
        raise InvalidRequest({"mapping": ["Is nested too deeply."]}) from error
    return _output_with_url(source, token), _url_line


@source_group.command("list")
@click.argument("client", type=NAME)
@command
def list_sources(client: str) -> Any:
    """List the sources of CLIENT (id or name)."""
    rows = sources.list_all(clients.find(client).id)
    return SourceResponse().dump(rows, many=True), _source_line


@source_group.command("rotate")
@click.argument("source_id", type=NAME)
@command
def rotate_source(source_id: str) -> Any:
    """Give a source a new address, which is shown only once; the old one stops working at once."""
    source = sources.find_of_any_client(source_id)
    return _output_with_url(*sources.rotate(source.client_id, source.id)), _url_line


@source_group.command("delete")
@click.argument("source_id", type=NAME)
@command
def delete_source(source_id: str) -> Any:
    """Delete a source: its address stops working at once, and its receipts stay."""
    source = sources.find_of_any_client(source_id)
    sources.delete(source.client_id, source.id)
    return {"id": source.id, "name": source.name}, lambda row: f"Deleted {row['name']}."


@source_group.command("try")
@click.argument("source_id", type=NAME)
@click.argument("file", type=JsonFile())
@command
def try_source(source_id: str, file: Any) -> Any:
    """Show what the payload in FILE (`-` for standard input) would do; nothing is stored."""
    receipt = intake.try_out(sources.find_of_any_client(source_id), file)
    return ReceiptResponse().dump(receipt), _receipt_lines


def _output_with_url(source: Source, token: str) -> Output:
    url = f"{current_app.config['SETTINGS'].base_url}/hooks/{token}"
    return {**SourceResponse().dump(source), "url": url}


def _url_line(row: Output) -> str:
    return f"{row['id']}  {row['url']}"


def _source_line(row: Output) -> str:
    signed = "signed" if row["signed"] else "unsigned"
    last = format_instant(row["last_received_at"]) or "never"
    return f"{row['id']}  {row['name']}  {row['provider']}  {signed}  last received {last}"


def _receipt_lines(row: Output) -> str:
    details = [
        f"  {field}: {sentence}"
        for field, sentences in (row["details"] or {}).items()
        for sentence in sentences
    ]
    return "\n".join([f"{row['outcome']}: {row['message']}", *details])
