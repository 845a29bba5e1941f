"""The inspector: a page that shows people what is remembered of them, and why it was recalled.

The page itself holds nothing and is for everybody; what it shows comes from the other routes, with the credentials of
whoever looks. It is a handful of files as a browser takes them: nothing is built, and nothing comes from elsewhere.
"""

import asyncio
import hashlib
from functools import cache
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Response
from fastapi.responses import RedirectResponse

router = APIRouter(prefix="/memory/inspector", include_in_schema=False)

_FOLDER = Path(__file__).parent / "inspector"
_PAGE = "index.html"
_MEDIA_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}

_HEADERS = {
    "Cache-Control": "no-cache",  # kept, but asked about: a deployment that is updated shows its new page at once
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@router.get("")
async def page(if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """Return the page."""
    return await _answer(_PAGE, if_none_match)


@router.get("/")
async def page_of_folder() -> Response:
    """Lead to the page, whose files are named relative to it."""
    return RedirectResponse("../inspector", headers=_HEADERS)


@router.get("/{name}")
async def file(name: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """Return one of the page's files."""
    return await _answer(name, if_none_match)


async def _answer(name: str, known: str | None) -> Response:
    """A file; only its tag, where the browser knows it already."""
    files = await asyncio.to_thread(_files)
    if name not in files:
        raise HTTPException(404, "The inspector has no such file.")
    content, media_type, tag = files[name]
    headers = {**_HEADERS, "ETag": tag}
    if known and tag in known:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


@cache
def _files() -> dict[str, tuple[bytes, str, str]]:
    """Content, type and tag of each file by its name, read once: a path that somebody sends is never opened."""
    found = {}
    for path in _FOLDER.iterdir():
        content = path.read_bytes()
        found[path.name] = (content, _MEDIA_TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return found
