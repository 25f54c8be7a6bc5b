"""The booking systems whose webhooks the service reads: one module for each.

Each has `is_signed`, which checks the signature of a body, and `read`, which returns the Event that
a payload reports.
"""

from types import ModuleType

from services.providers import calendly

PROVIDERS: dict[str, ModuleType] = {"calendly": calendly}
