"""Places of backups by name: local files, and objects of an S3-compatible bucket.

This is the only module that creates clients of buckets: boto3, of the extra `s3`. It finds
credentials, region and endpoint by itself: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_DEFAULT_REGION, AWS_ENDPOINT_URL, a profile or a role. Everything here blocks: call it in a
thread.
"""

import io
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from graphs.deployment.clients.buckets import SCHEME, S3Bucket
from graphs.memory.errors import (
    GraphMemoryError,
    InvalidInput,
    StoreUnavailable,
)
from graphs.memory.retry import retried
from graphs.operations.backup.places import (
    BackupPlace,
    Folder,
    LocalFile,
    LocalFolder,
    Making,
)

_PART = 16 * 1024 * 1024
"""Bytes of one part of a transfer. A bucket takes 10,000 parts: 160 GB."""


def place(name: str) -> BackupPlace:
    """Return the place of `s3://bucket/key`, or of a path.

    Raises:
        InvalidInput: the bucket or the key is missing.
    """
    if not name.startswith(SCHEME):
        return LocalFile(Path(name))
    bucket, _, key = name.removeprefix(SCHEME).partition("/")
    if not bucket or not key or key.endswith("/"):
        raise InvalidInput(f"{name} does not name an object: write s3://BUCKET/KEY.")
    return _Object(S3Bucket(bucket), key)


def folder(name: str) -> Folder:
    """Return the folder of `s3://bucket/prefix`, or of a path."""
    if not name.startswith(SCHEME):
        return LocalFolder(Path(name))
    bucket, _, prefix = name.removeprefix(SCHEME).partition("/")
    return _Prefix(S3Bucket(bucket), prefix and f"{prefix.rstrip('/')}/")


def folder_of(name: str) -> Folder:
    """Return the folder that contains `s3://bucket/key`, or a path."""
    if name.startswith(SCHEME):
        return folder(name.rpartition("/")[0])
    return LocalFolder(Path(name).parent)


class _Object:
    """An object of a bucket."""

    def __init__(self, bucket: S3Bucket, key: str) -> None:
        self._bucket, self._key = bucket, key

    def __str__(self) -> str:
        return f"{SCHEME}{self._bucket.name}/{self._key}"

    def make(self) -> Making:
        """Begin a multipart upload."""
        return _Upload(self._bucket, self._key)

    def open(self) -> BinaryIO:
        """Open the current version of the object. It is fetched in parts."""
        raw: Any = _Download(self._bucket, self._key)
        return io.BufferedReader(raw, _PART)


class _Prefix:
    """The objects of a bucket under a prefix."""

    def __init__(self, bucket: S3Bucket, prefix: str) -> None:
        self._bucket, self._prefix = bucket, prefix

    def __str__(self) -> str:
        return f"{SCHEME}{self._bucket.name}/{self._prefix}"

    def place(self, name: str) -> BackupPlace:
        """Return the place of one object."""
        return _Object(self._bucket, self._prefix + name)

    def names(self) -> list[str]:
        """Return the names of the objects, without the prefix."""
        pages = self._bucket.pages("list_objects_v2", Prefix=self._prefix, Delimiter="/")
        return sorted(
            entry["Key"].removeprefix(self._prefix)
            for page in pages
            for entry in page.get("Contents", ())
        )

    def remove(self, name: str) -> None:
        """Delete one object."""
        self._bucket.call("delete_object", self._prefix + name)

    def tidy(self, beginning: str) -> None:
        """Abort uploads whose processes died."""
        pages = self._bucket.pages("list_multipart_uploads", Prefix=self._prefix + beginning)
        for entry in [entry for page in pages for entry in page.get("Uploads", ())]:
            self._bucket.call("abort_multipart_upload", entry["Key"], UploadId=entry["UploadId"])


class _Upload:
    """A multipart upload. The object appears when it is complete."""

    def __init__(self, bucket: S3Bucket, key: str) -> None:
        self._bucket, self._key = bucket, key
        self._waiting = bytearray()
        self._parts: list[dict[str, Any]] = []
        self._upload: str | None = bucket.call("create_multipart_upload", key)["UploadId"]

    def write(self, data: bytes) -> int:
        """Buffer data, and send full parts."""
        self._waiting += data
        while len(self._waiting) >= _PART:
            self._send(bytes(self._waiting[:_PART]))
            del self._waiting[:_PART]
        return len(data)

    def _send(self, part: bytes) -> None:
        number = len(self._parts) + 1
        sent = self._bucket.call(
            "upload_part", self._key, UploadId=self._upload, PartNumber=number, Body=part
        )
        self._parts.append({"ETag": sent["ETag"], "PartNumber": number})

    def keep(self) -> None:
        """Send the last part and complete the upload."""
        self._send(bytes(self._waiting))
        self._bucket.call(
            "complete_multipart_upload",
            self._key,
            UploadId=self._upload,
            MultipartUpload={"Parts": self._parts},
        )
        self._upload = None

    def discard(self) -> None:
        """Abort the upload, unless it was kept.

        If the bucket is not reachable, its parts stay until `tidy`.
        """
        if self._upload:
            with suppress(GraphMemoryError):
                self._bucket.call("abort_multipart_upload", self._key, UploadId=self._upload)
        self._upload = None


class _Download(io.RawIOBase):
    """An object as a stream. It fails if the object is replaced meanwhile."""

    def __init__(self, bucket: S3Bucket, key: str) -> None:
        self._bucket, self._key = bucket, key
        found = bucket.call("head_object", key)
        self._size, self._version = found["ContentLength"], found["ETag"]
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # all that io has here
        """Fetch as many bytes as fit into a buffer; 0 at the end."""
        if self._at >= self._size:
            return 0
        part = self._fetch(min(self._at + len(buffer), self._size))
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    @retried(lambda error: isinstance(error, StoreUnavailable), attempts=3)
    def _fetch(self, end: int) -> bytes:
        """Return the bytes up to `end`.

        The client retries a missing response itself, but not one that breaks off.
        """
        given = {"Range": f"bytes={self._at}-{end - 1}", "IfMatch": self._version}
        with self._bucket.told(self._key):
            part: bytes = self._bucket.call("get_object", self._key, **given)["Body"].read()
        return part
