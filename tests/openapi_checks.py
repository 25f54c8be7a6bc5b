"""Checks the responses in tests against docs/openapi.json."""

import json
import re
from functools import cache
from typing import Any

import jsonschema_rs
from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from config.settings import ROOT
from reference.openapi import PATH_ARGUMENT
from services import errors

DOCUMENT = json.loads((ROOT / "docs" / "openapi.json").read_text())
# Every error code of a response: those of the services, except the command line's.
CODES = {
    *(
        error.code
        for error in vars(errors).values()
        if isinstance(error, type)
        and issubclass(error, errors.ServiceError)
        and hasattr(error, "code")
        and "command line" not in str(error.__doc__)
    ),
    *("method_not_allowed", "internal_error"),
}
LONE_SURROGATE = re.compile(r"\\ud[89a-f][0-9a-f]{2}")


def resolve(thing: dict[str, Any]) -> dict[str, Any]:
    """Return the object that a `$ref` points to, or the object itself if it has none."""
    while "$ref" in thing:
        found: Any = DOCUMENT
        for part in thing["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        thing = found
    return thing


def validator(schema: dict[str, Any]) -> Any:
    """Return a validator for a schema of the document."""
    whole = {"allOf": [schema], "components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


@cache
def response_validator(path: str, method: str, status: str, mimetype: str) -> Any:
    """Return a validator for an operation's responses; KeyError if they are not documented."""
    answered = resolve(DOCUMENT["paths"][path][method]["responses"][status])
    return validator(answered["content"][mimetype]["schema"])


@cache
def component_validator(name: str) -> Any:
    """Return a validator for one of the document's component schemas."""
    return validator({"$ref": f"#/components/schemas/{name}"})


def check_response(app: Flask, response: TestResponse) -> None:
    """Fail if a response differs from the document's description of its operation and status."""
    request = response.request
    assert response.headers["X-Request-Id"]
    try:
        rule, _ = app.url_map.bind("").match(request.path, request.method, return_rule=True)
    except HTTPException as error:  # no operation matches, so the response must be this error
        names = {404: "NotFound", 405: "MethodNotAllowed"}
        component_validator(names[error.code]).validate(response.json)
        return
    path, method = PATH_ARGUMENT.sub(r"{\2}", rule.rule), request.method.lower()
    if path not in DOCUMENT["paths"] or method == "head":
        return
    status, mimetype = str(response.status_code), response.mimetype
    # The name of a refused field can contain a lone surrogate, which the validator cannot read.
    text = LONE_SURROGATE.sub("?", response.text)
    body = json.loads(text) if mimetype == "application/json" else text
    response_validator(path, method, status, mimetype).validate(body)
