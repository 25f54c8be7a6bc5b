"""The files of the documentation: the OpenAPI document, and the page that shows it.

They are served as they are: the document from docs/, the page from web/page/, and its scripts and
styles from the package flask-swagger-ui (Swagger UI).
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from services.errors import NotFound

PAGE_FOLDER = Path(__file__).resolve().parent / "page"
DOCS = PAGE_FOLDER.parent.parent / "docs"


def _folder_of(package: str) -> Path:
    # Only the package's files are needed, so it is found without being imported.
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


SWAGGER_UI = _folder_of("flask_swagger_ui") / "dist"

# Nothing comes from another host, and the page has no inline script or style. Swagger UI draws its
# arrows and locks as data: images.
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
    """A file that is served as it is, with `{version}` filled in for the page."""

    path: Path
    content_type: str
    headers: dict[str, str]
    version: str = ""

    @cached_property
    def etag(self) -> str:
        """A hash of the content, so that it is the same on every machine."""
        return sha256(self.read()).hexdigest()[:32]

    def read(self) -> bytes:
        """Read the content; nothing is kept in memory between requests."""
        content = self.path.read_bytes()
        return content.replace(b"{version}", self.version.encode()) if self.version else content


JAVASCRIPT, CSS = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
# The files of the page, by name; no other file is served.
FILES = {
    path.name: File(path, content_type, KEEP)
    for path, content_type in (
        (SWAGGER_UI / "swagger-ui-bundle.js", JAVASCRIPT),
        (SWAGGER_UI / "swagger-ui.css", CSS),
        (SWAGGER_UI / "favicon-32x32.png", "image/png"),
        (PAGE_FOLDER / "page.js", JAVASCRIPT),
        (PAGE_FOLDER / "page.css", CSS),
    )
}
# Part of the files' addresses, so that browsers may cache them: a changed file has a new address.
VERSION = sha256("".join(file.etag for file in FILES.values()).encode()).hexdigest()[:12]
DOCUMENT = File(DOCS / "openapi.json", "application/json", ASK_EACH_TIME)
PAGE = File(
    PAGE_FOLDER / "page.html",
    "text/html; charset=utf-8",
    ASK_EACH_TIME | {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"},
    VERSION,
)


def find_file(version: str, name: str) -> File:
    """Return a file of the page by its name; raises NotFound."""
    if version != VERSION or name not in FILES:
        raise NotFound()
    return FILES[name]
