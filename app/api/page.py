"""The studio: one page at `/` and the few files it is made of, with a strict content policy."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from app.errors import NotFound

FOLDER = Path(__file__).parents[1] / "studio"
MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
def index() -> FileResponse:
    """The page."""
    return asset("index.html")


@router.get("/studio/{name}")
def asset(name: str) -> FileResponse:
    """One of the page's files."""
    files = {file.name: file for file in FOLDER.iterdir()}
    if name not in files or files[name].suffix not in MEDIA_TYPES:
        raise NotFound(f"There is no file {name[:80]!r} in the studio.")
    return FileResponse(files[name], media_type=MEDIA_TYPES[files[name].suffix], headers=HEADERS)
