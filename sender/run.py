"""Start the sender, and stop it in time."""

import logging
import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress

from config.supervisor import SERVER_VARIABLE
from config.version import VERSION
from sender.client import Client
from sender.loop import SendingLoop
from services.network import Networks

USER_AGENT = f"Meetings/{VERSION}"
NICENESS = 5  # of a sender beside a server: bookings come first

log = logging.getLogger("meetings")


def run(allowed: Networks, retry_seconds: tuple[float, ...], keep_days: int, once: bool) -> None:
    """Send deliveries until SIGTERM or SIGINT, or until nothing is due (`once`)."""
    sender = SendingLoop(Client(allowed, USER_AGENT), retry_seconds, keep_days)
    if once:
        sender.run(once=True)
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sender.stop())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # only the server reloads
    log.info("The sender of webhooks starts.")
    sender.run(is_needed=_server_lives())
    log.info("The sender of webhooks ends.")


def _server_lives() -> Callable[[], bool]:
    server = os.environ.get(SERVER_VARIABLE)
    if server is None:
        return lambda: True
    with suppress(PermissionError):  # sending matters more than the lower priority
        os.nice(NICENESS)
    if not hasattr(os, "pidfd_open"):  # then the supervisor alone ends the sender
        return lambda: True
    try:
        server_end = os.pidfd_open(int(server))  # readable once the process has ended
    except OSError:
        return lambda: False
    return lambda: not select.select([server_end], [], [], 0)[0]
