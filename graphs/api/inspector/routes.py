"""Routes of the inspector: a page that shows users their memory, and why it was recalled.

The page is public, since it contains no data. What it shows comes from the other routes, with
the credentials of the user. Its files are served as they are, without a build step, and load
nothing from other servers.
"""

import asyncio
import gzip
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from graphs.memory.contract import COLLECTIONS

router = APIRouter(prefix="/memory/inspector", include_in_schema=False)

_FOLDER = Path(__file__).parent / "static"
_PAGE = "index.html"
_MEDIA_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}

_HEADERS = {
    "Cache-Control": "no-cache",  # cached, but revalidated: an updated server shows its new page
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    zipped: bytes
    media_type: str
    tag: str


@router.get("")
async def page(request: Request) -> Response:
    """Return the page."""
    return await _answer(_PAGE, request)


@router.get("/")
async def page_as_folder() -> Response:
    """Redirect to the page, whose links to its files are relative."""
    return RedirectResponse("../inspector", headers=_HEADERS)


@router.get("/{name}")
async def file(name: str, request: Request) -> Response:
    """Return one of the page's files."""
    return await _answer(name, request)


async def _answer(name: str, request: Request) -> Response:
    """Return a file, or 304 if the browser has its current version."""
    found = (await asyncio.to_thread(_files)).get(name)
    if found is None:
        raise HTTPException(404, "The inspector has no such file.")
    headers = {**_HEADERS, "ETag": found.tag}
    if found.media_type.startswith("image/"):
        headers["Cache-Control"] = "max-age=86400"  # browsers request the icon with each view
    if found.tag in request.headers.get("If-None-Match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        return Response(
            found.zipped,
            media_type=found.media_type,
            headers={**headers, "Content-Encoding": "gzip"},
        )
    return Response(found.content, media_type=found.media_type, headers=headers)


@cache
def _files() -> dict[str, _File]:
    """Read all files, by name, once: no path from a request is ever opened."""
    contents = {path.name: path.read_bytes() for path in _FOLDER.iterdir()}
    contents["types.js"] = f"export const TYPES = {json.dumps([*COLLECTIONS])};\n".encode()
    return {name: _file(name, content) for name, content in contents.items()}


def _file(name: str, content: bytes) -> _File:
    tag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'
    return _File(content, gzip.compress(content, mtime=0), _MEDIA_TYPES[Path(name).suffix], tag)
