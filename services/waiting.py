"""Unmatched receipts wait until a lead gets their email, or until their booking is logged.

`services/intake.py` processes them. It uses the services that call `release`, so it registers
itself here instead of being imported.
"""

from collections.abc import Callable, Collection

Pair = tuple[str, str]  # provider and event id, which name one meeting
Process = Callable[[str, Collection[str], Collection[Pair]], None]

_processes: list[Process] = []


def processes_receipts(process: Process) -> Process:
    """Decorate the function that processes receipts again: it takes client, emails and pairs."""
    _processes.append(process)
    return process


def release(
    client_id: str, *, email_keys: Collection[str] = (), pairs: Collection[Pair] = ()
) -> None:
    """Process the unmatched receipts again that wait for one of these emails or pairs.

    Call this at the end of a transaction that gave a lead an email (in lower case), or a meeting an
    awaited pair.
    """
    if email_keys or pairs:
        for process in _processes:
            process(client_id, email_keys, pairs)
