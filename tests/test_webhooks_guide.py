"""docs/webhooks.md: its receivers verify the signatures of real deliveries."""

import os
import re
import subprocess
import sys
import time
from ipaddress import ip_network

import pytest
from conftest import using
from programs import find_or_install
from server import free_port

from config.settings import ROOT
from sender.client import Client
from sender.loop import SendingLoop
from services import deliveries, leads, migrations, webhooks
from services.clients import create as create_client
from services.results import Loaded
from webhook_models import EVENT_TYPES

GUIDE = (ROOT / "docs" / "webhooks.md").read_text()
LOCAL = (ip_network("127.0.0.0/8"),)


def code_in(language):
    [code] = re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)
    return code


@pytest.fixture
def own_app(empty_databases):
    with using(empty_databases(), webhook_allow_networks=LOCAL) as app:
        migrations.upgrade()
        yield app


def receive(command, webhook, secret):
    """Run a receiver while what is due is sent; returns what it printed."""
    port = int(webhook.url.rpartition(":")[2].partition("/")[0])
    process = subprocess.Popen(
        command,
        env={"PATH": os.environ["PATH"], "SIGNING_SECRET": secret, "PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        time.sleep(1.5)
        SendingLoop(Client(LOCAL, "x"), (0.3,) * 5, 0).run(once=False, is_needed=waits(webhook))
    finally:
        process.terminate()
        printed = process.communicate(timeout=10)[0]
    return printed


def waits(webhook):
    """Return a function that says whether the webhook has deliveries that wait."""
    until = time.monotonic() + 10

    def is_waiting():
        rows, _ = deliveries.list_log(webhook.id, {"limit": 10, "status": "pending"})
        return bool(rows) and time.monotonic() < until

    return is_waiting


@pytest.mark.parametrize("language", ["python", "javascript"])
@pytest.mark.parametrize("is_genuine", [True, False], ids=["genuine", "forged"])
def test_a_receiver_accepts_genuine_deliveries_only(own_app, tmp_path, language, is_genuine):
    is_python = language == "python"
    program = sys.executable if is_python else find_or_install("nodejs", ("node",))
    file = tmp_path / ("receiver.py" if is_python else "receiver.cjs")
    file.write_text(code_in(language))
    client, _ = create_client("Guide")
    url = f"http://127.0.0.1:{free_port()}/hook"
    webhook, secret = webhooks.create(client.id, {"url": url}, LOCAL)
    other = webhooks._new_secret()
    leads.save(client.id, [Loaded({"first_name": "Tony"}, {})])

    printed = receive([program, str(file)], webhook, secret if is_genuine else other)

    [delivery], _ = deliveries.list_log(webhook.id, {"limit": 10})
    if is_genuine:
        assert delivery.status == "delivered", delivery.last_error
        assert "lead.created" in printed
    else:
        assert delivery.last_status_code == 401
        assert "lead.created" not in printed


def test_every_event_type_is_described():
    for event_type in EVENT_TYPES:
        assert f"`{event_type}`" in GUIDE
