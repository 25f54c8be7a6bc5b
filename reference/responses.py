"""The responses of the OpenAPI document: results of arrays, and errors with their examples."""

from typing import Any

from reference.shapes import first_sentence, reference
from services.errors import ServiceError

JSON = "application/json"
COUNT = {"type": "integer", "minimum": 0}
FALSE = {"type": "boolean", "const": False}
ROWS = {"minItems": 1, "maxItems": 1000}
REQUEST_ID = "019b6a5c-9a10-7c11-b2d4-0c1d2e3f4a5b"


def one_of(*choices: Any) -> dict[str, Any]:
    """Return the JSON Schema of one of a few words or numbers."""
    return {"type": "integer" if isinstance(choices[0], int) else "string", "enum": [*choices]}


def response(words: str, content: dict[str, Any]) -> dict[str, Any]:
    """Return a response with the request's id among its headers."""
    headers = {"X-Request-Id": "X-Request-Id"}
    return {"description": words, "headers": headers, "content": content}


def closed_object(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    """Return an object of exactly these properties, required unless optional."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def error_schema(error: ServiceError) -> dict[str, Any]:
    """Return an error response as a schema, with its own code and title."""
    properties = {
        "success": FALSE,
        "error": {"type": "string", "const": error.title},
        "message": {"type": "string"},
        "code": {"type": "string", "enum": [error.code]},
        "details": reference("Details"),
        "request_id": {"type": "string"},
    }
    if error.details is None:
        del properties["details"]
    words = {"description": first_sentence(type(error)), "examples": [error_example(error)]}
    return words | closed_object(properties)


def error_example(error: ServiceError) -> dict[str, Any]:
    """Return an example of an error response."""
    made = {"success": False, "error": error.title, "message": error.message, "code": error.code}
    if error.details is not None:
        made["details"] = error.details
    return made | {"request_id": REQUEST_ID}


def refusal(met: list[ServiceError]) -> dict[str, Any]:
    """Return the response that these errors of one status share."""
    names = {error.code: f"#/components/schemas/{type(error).__name__}" for error in met}
    schema: dict[str, Any] = {"oneOf": [{"$ref": name} for name in names.values()]}
    schema["discriminator"] = {"propertyName": "code", "mapping": names}
    examples = {
        error.code: {"summary": error.title, "value": error_example(error)} for error in met
    }
    content = {JSON: {"schema": schema if len(met) > 1 else schema["oneOf"][0]}}
    content[JSON]["examples"] = examples
    made = response(". Or: ".join(first_sentence(type(error)) for error in met), content)
    waits = [error.retry_after_seconds is not None for error in met]
    if any(waits):
        name = "Retry-After" if all(waits) else "RetryAfterIfInProgress"
        made["headers"]["Retry-After"] = name
    return made


def refused_row(kinds: list[type[ServiceError]]) -> dict[str, Any]:
    """Return the result of a row that failed with one of these errors."""
    properties = {
        "index": COUNT,
        "success": FALSE,
        "status": one_of(*sorted({kind.status for kind in kinds})),
        "error": {"type": "string"},
        "message": {"type": "string"},
        "code": one_of(*(kind.code for kind in kinds)),
        "details": reference("Details"),
    }
    return {"description": "A row that failed"} | closed_object(properties, "details")


def results_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the response to an array, with rows of these kinds."""
    counts = dict.fromkeys(("created", "updated", "failed"), COUNT)
    properties = {
        "success": {"type": "boolean", "description": "False if every row failed."},
        **counts,
        "results": {"type": "array", "items": {"oneOf": rows}, **ROWS},
    }
    return {"description": "A result for each row"} | closed_object(properties)
