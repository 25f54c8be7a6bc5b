"""The files of the reference: the document, the page that shows it, and what the page is made of.

Nothing is built here, and nothing comes from elsewhere: the document lies in docs/, the page beside
this module, its scripts and styles in the package flask-swagger-ui (Swagger UI).
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from services.errors import NotFound

HERE = Path(__file__).resolve().parent


def _folder_of(package: str) -> Path:
    # Found, not imported: of the package its files alone are wanted.
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


SWAGGER_UI = _folder_of("flask_swagger_ui") / "dist"

# Nothing from another host, no script or style within the page. Swagger UI draws its arrows and
# locks as data: images.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ASK_EACH_TIME = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
KEEP = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class File:
    """A file that is served as it is, but for `{version}` in the page."""

    path: Path
    content_type: str
    headers: dict[str, str]
    version: str = ""

    @cached_property
    def etag(self) -> str:
        """Of the content, so that it is the same on every machine."""
        return sha256(self.read()).hexdigest()[:32]

    def read(self) -> bytes:
        """What is in it; read each time, so that it takes no memory between."""
        content = self.path.read_bytes()
        return content.replace(b"{version}", self.version.encode()) if self.version else content


JAVASCRIPT, CSS = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
# What the page is made of; nothing else is served, whatever a path says.
FILES = {
    path.name: File(path, content_type, KEEP)
    for path, content_type in (
        (SWAGGER_UI / "swagger-ui-bundle.js", JAVASCRIPT),
        (SWAGGER_UI / "swagger-ui.css", CSS),
        (SWAGGER_UI / "favicon-32x32.png", "image/png"),
        (HERE / "page.js", JAVASCRIPT),
        (HERE / "page.css", CSS),
    )
}
# Part of their addresses: they can be kept for ever, and are asked for anew when one changes.
VERSION = sha256("".join(file.etag for file in FILES.values()).encode()).hexdigest()[:12]
DOCUMENT = File(HERE.parent / "docs" / "openapi.json", "application/json", ASK_EACH_TIME)
PAGE = File(
    HERE / "page.html",
    "text/html; charset=utf-8",
    ASK_EACH_TIME | {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"},
    VERSION,
)


def find_file(version: str, name: str) -> File:
    """A file of the page, by name; raises NotFound."""
    if version != VERSION or name not in FILES:
        raise NotFound()
    return FILES[name]
