"""Read and parse a request's body, and load it and the query by a schema."""

import codecs
import json
import re
from functools import cache
from typing import Any, NamedTuple

from flask import g, request

from bases import ARRAY_BYTES, OptionalRequest, Query, Request
from decoding import decode_json
from fields import JSON_DEPTH
from scheduling import in_turns
from services.errors import InvalidJson, InvalidRequest, PayloadTooLarge
from services.loading import load_object
from services.results import Loaded

ARRAY_ROWS = 1000
ROWS_A_TURN = 100  # rows loaded before other requests run: about 5 ms
NOT_WHOLE = "The body arrived incomplete."
# More than fit into 1 MiB. For millions of values Python takes seconds and 300 MiB, and the worker
# serves no other request meanwhile.
MOST_VALUES = 700_000
TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)

instance: Any = cache(lambda schema: schema())  # the one instance of a schema class


class Rows(NamedTuple):
    """The rows of a body, one for an object or those of an array, and the request's query."""

    is_array: bool
    rows: list[Loaded]
    query: dict[str, Any]


def load(schema: type[Request]) -> dict[str, Any]:
    """Return the request's body, an object that is valid by the schema.

    Raises PayloadTooLarge, InvalidJson, and InvalidRequest with every fault of body and query.
    """
    return load_partly(schema).require_valid()


def load_partly(schema: type[Request]) -> Loaded:
    """Load the request's body, an object, as far as it is valid.

    For a service that checks the rest itself, so that one error names every fault. Raises
    PayloadTooLarge, InvalidJson.
    """
    raw = read_body(schema.BODY_BYTES).removeprefix(codecs.BOM_UTF8)
    is_absent = not raw.strip() and issubclass(schema, OptionalRequest)
    valid, wrong = load_object(instance(schema), {} if is_absent else parse_json(raw))
    return Loaded(valid, _load_query(Query).wrong | wrong)


def load_rows(schema: type[Request], query_schema: type[Query] = Query) -> Rows:
    """Load the request's query, and its body, an object or an array, each as far as it is valid.

    Raises PayloadTooLarge, InvalidJson, and InvalidRequest for an array of a wrong length or with
    an invalid query. For an object, the faults of the query are among those of the object.
    """
    body = parse_json(read_body(schema.BODY_BYTES, ARRAY_BYTES))
    query, wrong = _load_query(query_schema)
    if not isinstance(body, list):
        valid, own_wrong = load_object(instance(schema), body)
        return Rows(False, [Loaded(valid, wrong | own_wrong)], query)
    if not 1 <= len(body) <= ARRAY_ROWS:
        wrong["body"] = [f"Must hold 1 to {ARRAY_ROWS} objects, not {len(body)}."]
    if wrong:
        raise InvalidRequest(wrong)
    return Rows(True, load_array(schema, body), query)


def load_array(schema: type[Request], items: list[Any]) -> list[Loaded]:
    """Load each item of an array as far as it is valid, while other requests run."""
    rows: list[Loaded] = []
    for part in in_turns(items, ROWS_A_TURN):
        rows += [load_object(instance(schema), item) for item in part]
    return rows


def load_query(schema: type[Query]) -> dict[str, Any]:
    """Return the request's query, valid by the schema; raises InvalidRequest."""
    return _load_query(schema).require_valid()


def _load_query(schema: type[Query]) -> Loaded:
    """Load the query; the faults of the headers are among its own."""
    if request.query_string:
        given = {name: values[-1] for name, values in request.args.lists()}
        given.pop("verbose", None)  # Nexor callers send it
        loaded = load_object(instance(schema), given)
    else:  # most requests have none, so the result is kept
        valid, wrong = _load_absent_query(schema)
        loaded = Loaded(valid.copy(), wrong.copy())
    wrong_headers = g.get("wrong_headers")
    return Loaded(loaded.valid, wrong_headers | loaded.wrong) if wrong_headers else loaded


@cache
def _load_absent_query(schema: type[Query]) -> Loaded:
    return load_object(instance(schema), {})


def parse_json(raw: bytes) -> Any:
    """Parse a body as JSON; raises InvalidJson, and InvalidRequest for too many values."""
    if _has_too_many_values(raw):
        raise InvalidRequest({"body": [f"Must hold at most {MOST_VALUES} values."]})
    try:
        body = decode_json(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidJson("The body is not UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidJson(_why_not_json(raw, error)) from error
    # Count the brackets first: few bodies have enough of them to be too deep.
    if raw.count(b"[") + raw.count(b"{") > JSON_DEPTH and _depth(body) > JSON_DEPTH:
        raise InvalidJson(f"The body is nested deeper than {JSON_DEPTH}.")
    return body


def read_body(limit: int, array_limit: int = 0) -> bytes:
    """Read the whole body of at most `limit` bytes; an array may be longer, up to `array_limit`.

    Raises PayloadTooLarge, and InvalidJson for a body that ends too soon.
    """
    # Werkzeug silently cuts a body without a Content-Length at its limit, and accepts a body that
    # ends before its Content-Length.
    length = request.content_length
    longest = max(limit, array_limit)
    most = longest + 1 if length is None else length
    if length is not None and length > longest:
        raise PayloadTooLarge(longest)
    raw = b""
    try:
        while len(raw) < most and (chunk := request.stream.read(most - len(raw))):
            raw += chunk
    except Exception as error:  # broken chunks, a reset: each server has its own exceptions
        raise InvalidJson(NOT_WHOLE) from error
    allowed = longest if is_array(raw) else limit
    if len(raw) > allowed:
        raise PayloadTooLarge(allowed)
    if length is not None and len(raw) < length:
        raise InvalidJson(NOT_WHOLE)
    return raw


def is_array(raw: bytes) -> bool:
    """Return whether a body, if it is JSON at all, is an array."""
    return raw.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"["


def _has_too_many_values(raw: bytes) -> bool:
    """Count the separators between values instead of parsing, which takes far longer."""
    if _count_signs(raw) <= MOST_VALUES:
        return False
    if raw.count(b'"') - raw.count(b'\\"') > 2 * MOST_VALUES:  # two for each text
        return True
    return _count_signs(TEXT.sub(b"", raw)) > MOST_VALUES


def _count_signs(raw: bytes) -> int:
    return raw.count(b",") + raw.count(b"[") + raw.count(b"{")


def _why_not_json(raw: bytes, error: Exception) -> str:
    if not raw.strip():
        return "The body is empty; a JSON object is needed."
    if isinstance(error, json.JSONDecodeError):
        return f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
    if isinstance(error, RecursionError):
        return f"The body is nested deeper than {JSON_DEPTH}."
    return f"The body is not JSON: {error}."


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        nested = [item for item in level if isinstance(item, dict | list)]
        depth += bool(nested)
        level = [
            inner
            for item in nested
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return depth
