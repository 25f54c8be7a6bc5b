"""The command `webhooks`: manages webhooks, sends deliveries, and shows the state of sending."""

import os
import sys
from importlib import import_module
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup

from cli.command import NAME, Argument, Output, command
from config.supervisor import SENDER
from fields import Url
from services import clients, sending, webhooks
from services.errors import InvalidRequest
from times import format_instant
from webhook_models import EVENT_TYPES, Webhook

URL = Argument(Url(required=True))

webhook_group = AppGroup("webhooks", help="Send the events of clients to other systems.")


@webhook_group.command("add")
@click.argument("client", type=NAME)
@click.argument("url", type=URL)
@click.option("--name", type=NAME, help="A name for people.")
@click.option(
    "--event",
    "events",
    multiple=True,
    type=click.Choice(EVENT_TYPES),
    help="An event type to send; may be repeated. None means all.",
)
@command
def add_webhook(client: str, url: str, name: str | None, events: tuple[str, ...]) -> Any:
    """Add a webhook for CLIENT (id or name); its signing secret is shown only once."""
    given = {"url": url, "name": name, "events": list(events)}
    networks = current_app.config["SETTINGS"].webhook_allow_networks
    try:
        webhook, secret = webhooks.create(clients.find(client).id, given, networks)
    except InvalidRequest as error:
        raise click.UsageError(error.message.removeprefix("url: ")) from error
    return (
        _output(webhook) | {"signing_secret": secret},
        lambda made: (
            f"Webhook {made['id']}. Its signing secret, shown only once: {made['signing_secret']}"
        ),
    )


@webhook_group.command("list")
@click.argument("client", type=NAME)
@command
def list_webhooks(client: str) -> Any:
    """List the webhooks of CLIENT (id or name)."""
    return [_output(row) for row in webhooks.list_all(clients.find(client).id)], _line


@webhook_group.command("delete")
@click.argument("webhook_id", type=NAME)
@command
def delete_webhook(webhook_id: str) -> Any:
    """Delete a webhook; its waiting deliveries are not sent."""
    return _output(webhooks.delete_by_id(webhook_id)), lambda row: f"Deleted {row['id']}."


@webhook_group.command("send")
@click.option("--once", is_flag=True, help="Send until nothing is due, then end; for cron.")
def send(once: bool) -> None:
    """Send events to webhooks until SIGTERM; several processes share the work.

    The server runs this command beside it, unless WEBHOOK_SENDER is off.
    """
    if not once:
        # The same program without the web code, which needs less memory.
        os.chdir(current_app.root_path)
        os.execv(sys.executable, SENDER)  # noqa: S606  (no argument comes from outside)
    settings = current_app.config["SETTINGS"]
    # No other process loads the HTTP client.
    import_module("sender.run").run(
        settings.webhook_allow_networks,
        settings.webhook_retry_seconds,
        settings.delivery_days,
        once=True,
    )


@webhook_group.command("status")
@command
def show_status() -> Any:
    """Count waiting and sent deliveries, and list the running senders."""
    return sending.status(), _status_lines


def _output(webhook: Webhook) -> Output:
    names = ("id", "name", "url", "events", "enabled", "disabled_reason", "created_at")
    return {name: webhook.__data__[name] for name in names}


def _line(row: Output) -> str:
    state = "enabled" if row["enabled"] else f"disabled: {row['disabled_reason'] or 'by hand'}"
    return f"{row['id']}  {row['url']}  {', '.join(row['events']) or 'all events'}  {state}"


def _status_lines(status: Output) -> str:
    seen = [
        f"  {row['id']}, since {format_instant(row['started_at'])},"
        f" last seen {format_instant(row['seen_at'])}"
        for row in status["senders"]
    ]
    return "\n".join(
        [
            f"{status['waiting']} waiting, the oldest for {status['oldest_waiting_seconds']} s",
            f"{status['delivered']} delivered, {status['failed']} failed,"
            f" {status['failed_tries']} failed tries",
            f"{len(seen)} {'sender' if len(seen) == 1 else 'senders'}",
            *seen,
        ]
    )
