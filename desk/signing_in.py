"""Signing in with a key, signing out, the zone of the times shown, and the files of the pages."""

from hashlib import sha256
from pathlib import Path
from typing import Any

from flask import Response, g, redirect, render_template, request

import fields
from bases import Request
from desk import clock
from desk.blueprint import cookie_name, desk, safe_address, set_cookie
from desk.forms import Form, go_to
from services import desk_sessions
from services.errors import InvalidApiKey, MissingApiKey, NotFound
from web.answers import serve_file
from web.docs import CSS, JAVASCRIPT, KEEP, File

STATIC = Path(__file__).resolve().parent / "static"
FILES = {
    path.name: File(path, content_type, KEEP)
    for path, content_type in (
        (STATIC / "desk.css", CSS),
        (STATIC / "desk.js", JAVASCRIPT),
        (STATIC / "desk.svg", "image/svg+xml"),
    )
}
# Part of their addresses, so that browsers may keep them: a changed file has a new address.
VERSION = sha256("".join(file.etag for file in FILES.values()).encode()).hexdigest()[:12]
UNKNOWN_KEY = "This key is not valid. It may be mistyped, revoked or expired."
NO_KEY = "Paste an API key."


class ZoneForm(Request):
    """The zone in which a person reads times."""

    zone = fields.Timezone(required=True)


@desk.get("/files/<version>/<name>")
def get_file(version: str, name: str) -> Response:
    """Get the style sheet, the script or the icon."""
    if version != VERSION or name not in FILES:
        raise NotFound()
    return serve_file(FILES[name])


@desk.get("/sign-in")
def show_sign_in() -> Any:
    """Ask for an API key."""
    return _sign_in_page(Form("sign-in"), request.args.get("next"))


def _sign_in_page(form: Form, after: str | None) -> Any:
    page = render_template(
        "desk/sign_in.html",
        form=form,
        after=safe_address(after),
        has_ended=request.args.get("ended") == "1",
    )
    return page, form.status


@desk.post("/sign-in")
def sign_in() -> Any:
    """Start a session with the key that was pasted."""
    form = Form.sent("sign-in")
    api_key = form.given.pop("api_key", "").strip()  # it is not shown again
    after = form.given.get("next")
    try:
        token = desk_sessions.start(api_key)
    except (InvalidApiKey, MissingApiKey) as error:
        sentence = NO_KEY if isinstance(error, MissingApiKey) else UNKNOWN_KEY
        form.status, form.wrong = error.status, {"api_key": [sentence]}
        return _sign_in_page(form, after)
    response = redirect(safe_address(after), 303)
    set_cookie(response, cookie_name(), token, int(desk_sessions.LASTS.total_seconds()))
    return response


@desk.post("/sign-out")
def sign_out() -> Any:
    """End the session."""
    desk_sessions.end(request.cookies[cookie_name()])
    response = go_to("desk.show_sign_in")
    set_cookie(response, cookie_name(), "", 0)
    return response


@desk.get("/zone")
def show_zone() -> Any:
    """Ask for the zone in which times are shown."""
    return _zone_page(Form("zone", {"zone": g.zone_name}), request.args.get("back"))


def _zone_page(form: Form, back: str | None) -> Any:
    return render_template("desk/zone.html", form=form, back=safe_address(back)), form.status


@desk.post("/zone")
def set_zone() -> Any:
    """Remember the zone in a cookie."""
    form = Form.sent("zone")
    back = request.form.get("back")
    with form.errors():
        zone_name = form.load(ZoneForm)["zone"]
    if form.is_refused:
        return _zone_page(form, back)
    response = redirect(safe_address(back), 303)
    set_cookie(response, clock.COOKIE, zone_name, clock.COOKIE_SECONDS)
    return response
