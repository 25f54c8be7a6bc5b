"""The booking systems whose webhooks the service reads, one module for each.

Each module has `is_signed`, which checks the signature of a body, and `read`, which returns what
a payload reports: a ReportedEvent.
"""

from types import ModuleType

from services.providers import calcom, calendly, generic, ghl

PROVIDERS: dict[str, ModuleType] = {
    "calendly": calendly,
    "calcom": calcom,
    "ghl": ghl,
    "generic": generic,
}
