"""Forms: load what a person has typed by the API's schemas, and collect the errors.

A form's fields have the names of the schema's fields. So a page can show the API's own error
sentences beside the fields.
"""

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import orjson
from flask import g, redirect, request, url_for

from bases import Request
from desk.blueprint import safe_address
from services import idempotency
from services.errors import ServiceError
from services.idempotency import KeptAnswer, KeyedRequest
from services.loading import load_object
from services.results import Loaded
from web.body import instance

OWN = {"client", "form_id", "back"}  # fields of every form, which are the desk's
ABOUT_FIELDS = (400, 404, 409)  # errors that a person can correct in the form


@dataclass
class Form:
    """The fields of a form as given, and sentences about what is wrong with them."""

    name: str = ""
    given: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, list[str]] = field(default_factory=dict)
    message: str = ""  # what is wrong with the form as a whole
    status: int = 200

    @classmethod
    def sent(cls, name: str, fields: Container[str] | None = None) -> "Form":
        """Return the form that this request has sent, with only some fields if they are named."""
        given = {
            key: value
            for key, value in request.form.items()
            if key not in OWN and (fields is None or key in fields)
        }
        return cls(name, given)

    def load(self, schema: type[Request]) -> dict[str, Any]:
        """Return the fields, valid by the schema; raises InvalidRequest."""
        return self.load_partly(schema).require_valid()

    def load_partly(self, schema: type[Request]) -> Loaded:
        """Return the fields as far as they are valid by the schema."""
        return load_object(instance(schema), self.given)

    def load_cleared(self, schema: type[Request]) -> dict[str, Any]:
        """Return the fields, valid by the schema, with None for an empty one.

        None clears what is stored. Raises InvalidRequest.
        """
        given = {name: text if text.strip() else None for name, text in self.given.items()}
        return load_object(instance(schema), given).require_valid()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Keep an error about the form, to show it there; others are shown on their own page."""
        try:
            yield
        except ServiceError as error:
            if error.status not in ABOUT_FIELDS:
                raise
            g.code = error.code  # for the log and the counts, as with an error of the API
            self.status = error.status
            self.wrong = _flat(error.details or {})
            self.message = "" if self.wrong else error.message

    def has(self, *names: str) -> bool:
        """Return whether any of these fields is filled in."""
        return any(self.given.get(name) for name in names)

    @property
    def is_refused(self) -> bool:
        """Whether there is something wrong with it."""
        return self.status != 200


def _flat(details: dict[Any, Any], path: str = "") -> dict[str, list[str]]:
    """Return nested details by the path of each field: `additional_attendees.0.email`."""
    flat: dict[str, list[str]] = {}
    for key, inner in details.items():
        name = f"{path}.{key}" if path else str(key)
        flat |= _flat(inner, name) if isinstance(inner, dict) else {name: inner}
    return flat


def once(act: Callable[[], tuple[dict[str, Any], str]]) -> str:
    """Carry out what a form asks for, once however often the form is sent.

    `act` returns what it is about, as `{"lead": {"id"}}`, and the address to go to, which is
    returned again for the same form with the same fields. Corrected fields are another request.
    """
    text = orjson.dumps(sorted(request.form.items()))
    sent = sha256(b"\0".join((request.path.encode(), text))).hexdigest()

    def answer() -> KeptAnswer:
        about, address = act()
        return KeptAnswer(303, orjson.dumps(about), address)

    kept = idempotency.answer_once(KeyedRequest(g.client_id, f"desk {sent}", sent), answer)
    return kept.location or ""


def go_to(endpoint: str, **values: Any) -> Any:
    """Redirect to a page after a form was carried out; reloading does not send it again."""
    return redirect(url_for(endpoint, **values), 303)


def go_back(done: str, meeting_id: str) -> Any:
    """Redirect to the page that a form names; it then says what was done to a meeting."""
    back = safe_address(request.form.get("back"))
    sign = "&" if "?" in back else "?"
    return redirect(f"{back}{sign}done={done}&about={meeting_id}", 303)
