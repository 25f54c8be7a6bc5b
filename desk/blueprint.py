"""The desk's blueprint: authorization, the headers of its pages, and its error pages.

This module is separate from `desk/__init__.py`, which imports the modules that add pages to the
blueprint.
"""

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, g, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException

from desk import clock
from services import desk_sessions
from services.errors import NotFound, ReadOnlyKey, ServiceError
from web import answers

desk = Blueprint("desk", __name__, url_prefix="/desk", template_folder="templates")

# Nothing comes from another host, and no page contains an inline script or style.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",  # after sign-out a browser must not show a page again
    "X-Content-Type-Options": "nosniff",
    # With no-referrer, browsers send `Origin: null` with a form.
    "Referrer-Policy": "same-origin",
}
PUBLIC = {"desk.show_sign_in", "desk.sign_in", "desk.get_file"}
WITHOUT_EFFECT = {"desk.sign_in", "desk.sign_out", "desk.set_zone"}  # POSTs that any key may make
LONGEST_FORM = 1024 * 1024
COOKIE = "desk_session"


class OtherSite(ServiceError):
    """A form was sent from a page of another or an unknown site."""

    status, code, title = 403, "other_site", "Refused"

    def __init__(self) -> None:
        super().__init__("This form was not sent from a page of this site, so nothing was changed.")


class OtherClient(ServiceError):
    """The page of a form belongs to another client, signed in for in another tab."""

    status, code, title = 409, "other_client", "Another key is signed in now"

    def __init__(self) -> None:
        super().__init__(
            "Since you opened that page, another key was signed in, perhaps in another tab."
            " Nothing was changed."
        )


def is_secure() -> bool:
    """Return whether browsers reach the desk by https."""
    settings = current_app.config["SETTINGS"]
    return request.is_secure or (settings.public_url or "").startswith("https:")


def cookie_name() -> str:
    """Return the name of the session's cookie; `__Host-` binds it to https and to this host."""
    return f"__Host-{COOKIE}" if is_secure() else COOKIE


def set_cookie(response: Any, name: str, value: str, seconds: int) -> None:
    """Set a cookie that scripts cannot read and that other sites' pages do not send."""
    response.set_cookie(
        name, value, max_age=seconds, secure=is_secure(), httponly=True, samesite="Strict"
    )


@desk.before_request
def authenticate() -> Any:
    """Find the session of the request, and check that it may make the request.

    Raises OtherSite, OtherClient, ReadOnlyKey.
    """
    request.max_content_length = LONGEST_FORM
    g.zone_name = clock.zone_of_cookie(request.cookies.get(clock.COOKIE))
    is_post = request.method == "POST"
    if is_post and not _is_from_this_site():
        raise OtherSite()
    if request.endpoint in PUBLIC:
        return None
    token = request.cookies.get(cookie_name())
    session = desk_sessions.find_or_none(token) if token else None
    if session is None:
        return _ask_to_sign_in(is_post)
    g.client_id, g.client_name, g.read_only = session
    if is_post and request.endpoint not in WITHOUT_EFFECT:
        if g.read_only:
            raise ReadOnlyKey()
        if request.form.get("client") != g.client_id:
            raise OtherClient()
    return None


def _is_from_this_site() -> bool:
    """Whether a POST comes from a page of this site.

    Browsers send `Sec-Fetch-Site` by https and to this machine, and `Origin` with every POST.
    """
    if fetched_by := request.headers.get("Sec-Fetch-Site"):
        return fetched_by == "same-origin"
    origin = urlsplit(request.headers.get("Origin", ""))
    own = urlsplit(current_app.config["SETTINGS"].public_url or "").netloc
    return bool(origin.netloc) and origin.netloc in (request.host, own)


def _ask_to_sign_in(is_post: bool) -> Any:
    """Redirect to the sign-in, and from there to the requested page.

    A browser that follows a link of another site does not send the cookie. The page then loads
    itself once more, and this time the request comes from this site.
    """
    if not is_post and request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        return render_template("desk/once_more.html", address=own_address())
    asked = url_for("desk.show_sign_in", next=own_address(), ended=int(is_post))
    return redirect(asked, 303)


def own_address() -> str:
    """Return the address of this request on this host, with its query."""
    query = request.query_string.decode("ascii", "ignore")
    path = request.script_root + request.path
    return f"{path}?{query}" if query else path


def safe_address(address: str | None) -> str:
    """Return an address of the desk on this host unchanged; the address of Today for any other."""
    home = url_for("desk.show_today")
    given = address or ""
    is_own = given == home or given.startswith((f"{home}/", f"{home}?"))
    return given if is_own and given.isprintable() and "\\" not in given else home


@desk.after_request
def add_headers(response: Response) -> Response:
    """Set the headers of pages; files have their own."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _error_page(described: Response) -> Response:
    """Show an error that `web.answers` has described, to a person."""
    page = Response(
        render_template("desk/error.html", error=described.get_json(), status=described.status_code)
    )
    page.status_code = described.status_code
    for name in ("Allow", "Retry-After"):
        if name in described.headers:
            page.headers[name] = described.headers[name]
    return page


@desk.errorhandler(ServiceError)
def on_service_error(error: ServiceError) -> Response:
    """Show an error that a service raised on purpose."""
    return _error_page(answers.on_service_error(error))


@desk.errorhandler(HTTPException)
def on_http_error(error: HTTPException) -> Response:
    """Show an error of the framework."""
    return _error_page(answers.on_http_error(error))


@desk.errorhandler(Exception)
def on_bug(error: Exception) -> Response:
    """Show that the database is unavailable, or that there is a bug, which is logged."""
    return _error_page(answers.on_bug(error))


@desk.get("/<path:unknown>")
def not_found(unknown: str) -> Any:
    """Show that there is no such page."""
    raise NotFound()
