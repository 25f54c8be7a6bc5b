"""The errors a service raises on purpose, each with its status, code and title."""

from typing import Any, ClassVar

MAX_SENTENCES = 20  # in a message; `details` names every fault


class ServiceError(Exception):
    """The request cannot be carried out; `details` maps each field to a list of sentences."""

    status: ClassVar[int]
    code: ClassVar[str]
    title: ClassVar[str]
    retry_after_seconds: ClassVar[int | None] = None  # for an error that passes by itself

    def __init__(self, message: str, details: dict[Any, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidJson(ServiceError):
    """The body is not JSON."""

    status, code, title = 400, "invalid_json", "Invalid JSON"


class InvalidRequest(ServiceError):
    """The body or the query is not valid; `details` names every fault."""

    status, code, title = 400, "validation_error", "Validation error"

    def __init__(self, details: dict[Any, Any]) -> None:
        sentences = _sentences(details)
        message = " ".join(sentences[:MAX_SENTENCES])
        if len(sentences) > MAX_SENTENCES:
            message += f" And {len(sentences) - MAX_SENTENCES} more, in details."
        super().__init__(message, details)


class MissingApiKey(ServiceError):
    """Neither `X-API-Key` nor `Authorization` contains a key."""

    status, code, title = 401, "missing_api_key", "Missing API key"

    def __init__(self) -> None:
        super().__init__("Please provide your API key in the X-API-Key header")


class InvalidApiKey(ServiceError):
    """The key is unknown, malformed, revoked or expired; the response does not say which."""

    status, code, title = 401, "invalid_api_key", "Invalid API key"

    def __init__(self) -> None:
        super().__init__("The provided API key is not valid")


class ReadOnlyKey(ServiceError):
    """The key may only read: only GET and HEAD are possible with it."""

    status, code, title = 403, "read_only_key", "Read-only key"

    def __init__(self) -> None:
        super().__init__("This API key may only read. Use a key without the scope read_only.")


class InvalidSignature(ServiceError):
    """The signature of a webhook is missing or wrong."""

    status, code, title = 401, "invalid_signature", "Invalid signature"

    def __init__(self) -> None:
        super().__init__("The signature is missing or does not match the source's signing secret.")


class NotFound(ServiceError):
    """The path does not exist."""

    status, code, title = 404, "not_found", "Not found"

    def __init__(self) -> None:
        super().__init__("There is no such path.")


class LeadNotFound(ServiceError):
    """No lead of this client has the id or email; another client's lead counts as absent."""

    status, code, title = 404, "lead_not_found", "Lead not found"

    def __init__(self, named_by: str) -> None:
        super().__init__(f"No lead with the {named_by}. POST /api/public/leads creates one.")


class MeetingNotFound(ServiceError):
    """No meeting of this client has the id, or what else names it."""

    status, code, title = 404, "meeting_not_found", "Meeting not found"

    def __init__(self, named_by: str) -> None:
        super().__init__(f"No meeting with the {named_by}.")


class SourceNotFound(ServiceError):
    """No source of this client has the id."""

    status, code, title = 404, "source_not_found", "Source not found"

    def __init__(self, source_id: str) -> None:
        super().__init__(f"No source with the id {source_id}.")


class ReceiptNotFound(ServiceError):
    """No receipt of this client has the id."""

    status, code, title = 404, "receipt_not_found", "Receipt not found"

    def __init__(self, receipt_id: str) -> None:
        super().__init__(f"No receipt with the id {receipt_id}.")


class UserNotFound(ServiceError):
    """No user of this client has the id."""

    status, code, title = 404, "user_not_found", "User not found"

    def __init__(self, user_id: str) -> None:
        super().__init__(f"No user with the id {user_id}.")


class MeetingTypeNotFound(ServiceError):
    """No meeting type of this client has the id."""

    status, code, title = 404, "meeting_type_not_found", "Meeting type not found"

    def __init__(self, type_id: str) -> None:
        super().__init__(f"No meeting type with the id {type_id}.")


class WebhookNotFound(ServiceError):
    """No webhook of this client has the id."""

    status, code, title = 404, "webhook_not_found", "Webhook not found"

    def __init__(self, webhook_id: str) -> None:
        super().__init__(f"No webhook with the id {webhook_id}.")


class DeliveryNotFound(ServiceError):
    """The webhook has no delivery with the id."""

    status, code, title = 404, "delivery_not_found", "Delivery not found"

    def __init__(self, delivery_id: str) -> None:
        super().__init__(f"No delivery of this webhook with the id {delivery_id}.")


class InvalidTransition(ServiceError):
    """The meeting's status does not allow the change."""

    status, code, title = 409, "invalid_transition", "Invalid transition"

    def __init__(self, meeting_status: str, verb: str) -> None:
        name = meeting_status.replace("_", "-")
        super().__init__(
            f"A {name} meeting cannot be {verb}; POST /meetings/{{id}}/reopen opens it again."
        )


class ExternalEventConflict(ServiceError):
    """The pair of provider and event id belongs to another meeting, which the message names."""

    status, code, title = 409, "external_event_conflict", "External event conflict"


class ExternalIdConflict(ServiceError):
    """Another lead of the client has this external_id."""

    status, code, title = 409, "external_id_conflict", "External id conflict"

    def __init__(self, external_id: str) -> None:
        super().__init__(f"Another lead already has the external_id {external_id}.")


class TooManyWebhooks(ServiceError):
    """The client has as many webhooks as it may have."""

    status, code, title = 409, "too_many_webhooks", "Too many webhooks"

    def __init__(self, most: int) -> None:
        super().__init__(f"You already have {most} webhooks, the maximum. Delete one first.")


class IdempotencyKeyReused(ServiceError):
    """The `Idempotency-Key` was sent before with another path, query or body."""

    status, code, title = 409, "idempotency_key_reused", "Idempotency key reused"

    def __init__(self) -> None:
        super().__init__("The Idempotency-Key was sent before with another request.")


class IdempotencyKeyInProgress(ServiceError):
    """The first request with the `Idempotency-Key` has not ended yet."""

    status, code, title = 409, "idempotency_key_in_progress", "Idempotency key in progress"
    retry_after_seconds = 1

    def __init__(self) -> None:
        super().__init__(
            "The first request with the Idempotency-Key is still in progress. Please try again."
        )


class PayloadTooLarge(ServiceError):
    """The body is larger than the limit."""

    status, code, title = 413, "payload_too_large", "Payload too large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body may be at most {limit} bytes long.")


class Unavailable(ServiceError):
    """The database does not respond in time or lacks a migration; a later retry may succeed."""

    status, code, title = 503, "unavailable", "Service unavailable"
    retry_after_seconds = 1


class TryAgainLater(Unavailable):
    """The same for GoHighLevel's webhooks: GoHighLevel repeats a request only after a 429."""

    status = 429
    retry_after_seconds = 60


class NameTaken(ServiceError):
    """Another row already has the name or email."""

    status, code, title = 409, "name_taken", "Name taken"


class InUse(ServiceError):
    """The row cannot be deleted, because others refer to it."""

    status, code, title = 409, "in_use", "In use"


class UnknownName(ServiceError):
    """The command line names a row that does not exist."""

    status, code, title = 404, "unknown_name", "Unknown name"


class BackupRefused(ServiceError):
    """The backup file cannot be written, or the database needs its own tool (command line only)."""

    status, code, title = 409, "backup_refused", "Backup refused"


class FileUnreadable(ServiceError):
    """A file cannot be read or written, or has unknown columns (command line only)."""

    status, code, title = 409, "file_unreadable", "File unreadable"


def _sentences(details: Any, path: str = "") -> list[str]:
    """Return all sentences of nested details with their fields' paths: `a.0.email: Required.`"""
    if isinstance(details, dict):
        return [
            sentence
            for key, inner in details.items()
            for sentence in _sentences(inner, f"{path}.{key}" if path else str(key))
        ]
    return [f"{path}: {sentence}" for sentence in details]
