"""The `flask` commands: one module for each noun."""

from flask import Flask

from cli.clients import client_group, key_group
from cli.databases import db
from cli.demo import demo
from cli.erase import erase_lead
from cli.feeds import feed_group
from cli.files import lead_group, meeting_group
from cli.hosts import type_group, user_group
from cli.prune import prune
from cli.sources import source_group
from cli.version import version
from cli.webhooks import webhook_group

lead_group.add_command(erase_lead)

COMMANDS = (
    db,
    client_group,
    key_group,
    user_group,
    type_group,
    lead_group,
    feed_group,
    source_group,
    webhook_group,
    meeting_group,
    prune,
    demo,
    version,
)


def register(app: Flask) -> None:
    """Add the commands to an application."""
    for command in COMMANDS:
        app.cli.add_command(command)
