"""Holds answers against docs/openapi.json: every one that a test gets is what the document says."""

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
# Every code an answer can have: those of services, but for what only the command line meets.
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
    """What a reference refers to, or the thing itself."""
    while "$ref" in thing:
        found: Any = DOCUMENT
        for part in thing["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        thing = found
    return thing


def validator(schema: dict[str, Any]) -> Any:
    """A validator of values by a schema of the document."""
    whole = {"allOf": [schema], "components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


@cache
def validator_of_answer(path: str, method: str, status: str, mimetype: str) -> Any:
    """What validates an operation's answers of a status; KeyError where it says it has none."""
    answered = resolve(DOCUMENT["paths"][path][method]["responses"][status])
    return validator(answered["content"][mimetype]["schema"])


@cache
def validator_of(name: str) -> Any:
    """A validator by one of the schemas among the document's components."""
    return validator({"$ref": f"#/components/schemas/{name}"})


def check(app: Flask, response: TestResponse) -> None:
    """Fail where an answer is not what the document says of its operation and status."""
    request = response.request
    assert response.headers["X-Request-Id"]
    try:
        rule, _ = app.url_map.bind("").match(request.path, request.method, return_rule=True)
    except HTTPException as error:  # no operation of the document, but one of its errors
        names = {404: "NotFound", 405: "MethodNotAllowed"}
        validator_of(names[error.code]).validate(response.json)
        return
    path, method = PATH_ARGUMENT.sub(r"{\2}", rule.rule), request.method.lower()
    if path not in DOCUMENT["paths"] or method == "head":
        return
    status, mimetype = str(response.status_code), response.mimetype
    # The name of a refused field can hold half a character, which the validator cannot read.
    text = LONE_SURROGATE.sub("?", response.text)
    body = json.loads(text) if mimetype == "application/json" else text
    validator_of_answer(path, method, status, mimetype).validate(body)
