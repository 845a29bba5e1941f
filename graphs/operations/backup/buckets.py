"""Where backups lie, by what an operator calls it: files of this machine, and objects of an S3-compatible bucket.

The one place where the project makes a client of a bucket: boto3, of the extra `s3`. It finds its credentials, region
and endpoint by itself: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL, a profile, a
role. Everything here blocks: call it from a thread.
"""

import io
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from graphs.deployment.clients.buckets import SCHEME, S3Bucket
from graphs.memory.errors import (
    GraphMemoryError,
    InvalidInput,
    StoreUnavailable,
)
from graphs.operations.backup.places import (
    BackupPlace,
    Folder,
    LocalFile,
    LocalFolder,
    Making,
)

_PART = 16 * 1024 * 1024
"""Bytes that are sent, or fetched, together. A bucket takes 10,000 parts: 160 GB."""


def place(name: str) -> BackupPlace:
    """Return what `s3://bucket/key`, or a path, stands for.

    Raises:
        InvalidInput: the bucket or the key is missing.
    """
    if not name.startswith(SCHEME):
        return LocalFile(Path(name))
    bucket, _, key = name.removeprefix(SCHEME).partition("/")
    if not bucket or not key or key.endswith("/"):
        raise InvalidInput(f"{name} names no object: write s3://BUCKET/KEY.")
    return _Object(S3Bucket(bucket), key)


def folder(name: str) -> Folder:
    """Return the folder that `s3://bucket/prefix`, or a path, stands for."""
    if not name.startswith(SCHEME):
        return LocalFolder(Path(name))
    bucket, _, prefix = name.removeprefix(SCHEME).partition("/")
    return _Prefix(S3Bucket(bucket), prefix and f"{prefix.rstrip('/')}/")


def folder_of(name: str) -> Folder:
    """Return the folder in which `s3://bucket/key`, or a path, lies."""
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
        """Begin to send it, in parts."""
        return _Upload(self._bucket, self._key)

    def open(self) -> BinaryIO:
        """Open it; it is fetched part by part, all of the version that it has now."""
        raw: Any = _Download(self._bucket, self._key)
        return io.BufferedReader(raw, _PART)


class _Prefix:
    """The objects of a bucket whose keys begin alike."""

    def __init__(self, bucket: S3Bucket, prefix: str) -> None:
        self._bucket, self._prefix = bucket, prefix

    def __str__(self) -> str:
        return f"{SCHEME}{self._bucket.name}/{self._prefix}"

    def place(self, name: str) -> BackupPlace:
        """Return one of them."""
        return _Object(self._bucket, self._prefix + name)

    def names(self) -> list[str]:
        """Return their names behind the prefix."""
        pages = self._bucket.pages("list_objects_v2", Prefix=self._prefix, Delimiter="/")
        return sorted(
            entry["Key"].removeprefix(self._prefix)
            for page in pages
            for entry in page.get("Contents", ())
        )

    def remove(self, name: str) -> None:
        """Remove one."""
        self._bucket.call("delete_object", self._prefix + name)

    def tidy(self, beginning: str) -> None:
        """Give up what was being sent by processes that died."""
        pages = self._bucket.pages("list_multipart_uploads", Prefix=self._prefix + beginning)
        for entry in [entry for page in pages for entry in page.get("Uploads", ())]:
            self._bucket.call("abort_multipart_upload", entry["Key"], UploadId=entry["UploadId"])


class _Upload:
    """An object that is sent in parts, and is there when all of them are."""

    def __init__(self, bucket: S3Bucket, key: str) -> None:
        self._bucket, self._key = bucket, key
        self._waiting = bytearray()
        self._parts: list[dict[str, Any]] = []
        self._upload: str | None = bucket.call("create_multipart_upload", key)["UploadId"]

    def write(self, data: bytes) -> int:
        """Take what comes next, and send the parts that are full."""
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
        """Send the last part, and have the object made of all of them."""
        self._send(bytes(self._waiting))
        self._bucket.call(
            "complete_multipart_upload",
            self._key,
            UploadId=self._upload,
            MultipartUpload={"Parts": self._parts},
        )
        self._upload = None

    def discard(self) -> None:
        """Have the parts removed, unless they were kept. A bucket that cannot be reached keeps them: see `tidy`."""
        if self._upload:
            with suppress(GraphMemoryError):
                self._bucket.call("abort_multipart_upload", self._key, UploadId=self._upload)
        self._upload = None


class _Download(io.RawIOBase):
    """An object, from its beginning to its end. What took its place meanwhile is refused, not mixed with it."""

    def __init__(self, bucket: S3Bucket, key: str) -> None:
        self._bucket, self._key = bucket, key
        found = bucket.call("head_object", key)
        self._size, self._version = found["ContentLength"], found["ETag"]
        self._at = 0

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # all that io has here
        """Fetch as much as a buffer holds; 0 at the end."""
        if self._at >= self._size:
            return 0
        part = self._fetch(min(self._at + len(buffer), self._size))
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    @retry(
        retry=retry_if_exception_type(StoreUnavailable),
        stop=stop_after_attempt(3),
        wait=wait_random_exponential(max=5),
        reraise=True,
    )
    def _fetch(self, end: int) -> bytes:
        """The bytes up to there. The client asks again where there is no answer, and not where one breaks off."""
        given = {"Range": f"bytes={self._at}-{end - 1}", "IfMatch": self._version}
        with self._bucket.told(self._key):
            part: bytes = self._bucket.call("get_object", self._key, **given)["Body"].read()
        return part
