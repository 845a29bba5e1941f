"""Files are in Supabase Storage; Postgres decides who may access them."""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from graphs.deployment.clients.supabase import supabase_client
from graphs.deployment.pools import open_pool
from graphs.deployment.settings import Settings
from graphs.memory.errors import (
    AccessDenied,
    ConfigurationError,
    FileNotFound,
    InvalidValue,
    StorageFailed,
)
from graphs.memory.principal import Principal, acting_as
from graphs.memory_manager import MemoryManager
from tests.support.sql import rows
from tests.support.storage_stub import SERVICE_KEY, StorageStub, storage_stub

ANN, BOB = str(uuid4()), str(uuid4())


@pytest.fixture
def storage() -> Iterator[StorageStub]:
    with storage_stub() as stub:
        yield stub


@pytest.fixture
async def memory(database: str, storage: StorageStub) -> AsyncIterator[MemoryManager]:
    """Yield a store with the real Supabase client, which acts for nobody by default."""
    settings = Settings(supabase_url=storage.url, supabase_service_role_key=SecretStr(SERVICE_KEY))
    async with (
        open_pool(database) as pool,
        supabase_client(settings) as supabase,
        MemoryManager(pool, supabase=supabase) as store,
    ):
        yield store


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("offer.pdf", "application/pdf"),
        ("call.mp3", "audio/mpeg"),
        ("Über (2).xyz123", "application/octet-stream"),
    ],
)
async def test_a_file_comes_back_as_it_was(
    memory: MemoryManager, name: str, media_type: str
) -> None:
    content = bytes(range(256)) * 100
    with acting_as(Principal.user(ANN)):
        saved = await memory.files.save(ANN, name, content, session_id="s1", metadata={"pages": 3})
        assert (saved.media_type, saved.bytes, saved.session_id) == (media_type, len(content), "s1")
        assert await memory.files.list(ANN) == await memory.files.list(ANN, "s1") == [saved]
        assert await memory.files.list(ANN, "s2") == []
        assert await memory.files.read(ANN, saved.id) == content
        await memory.files.delete(ANN, saved.id)
        assert await memory.files.list(ANN) == []
        with pytest.raises(FileNotFound):
            await memory.files.read(ANN, saved.id)


async def test_nobody_reaches_anothers_files(memory: MemoryManager, storage: StorageStub) -> None:
    with acting_as(Principal.user(ANN)):
        saved = await memory.files.save(ANN, "secret.txt", b"secret")
    before = list(storage.requests)
    with acting_as(Principal.user(BOB)):
        for attempt in (
            memory.files.read(ANN, saved.id),
            memory.files.list(ANN),
            memory.files.delete(ANN, saved.id),
            memory.files.remove_contents(ANN),
            memory.erase_user(ANN),
            memory.files.save(ANN, "planted.txt", b"x"),
        ):
            with pytest.raises(AccessDenied):
                await attempt
        with pytest.raises(FileNotFound):
            await memory.files.read(BOB, saved.id)
        with pytest.raises(FileNotFound):
            await memory.files.delete(BOB, saved.id)
    with pytest.raises(AccessDenied):
        await memory.files.list(ANN)  # without a principal
    assert storage.requests == before, "Storage must not be called"


async def test_the_folder_of_a_name_is_left_out(
    memory: MemoryManager, storage: StorageStub
) -> None:
    with acting_as(Principal.service()):
        for name in (
            "../../escape.txt",
            "..\\..\\escape.txt",
            "/etc/escape.txt",
            f"{BOB}/escape.txt",
        ):
            saved = await memory.files.save(ANN, name, b"x")
            assert saved.path == f"{ANN}/{saved.id}/escape.txt"
    assert all(path.startswith(f"memory/{ANN}/") for path in storage.objects)


@pytest.mark.parametrize("name", ["", ".", "..", "a/..", "a\0b", "x" * 201])
async def test_a_name_that_is_none_is_refused_before_anything_is_stored(
    memory: MemoryManager, storage: StorageStub, name: str
) -> None:
    with acting_as(Principal.user(ANN)), pytest.raises(InvalidValue, match="name"):
        await memory.files.save(ANN, name, b"x")
    assert storage.requests == []


async def test_without_storage_the_error_says_what_to_set(store: MemoryManager) -> None:
    with pytest.raises(ConfigurationError, match="SUPABASE_SERVICE_ROLE_KEY"):
        await store.files.save(ANN, "a.txt", b"x")
    assert await store.files.list(ANN) == []
    assert (await store.erase_user(ANN)).erased == {}, "a user without files has nothing to erase"


async def test_storage_that_is_briefly_unwell_is_asked_again(
    memory: MemoryManager, storage: StorageStub
) -> None:
    with acting_as(Principal.user(ANN)):
        saved = await memory.files.save(ANN, "a.txt", b"x")
        storage.failures = [503, 429]
        assert await memory.files.read(ANN, saved.id) == b"x"
        storage.failures = [500] * 9
        with pytest.raises(StorageFailed, match="failing as asked"):
            await memory.files.delete(ANN, saved.id)
        assert await memory.files.list(ANN) == [saved], "a file that was not removed stays listed"


async def test_a_file_that_storage_does_not_take_leaves_no_row(
    memory: MemoryManager, storage: StorageStub, database: str
) -> None:
    storage.failures = [500] * 4
    with acting_as(Principal.user(ANN)), pytest.raises(StorageFailed):
        await memory.files.save(ANN, "a.txt", b"x")
    assert storage.objects == {}
    assert await rows(database, "SELECT * FROM memory.files") == []


async def test_a_row_that_is_refused_leaves_no_content(
    memory: MemoryManager, storage: StorageStub, database: str
) -> None:
    await rows(database, "ALTER TABLE memory.files ADD CHECK (media_type <> 'text/plain')")
    with acting_as(Principal.user(ANN)), pytest.raises(Exception, match="files"):
        await memory.files.save(ANN, "a.txt", b"x")
    assert any(request.startswith("POST") for request in storage.requests)
    assert storage.objects == {}


async def test_content_that_was_changed_is_not_given_out(
    memory: MemoryManager, storage: StorageStub
) -> None:
    with acting_as(Principal.user(ANN)):
        saved = await memory.files.save(ANN, "a.txt", b"x")
        storage.objects[f"memory/{saved.path}"] = b"changed"
        with pytest.raises(StorageFailed, match="SHA-256"):
            await memory.files.read(ANN, saved.id)


async def test_an_erased_persons_files_are_gone_from_storage(
    memory: MemoryManager, storage: StorageStub
) -> None:
    with acting_as(Principal.service()):
        for n in range(120):
            await memory.files.save(ANN, f"{n}.txt", b"of ann")
        kept = await memory.files.save(BOB, "b.txt", b"of bob")
        storage.failures = [403]
        with pytest.raises(StorageFailed):
            await memory.erase_user(ANN)
        assert len(await memory.files.list(ANN)) == 120, "nothing is erased"
        assert (await memory.erase_user(ANN)).erased["memory.files"] == 120
        assert await memory.files.list(ANN) == []
        assert await memory.files.list(BOB) == [kept]
    assert list(storage.objects.values()) == [b"of bob"]


async def test_the_service_key_is_in_no_error(memory: MemoryManager, storage: StorageStub) -> None:
    storage.failures = [401]
    with acting_as(Principal.user(ANN)), pytest.raises(StorageFailed) as refused:
        await memory.files.save(ANN, "a.txt", b"x")
    error: Any = refused.value
    assert SERVICE_KEY not in f"{error!r} {error.__cause__!r}"
