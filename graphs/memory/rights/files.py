"""Files of users: PDFs, recordings, uploads.

Supabase Storage holds the contents. A row under row-level security says which user owns a file.
"""

import asyncio
import hashlib
import logging
import mimetypes
from collections.abc import Awaitable, Callable, Sequence
from pathlib import PurePosixPath
from typing import Any, Protocol, TypeVar
from uuid import UUID, uuid4

from graphs.memory.access import Access
from graphs.memory.contract import StoredFile
from graphs.memory.database import statements
from graphs.memory.database.query import Query
from graphs.memory.errors import (
    ConfigurationError,
    FileNotFound,
    GraphMemoryError,
    InvalidValue,
    StorageFailed,
)
from graphs.memory.retry import retrying
from graphs.memory.values.namespaces import encode_label
from graphs.memory.values.text import problem_with, to_json

log = logging.getLogger(__name__)

_SQL = statements.load("files", __package__)

T = TypeVar("T")

MAX_BYTES = 50 * 1024 * 1024
"""Largest file in bytes: 50 MiB, the default limit of a Supabase project."""

_AT_ONCE = 100
"""Files that one request removes."""


class StorageBucket(Protocol):
    """The part of a bucket that is used, as `supabase.AsyncClient.storage.from_` returns it."""

    async def upload(self, path: str, file: bytes, file_options: Any = None) -> Any:
        """Store a new file."""

    async def download(self, path: str) -> bytes:
        """Return a file's content."""

    async def remove(self, paths: list[str]) -> Any:
        """Remove files. Missing files are not an error."""


class Storage(Protocol):
    """The part of Supabase Storage that is used."""

    def from_(self, id: str) -> StorageBucket:  # noqa: A002  the client's signature
        """Return a bucket."""


class SupabaseClient(Protocol):
    """The part of `supabase.AsyncClient` that is used."""

    @property
    def storage(self) -> Any:
        """Storage, with the permissions of the client's key."""


