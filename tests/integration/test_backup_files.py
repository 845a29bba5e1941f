"""The file of a backup: complete or absent, and unchanged or refused before any write."""

import asyncio
import gzip
import hashlib
import json
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.store.base import IndexConfig
from psycopg.conninfo import make_conninfo

from graphs.memory.errors import InvalidInput
from graphs.memory_manager import MemoryManager
from graphs.operations.backup import file as file_format
from graphs.operations.backup import seal
from graphs.operations.backup.chain import Backup
from graphs.operations.errors import InvalidBackup
from graphs.operations.operations import Operations
from tests.conftest import create_database, drop_database
from tests.support.rows import all_rows

SECRET = b"correct horse battery staple"
USER = "11111111-1111-4111-8111-111111111111"


@pytest.fixture(scope="module", autouse=True)
def quick_keys() -> Iterator[None]:
    """Derive keys a hundred times as fast; the tests of the command use the real parameters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(seal._COST, "n", 2**10)
        yield


@pytest.fixture(scope="module")
def origin(postgres: str, template: str, index: IndexConfig) -> Iterator[str]:
    name = create_database(postgres, template)
    url = make_conninfo(postgres, dbname=name)

    async def fill() -> None:
        async with MemoryManager.from_conn_string(url, index=index) as store:
            for n in range(300):
                await store.aput(
                    ("users", USER, "notes"),
                    str(n),
                    {"text": f"Note {n}, {hashlib.sha256(bytes(n))}"},
                )

    asyncio.run(fill())
    yield url
    drop_database(postgres, name)


@pytest.fixture(scope="module")
def plain(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asyncio.run(back_up(origin, tmp_path_factory.mktemp("plain") / "file"))


@pytest.fixture(scope="module")
def sealed(origin: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asyncio.run(back_up(origin, tmp_path_factory.mktemp("sealed") / "file", SECRET))


async def back_up(url: str, file: Path, secret: bytes | None = None) -> Path:
    async with MemoryManager.from_conn_string(url) as store:
        await Operations(store).backups.create(file, secret=secret)
    return file


def content_of(file: Path) -> bytes:
    assert file.stat().st_mode & 0o077 == 0, "other users of the machine can read it"
    return file.read_bytes()


def unpacked(file: Path) -> bytes:
    return gzip.decompress(file.read_bytes())


def packed(body: bytes, rows: dict[str, int]) -> bytes:
    """Return a backup with a correct checksum."""
    end = json.dumps({"rows": rows, "sha256": hashlib.sha256(body).hexdigest()})
    return gzip.compress(body + end.encode() + b"\n")


async def verify(url: str, file: Path, secret: bytes | None = None) -> Backup:
    async with MemoryManager.from_conn_string(url) as store:
        return await Operations(store).backups.verify(file, secret=secret)


async def assert_refused(url: str, file: Path, reason: str, secret: bytes | None = None) -> None:
    before = all_rows(url)
    async with MemoryManager.from_conn_string(url) as store:
        with pytest.raises(InvalidBackup, match=reason):
            await Operations(store).backups.verify(file, secret=secret)
        with pytest.raises(InvalidBackup, match="Nothing was changed"):
            await Operations(store).backups.restore(file, secret=secret)
    assert all_rows(url) == before


async def test_an_open_backup_is_gzipped_lines_of_json_that_say_what_they_are(
    origin: str, plain: Path
) -> None:
    lines = unpacked(plain).splitlines(keepends=True)
    first, last = json.loads(lines[0]), json.loads(lines[-1])
    assert (first["format"], first["version"]) == ("graph-native-memory/backup", 1)
    assert last["sha256"] == hashlib.sha256(b"".join(lines[:-1])).hexdigest()
    assert last["rows"]["memory.memory_embeddings"] == 300
    assert (await verify(origin, plain)).rows == last["rows"]


async def test_an_encrypted_backup_shows_nothing_and_comes_back(
    origin: str, sealed: Path, database: str
) -> None:
    assert (await verify(origin, sealed, SECRET)).encrypted
    content = content_of(sealed)
    assert b"\x1f\x8b" not in content[:80]
    assert USER.encode() not in content
    async with MemoryManager.from_conn_string(database) as store:
        await Operations(store).backups.restore(sealed, secret=SECRET)
    assert all_rows(database) == all_rows(origin)


async def test_two_backups_of_one_moment_under_one_passphrase_have_nothing_in_common(
    origin: str, sealed: Path, tmp_path: Path
) -> None:
    one, other = content_of(sealed), content_of(await back_up(origin, tmp_path / "file", SECRET))
    chunks = {one[n : n + 16] for n in range(64, len(one), 16)}
    assert not chunks & {other[n : n + 16] for n in range(64, len(other), 16)}


async def test_another_key_or_none_is_refused(database: str, sealed: Path) -> None:
    await assert_refused(
        database, sealed, "passphrase or key is wrong", b"another secret of somebody"
    )
    await assert_refused(database, sealed, "MEMORY_BACKUP_PASSPHRASE")


async def test_where_there_is_a_secret_a_backup_without_encryption_is_refused_unless_allowed(
    database: str, origin: str, plain: Path, sealed: Path, tmp_path: Path
) -> None:
    await assert_refused(database, plain, "not encrypted.*--allow-unencrypted", SECRET)
    async with MemoryManager.from_conn_string(origin) as store:
        backups = Operations(store).backups
        for places, known in (((sealed, plain), ()), ((sealed,), (plain,))):
            with pytest.raises(InvalidBackup, match=f"not encrypted.*{plain}"):
                await backups.restore(*places, erasures=known, secret=SECRET)
        with pytest.raises(InvalidBackup, match="not encrypted"):
            await backups.create(tmp_path / "next", since=plain, secret=SECRET)
        assert not (await backups.verify(plain, secret=SECRET, allow_unencrypted=True)).encrypted
    async with MemoryManager.from_conn_string(database) as store:
        backups = Operations(store).backups
        await backups.restore(plain, secret=SECRET, allow_unencrypted=True)
    assert all_rows(database) == all_rows(origin)


async def test_an_empty_secret_is_an_error(origin: str, plain: Path, tmp_path: Path) -> None:
    async with MemoryManager.from_conn_string(origin) as store:
        backups = Operations(store).backups
        for attempt in (
            backups.create(tmp_path / "file", secret=b""),
            backups.verify(plain, secret=b""),
            backups.restore(plain, secret=b""),
        ):
            with pytest.raises(InvalidInput, match="secret is empty"):
                await attempt
    assert not (tmp_path / "file").exists()


async def test_a_file_that_unpacks_to_very_much_is_refused_and_takes_little_memory(
    database: str, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_format, "_LINE", 4 * 1024**2)
    monkeypatch.setattr(file_format, "_TABLES", 50)
    first = unpacked(plain).splitlines(keepends=True)[0]
    table = b'{"table":"t%d","columns":[],"last_numbers":{}}\n'
    file, much = tmp_path / "file", b"[" + b"0," * 32 * 1024**2
    for content, reason in (
        (much, "4,194,304 bytes"),
        (first + b'{"table":"t","columns":["c"],"last_numbers":{}}\n' + much, "4,194,304 bytes"),
        (first + b"".join(table % n for n in range(60)), "more than 50 tables"),
    ):
        file.write_bytes(gzip.compress(content, 1))
        tracemalloc.start()
        await assert_refused(database, file, reason)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 40 * 1024**2


async def test_an_encrypted_backup_that_was_changed_or_cut_is_refused(
    origin: str, sealed: Path, tmp_path: Path
) -> None:
    content, file, chunk, begin = content_of(sealed), tmp_path / "file", 65536 + 16, 45
    assert len(content) > begin + 3 * chunk, "too small to swap chunks"
    swapped = (
        content[:begin]
        + content[begin + chunk : begin + 2 * chunk]
        + content[begin : begin + chunk]
    )
    changed = bytearray(content)
    changed[begin + 2 * chunk + 7] ^= 1
    for damaged in (
        content[: begin + 2 * chunk],  # cut at the end of a chunk
        content[:-1],
        content + b"x",
        swapped + content[begin + 2 * chunk :],
        bytes(changed),
        content[:40] + bytes([content[40] ^ 1]) + content[41:],  # a changed salt
        content[:begin],
    ):
        file.write_bytes(damaged)
        with pytest.raises(InvalidBackup, match=r"damaged|truncated|not a backup"):
            await verify(origin, file, SECRET)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_byte_that_was_changed_or_an_end_that_is_missing_is_found_or_changes_nothing(
    origin: str, plain: Path, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(plain.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 40), "at")
    if data.draw(st.booleans(), "cut"):
        del content[at:]
    else:
        content[at] ^= data.draw(st.integers(1, 255), "bits")
    file = tmp_path_factory.getbasetemp() / "damaged"
    file.write_bytes(content)
    try:
        verified = asyncio.run(verify(origin, file))
    except InvalidBackup:
        return
    assert verified == asyncio.run(verify(origin, plain))
    assert gzip.decompress(bytes(content)) == unpacked(plain)


async def test_what_is_no_backup_or_of_a_later_version_is_refused(
    database: str, plain: Path, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    lines = unpacked(plain)
    for content, reason in (
        (b"", "not a backup"),
        (b"SELECT 1;", "not a backup"),
        (gzip.compress(b'{"format": "graph-native-memory/user", "version": 1}\n'), "not a backup"),
        (gzip.compress(b"[1]\n"), "not a backup"),
        (gzip.compress(lines.replace(b'"version":1', b'"version":2', 1)), "version 2"),
        (gzip.compress(lines.replace(b"Note 17,", b"Note 18,", 1)), "checksum"),
        (gzip.compress(lines + b"[]\n"), "checksum"),
        (gzip.compress(b"".join(lines.splitlines(keepends=True)[:-1])), "truncated"),
    ):
        file.write_bytes(content)
        await assert_refused(database, file, reason)


async def test_tables_and_columns_that_are_not_here_are_refused_unless_they_are_empty(
    database: str, plain: Path, tmp_path: Path
) -> None:
    *lines, end = unpacked(plain).splitlines(keepends=True)

    def rewritten(name: str, replaced: str) -> bytes:
        body = b"".join(line.replace(name.encode(), replaced.encode()) for line in lines)
        counts = json.loads(end)["rows"]
        return packed(
            body, {table.replace(name, replaced): count for table, count in counts.items()}
        )

    file = tmp_path / "file"
    for name in ("memory.memory_embeddings", "checkpoint_id"):
        file.write_bytes(rewritten(name, "memory.unheard_of"))
        before = all_rows(database)
        async with MemoryManager.from_conn_string(database) as store:
            with pytest.raises(InvalidBackup, match=r"unheard_of.*setup"):
                await Operations(store).backups.restore(file)
        assert all_rows(database) == before
    file.write_bytes(rewritten("public.leads", "public.unheard_of"))
    async with MemoryManager.from_conn_string(database) as store:
        assert (await Operations(store).backups.restore(file)).added["memory.memories"] == 300


async def killed(*arguments: object) -> None:
    command = [sys.executable, "-m", "tests.support.dying_backup", *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, stderr = await process.communicate()
    assert process.returncode == -9, stderr.decode()


async def test_a_backup_that_is_killed_leaves_the_one_before_it(
    origin: str, plain: Path, tmp_path: Path
) -> None:
    """Kill a full backup while it is written, and an increment before the rename of its file."""
    file, before = tmp_path / "file", tmp_path / "before"
    before.write_bytes(b"the backup of yesterday")
    await asyncio.gather(
        killed("create", origin, 400, file), killed("create", origin, -1, before, plain)
    )
    assert not file.exists()
    assert before.read_bytes() == b"the backup of yesterday"
    assert (await verify(origin, await back_up(origin, before))).rows["memory.memories"] == 300


async def test_a_restore_that_is_killed_changed_nothing_and_the_next_one_brings_back_everything(
    postgres: str, template: str, origin: str, plain: Path, tmp_path: Path
) -> None:
    """Kill in the middle of a full backup, and before the commit of a chain."""
    names = [create_database(postgres, template) for _ in range(2)]
    urls = [make_conninfo(postgres, dbname=name) for name in names]
    before = all_rows(urls[0])
    changes = tmp_path / "changes"
    with psycopg.connect(origin) as conn:
        conn.execute("DELETE FROM memory.memories WHERE key = '7'")
    async with MemoryManager.from_conn_string(origin) as store:
        await Operations(store).backups.create(changes, since=plain)
    await asyncio.gather(
        killed("restore", urls[0], 400, plain), killed("restore", urls[1], -1, plain, changes)
    )
    for url in urls:
        assert all_rows(url) == before
        async with MemoryManager.from_conn_string(url) as store:
            await Operations(store).backups.restore(plain, changes)
        assert all_rows(url) == all_rows(origin)
    for name in names:
        drop_database(postgres, name)
