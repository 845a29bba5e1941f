"""Backups in a bucket behave like files, and a failed upload leaves nothing."""

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pytest
from moto.server import ThreadedMotoServer

from graphs.memory.errors import ConfigurationError, InvalidInput, StoreUnavailable
from graphs.memory_manager import MemoryManager
from graphs.operations.backup import buckets
from graphs.operations.backup.buckets import folder, place
from graphs.operations.backup.schedule import Plan, Schedule
from graphs.operations.operations import Operations
from tests.support.operator import Operator
from tests.support.rows import all_rows

USER = "11111111-1111-4111-8111-111111111111"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a client of a local bucket `backups`."""
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="backups")
    return client


def left(bucket: Any) -> list[str]:
    """Return the objects in the bucket, and the uploads that are not completed."""
    objects = bucket.list_objects_v2(Bucket="backups").get("Contents", ())
    return [
        o["Key"]
        for o in (*objects, *bucket.list_multipart_uploads(Bucket="backups").get("Uploads", ()))
    ]


def empty(bucket: Any) -> None:
    for key in left(bucket):
        bucket.delete_object(Bucket="backups", Key=key)


def test_an_operator_backs_up_to_a_bucket_looks_and_restores_from_it(
    bucket: Any, operate: Operator
) -> None:
    empty(bucket)
    operate.done("remember", "Likes tea.", "--user-id", USER)
    operate.json("backup", "--output", "s3://backups/a/full")
    operate.done("remember", "Likes cake.", "--user-id", USER)
    operate.json("backup", "--output", "s3://backups/a/next", "--since", "s3://backups/a/full")
    assert operate.json("backup", "verify", "s3://backups/a/next")["rows"]["memory.memories"] == 1
    before = all_rows(operate.database)["memory.memories"]
    with psycopg.connect(operate.database) as conn:
        conn.execute("DELETE FROM memory.memories")
    restored = operate.json("restore", "s3://backups/a/full", "s3://backups/a/next")
    assert restored["added"]["memory.memories"] == len(before) == 2
    assert all_rows(operate.database)["memory.memories"] == before
    assert left(bucket) == ["a/full", "a/next"]


async def test_a_worker_keeps_them_there_and_clears_up_after_one_that_died(
    bucket: Any, database: str
) -> None:
    empty(bucket)
    upload = bucket.create_multipart_upload(
        Bucket="backups", Key="daily/memory-20200101T000000Z-full.backup"
    )
    assert upload["UploadId"]
    async with MemoryManager.from_conn_string(database) as store:
        schedule = Schedule(
            Operations(store).backups, Plan(folder("s3://backups/daily/"), 2, 30, b"a secret")
        )
        await schedule.back_up()
    [name] = left(bucket)
    assert name.startswith("daily/memory-")
    assert name.endswith("-full.backup")


async def test_an_upload_that_breaks_off_leaves_the_object_that_was_there(
    bucket: Any, database: str
) -> None:
    empty(bucket)
    bucket.put_object(Bucket="backups", Key="full", Body=b"that of yesterday")

    def breaks(done: int, of: int | None) -> None:
        raise KeyboardInterrupt

    async with MemoryManager.from_conn_string(database) as store:
        with pytest.raises(KeyboardInterrupt):
            await Operations(store).backups.create(place("s3://backups/full"), progress=breaks)
    assert left(bucket) == ["full"]
    assert place("s3://backups/full").open().read() == b"that of yesterday"


def test_what_is_larger_than_a_part_is_sent_and_fetched_in_parts(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "_PART", 5 * 1024 * 1024)  # the minimum of a bucket
    content = os.urandom(11 * 1024 * 1024 + 7)
    made = place("s3://backups/large").make()
    for chunk in iter(io.BytesIO(content).readline, b""):
        made.write(chunk)
    made.keep()
    with place("s3://backups/large").open() as file:
        assert file.read(6 * 1024 * 1024) == content[: 6 * 1024 * 1024]
        bucket.put_object(Bucket="backups", Key="large", Body=content[::-1])
        with pytest.raises(InvalidInput, match="PreconditionFailed"):
            file.read()


def test_what_is_wrong_with_a_bucket_is_told(
    bucket: Any, operate: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments, problem in (
        (
            ("backup", "--output", "s3://nowhere/key"),
            "s3://nowhere/key cannot be used: The specified bucket",
        ),
        (("backup", "--output", "s3://backups/"), "does not name an object"),
        (("backup", "verify", "s3://backups/none"), "s3://backups/none cannot be used: Not Found"),
    ):
        refused = operate(*arguments)
        assert (refused.exit_code, problem in refused.stderr) == (1, True), refused.stderr
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            place("s3://backups/key").make()
        patch.delenv("AWS_ACCESS_KEY_ID")
        with pytest.raises(ConfigurationError, match="AWS_ACCESS_KEY_ID"):
            place("s3://backups/key").make()
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ConfigurationError, match=r"graph-native-memory\[s3\]"):
        place("s3://backups/key").make()