class Files:
    """Files of users. Every method acts as the current principal, and refuses other users' files.

    Args:
        access: checks the principal and runs the queries.
        supabase: a client with the service key; None for a deployment without Supabase Storage.
        bucket: a private bucket.
    """

    def __init__(self, access: Access, supabase: SupabaseClient | None, bucket: str) -> None:
        self._access = access
        self._supabase = supabase
        self._bucket = bucket

    async def save(
        self,
        user_id: str,
        name: str,
        content: bytes,
        *,
        media_type: str | None = None,
        session_id: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> StoredFile:
        """Store a file: its content first, then its row.

        If the row cannot be stored, the content is removed again.

        Args:
            user_id: the user.
            name: the file name; folders in it are dropped.
            content: at most 50 MiB.
            media_type: such as `application/pdf`; None to guess it from the name.
            session_id: the session that it belongs to.
            metadata: a JSON object to store with it.

        Raises:
            InvalidValue: the name or the metadata cannot be stored, or the content is too large.
            ConfigurationError: the deployment has no Storage.
            StorageFailed: Storage did not accept it.
            AccessDenied: the principal is neither this user nor the service.
        """
        base = _checked_name(name)
        if len(content) > MAX_BYTES:
            raise InvalidValue(
                "content", f"has {len(content):,} bytes; the limit is {MAX_BYTES:,} bytes."
            )
        about = to_json(metadata or {}, "metadata")
        bucket = self._of_bucket()
        # Refuses a principal who may not do this, before anything is stored.
        await self._access.ask(user_id, _list(user_id, session_id))
        file_id = uuid4()
        path = f"{encode_label(user_id)}/{file_id}/{base}"
        guessed, digest = await asyncio.to_thread(_look_at, base, content)
        media_type = media_type or guessed
        # With upsert, a retry after a lost answer is not an error.
        options = {"content-type": media_type, "upsert": "true"}
        row = {
            "id": file_id,
            "user_id": user_id,
            "session_id": session_id,
            "bucket": self._bucket,
            "path": path,
        }
        row |= {
            "media_type": media_type,
            "bytes": len(content),
            "sha256": digest,
            "metadata": about,
        }
        try:
            await _asked(lambda: bucket.upload(path, content, options))
            return StoredFile.of(
                await self._access.ask(user_id, Query(_SQL["put"], row, lambda rows: rows[0]))
            )
        except BaseException:
            # Cancellation included: content without a row would never be found and removed.
            await asyncio.shield(_discard(bucket, path))
            raise

    async def list(self, user_id: str, session_id: str | None = None) -> list[StoredFile]:
        """Return a user's files, the latest first.

        Raises:
            AccessDenied: the principal is neither this user nor the service.
        """
        return [
            StoredFile.of(row)
            for row in await self._access.ask(user_id, _list(user_id, session_id))
        ]

    async def read(self, user_id: str, file_id: UUID | str) -> bytes:
        """Return a file's content.

        Raises:
            FileNotFound: the user has no such file.
            StorageFailed: Storage did not return it, or it is not the content that was stored.
            AccessDenied: the principal is neither this user nor the service.
        """
        file = await self._get(user_id, file_id)
        bucket = self._of_bucket()
        if file.bucket != self._bucket:
            raise StorageFailed(
                f"The file {file.id} is in the bucket {file.bucket!r}, but this store uses "
                f"{self._bucket!r}. Configure the other bucket to read it."
            )
        content = await _asked(lambda: bucket.download(file.path))
        _, digest = await asyncio.to_thread(_look_at, file.name, content)
        if digest != file.sha256:
            raise StorageFailed(
                f"The content of the file {file.id} was changed in Storage: its SHA-256 is "
                f"{digest}, but it was stored with {file.sha256}."
            )
        return content

    async def delete(self, user_id: str, file_id: UUID | str) -> None:
        """Delete a file: its content, then its row.

        Raises:
            FileNotFound: the user has no such file.
            StorageFailed: Storage did not remove it, and its row is still there.
            AccessDenied: the principal is neither this user nor the service.
        """
        file = await self._get(user_id, file_id)
        await self._remove([file.path])
        await self._access.ask(user_id, Query(_SQL["delete"], {"user_id": user_id, "id": file.id}))

    async def remove_contents(self, user_id: str) -> None:
        """Remove the contents of all files of a user. Erasure deletes their rows later.

        Raises:
            ConfigurationError: the user has files, but the deployment has no Storage.
            StorageFailed: Storage did not remove all of them; it is safe to try again.
            AccessDenied: the principal is neither this user nor the service.
        """
        paths = [file.path for file in await self.list(user_id)]
        for n in range(0, len(paths), _AT_ONCE):
            await self._remove(paths[n : n + _AT_ONCE])

    async def _remove(self, paths: Sequence[str]) -> None:
        bucket = self._of_bucket()
        await _asked(lambda: bucket.remove([*paths]))

    async def _get(self, user_id: str, file_id: UUID | str) -> StoredFile:
        try:
            known = UUID(str(file_id))
        except ValueError:
            raise FileNotFound(str(file_id)) from None
        found = await self._access.ask(
            user_id, Query(_SQL["get"], {"user_id": user_id, "id": known}, lambda rows: rows)
        )
        if not found:
            raise FileNotFound(str(file_id))
        return StoredFile.of(found[0])

    @property
    def is_configured(self) -> bool:
        """True if the deployment has Storage for files."""
        return self._supabase is not None

    def _of_bucket(self) -> StorageBucket:
        if self._supabase is None:
            raise ConfigurationError(
                "Files need Supabase Storage: set SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY, and "
                f"create the private bucket {self._bucket!r} in the project; or give MemoryManager "
                "a `supabase` client."
            )
        bucket: StorageBucket = self._supabase.storage.from_(self._bucket)
        return bucket


def _list(user_id: str, session_id: str | None) -> Query[Any]:
    return Query(_SQL["list"], {"user_id": user_id, "session_id": session_id}, lambda rows: rows)


def _checked_name(name: str) -> str:
    """Return a file name without folders, in the characters that Storage accepts.

    Raises:
        InvalidValue: it cannot be a file name.
    """
    base = PurePosixPath(name.replace("\\", "/")).name
    if problem := problem_with(name):
        raise InvalidValue("name", problem)
    if base in ("", ".", "..") or len(base.encode()) > 200:
        raise InvalidValue("name", f"must be a file name of at most 200 bytes; got {name[:100]!r}.")
    return "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in base)


async def _discard(bucket: StorageBucket, path: str) -> None:
    """Remove content that has no row."""
    try:
        await _asked(lambda: bucket.remove([path]))
    except StorageFailed as error:
        log.warning(
            "Remove the content at %s from Storage by hand, since no row names it: %s",
            path,
            error,
        )


def _look_at(name: str, content: bytes) -> tuple[str, str]:
    """Return the media type that a name suggests, and the SHA-256 of the content.

    It may read the system's table of media types: call it in a thread.
    """
    return mimetypes.guess_type(name)[0] or "application/octet-stream", hashlib.sha256(
        content
    ).hexdigest()


async def _asked(ask: Callable[[], Awaitable[T]]) -> T:
    """Return the answer of Storage, with retries after transient errors.

    Raises:
        StorageFailed: Storage refused, or did not answer.
    """
    try:
        return await retrying(ask, _is_passing, attempts=4)
    except GraphMemoryError:
        raise
    except Exception as error:
        raise StorageFailed(
            f"Supabase Storage failed: {getattr(error, 'message', None) or error!r}"
        ) from error


def _is_passing(error: BaseException) -> bool:
    # Late: a store without Storage needs no HTTP client.
    from httpx import TransportError

    status = str(getattr(error, "status", ""))
    return isinstance(error, TransportError) or status == "429" or status.startswith("5")
